"""What is asked before a scoring: the two prompt sets, a look at them, a name, and how long it will take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from pages.parts.errors import plain, show_error
from pages.parts.models import leased
from pages.parts.places import RUNS, free_name
from pages.parts.prompt_picker import pick_prompts
from pages.parts.recipe import show_recipe
from pages.parts.score_job import start_scoring
from pages.parts.screen import Screen
from ssah_core.errors import SsahError
from ssah_core.organism.world import SPLITS
from ssah_core.progress import duration
from ssah_core.prompts.fitting import fitting
from ssah_core.prompts.reading import PromptSet
from ssah_core.prompts.rendering import prompt_text
from ssah_core.reproduce import commands_of, python_of
from ssah_core.run_list import run_folder
from ssah_core.scoring.estimate import estimate
from ssah_core.scoring.score import REPLY_TOKENS
from ssah_core.storage import check_free

_PREVIEWED = 3
_ATTRIBUTES = (
    ("safety", "Safety prompts", "harmful requests"),
    ("utility", "Utility prompts", "ordinary requests, far from anything harmful"),
)


@dataclass(frozen=True)
class ScoreRequest:
    """Everything that a scoring needs but the model; also what starts it again."""

    model: str
    name: str
    safety: PromptSet
    utility: PromptSet
    skip_too_long: bool

    @property
    def folder(self) -> Path:
        """Where the run will be."""
        return run_folder(RUNS, self.name)


def draw_form(screen: Screen) -> None:
    """Draw the form; starts the job when it is sent."""
    sets: dict[str, PromptSet] = {}
    for column, (attribute, title, about) in zip(
        st.columns(2, gap="large"), _ATTRIBUTES, strict=True
    ):
        with column, st.container(border=True, height="stretch"):
            st.markdown(f"**{title}** :small[:gray[{about}]]")
            built_in = [f"organism:{name}" for name in SPLITS if name.startswith(attribute)]
            found = pick_prompts(attribute, built_in)
            if found is not None:
                sets[attribute] = found
                _preview(screen, found)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        name = st.text_input(
            "Name of the run", value=free_name(RUNS, "run"), key="run_name", max_chars=80, width=280
        )
        skip = st.toggle(
            "Leave out prompts that are too long",
            key="skip_too_long",
            help="Prompts longer than the model's context; otherwise they are an error.",
        )
    if len(sets) < 2:
        st.caption("Choose both sets of prompts to go on.")
        return
    request = ScoreRequest(screen.model.name, name.strip(), sets["safety"], sets["utility"], skip)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        wants_estimate = st.button("How long will it take?", icon=":material/timer:")
        wants_start = st.button("Start", type="primary", icon=":material/play_arrow:")
        show_recipe(*_recipe(screen, request))
    try:
        if wants_estimate:
            _say_estimate(request)
        if wants_start:
            _check(request)
            start_scoring(request)
            st.rerun()
    except SsahError as error:
        show_error(error)


def _check(request: ScoreRequest) -> None:
    """Find what is wrong before the form is gone."""
    check_free(request.folder)
    with leased(request.model) as model:
        for prompts in (request.safety, request.utility):
            fitting(model, prompts, reply_tokens=REPLY_TOKENS, skip_too_long=request.skip_too_long)


def _preview(screen: Screen, prompts: PromptSet) -> None:
    own = sum(prompt.response is None for prompt in prompts.prompts)
    said = _counted(len(prompts), "prompt", "prompts")
    if own:
        said += f"; the model writes {_counted(own, 'reply', 'replies')} of its own first"
    st.caption(f"{said}. " + " ".join(plain(notice) for notice in prompts.notices))
    with st.expander(f"The first {min(_PREVIEWED, len(prompts))} as the model reads them"):
        with leased(screen.model.name) as model:
            shown = [
                prompt_text(model, prompt.text) + (prompt.response or "")
                for prompt in prompts.prompts[:_PREVIEWED]
            ]
        for text in shown:
            st.code(text[:2000], language=None, wrap_lines=True)


def _say_estimate(request: ScoreRequest) -> None:
    with st.spinner("Trying a few prompts."), leased(request.model) as model:
        found = estimate(
            model,
            safety=request.safety,
            utility=request.utility,
            skip_too_long=request.skip_too_long,
        )
    replies = f", after writing {found.replies:,} replies" if found.replies else ""
    st.info(f"About {duration(found.seconds)} for {found.tokens:,} tokens at most{replies}.")


def _recipe(screen: Screen, request: ScoreRequest) -> tuple[str, str]:
    """The command and the Python of a manifest that says as much as is known before the start."""
    about = {
        "model": {
            "name": request.model,
            "device": screen.model.device,
            "dtype": screen.model.dtype,
        },
        "prompts": {"safety": request.safety.about, "utility": request.utility.about},
        "options": {"skip_too_long": request.skip_too_long},
    }
    return commands_of(about, request.name), python_of(about, request.name)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
