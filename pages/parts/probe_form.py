"""What is asked before a probe, and the job that it becomes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from pages.parts.errors import show_error
from pages.parts.jobs import Job, jobs
from pages.parts.models import all_runs, slot
from pages.parts.places import BUILT_IN, RUNS, STUDIES, address_of, free_name, name_of
from pages.parts.prompt_picker import pick_questions
from pages.parts.recipe import show_recipe
from pages.parts.screen import Screen
from ssah_core.errors import ModelError, SsahError
from ssah_core.evaluation.questions import Questions, organism_questions
from ssah_core.models.loading import Model, load_model
from ssah_core.probe_figures import short_label
from ssah_core.probes.continuations import INTENTS, Continuations, usual_continuations
from ssah_core.probes.direction import POSITIONS
from ssah_core.probes.probe_folder import about_probe, run_probe
from ssah_core.probes.series import ProbePlan, Series
from ssah_core.reproduce import commands_of, python_of
from ssah_core.roles import ROLES, Role
from ssah_core.run_list import run_folder
from ssah_core.storage import check_free

_PROBING = "Probing the direction into"
_BUILT_IN_PROMPTS, _OWN_PROMPTS = "The built-in test prompts", "Files of my own"
_POSITION_NAMES = {"last": "the last token", "mean": "the mean over all tokens"}
_TITLES = {
    "benign": "Words that refuse",
    "malicious": "Words that comply",
    "neutral": "Neutral words (the control)",
}
_SEED = 0  # of the random control


@dataclass(frozen=True)
class ProbeRequest:
    """Everything that a probe needs; also what starts it again."""

    name: str
    series: tuple[Series, ...]
    questions: Questions
    plan: ProbePlan

    @property
    def folder(self) -> Path:
        """Where the probe will be."""
        return run_folder(STUDIES, self.name)


def draw_form(screen: Screen) -> None:
    """Draw the form; starts the job when it is sent."""
    try:
        series = _pick_series(screen)
        questions = _pick_questions(series)
        name, plan = _name_and_plan(series)
    except SsahError as error:
        show_error(error)
        return
    if not series or questions is None:
        st.caption("Choose at least one model, and both sets of prompts, to go on.")
        return
    request = ProbeRequest(name, series, questions, plan)
    about = about_probe(series, questions, plan)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        started = st.button("Start the probe", type="primary", icon=":material/play_arrow:")
        show_recipe(commands_of(about, name), python_of(about, name))
    if started:
        try:
            check_free(request.folder)
            start_probe(request)
        except SsahError as error:
            show_error(error)
            return
        st.rerun()


def start_probe(request: ProbeRequest) -> None:
    """Start a probe; it goes on from its partial work where it was stopped before."""

    def work(job: Job) -> str:
        run_probe(
            request.folder,
            request.series,
            request.questions,
            request.plan,
            open_model=_at_hand,
            report=job.report,
            cancelled=job.stopping,
        )
        return request.name

    jobs().start(
        request.name,
        _PROBING,
        work,
        lambda: start_probe(request),
        screen="direction",
        chooses=("probe", request.name),
    )


def open_when_done(job: Job) -> None:
    """Draw the end of a probe."""
    st.success("Done. The result stands below.")
    st.button("New probe", on_click=jobs().forget)


@contextmanager
def _at_hand(name: str) -> Iterator[Model]:
    """The open model where it is this one; a built-in one is loaded beside it: it takes 9 MB."""
    if slot().name != name and name in BUILT_IN:
        yield load_model(name)
        return
    with slot().lease() as model:
        if model.name != name:
            raise ModelError(f"{address_of(name)} is not open any more; open it and start again.")
        yield model


def _pick_series(screen: Screen) -> tuple[Series, ...]:
    """Draw the choice of models, and of what is switched off in some of them."""
    offered = list(dict.fromkeys([*BUILT_IN, screen.model.address]))
    own = not screen.model.built_in
    runs = {
        run.name: run for run in all_runs() if run.has_roles and address_of(run.model) in offered
    }
    models, ablated = st.columns(2, gap="large")
    chosen = models.multiselect(
        "Models",
        offered,
        default=[screen.model.address] if own else BUILT_IN,
        key="probe_models",
        format_func=short_label,
        help="The open model, and the built-in ones, which are small and are loaded beside it, one after "
        "the other. Another large model: open it first, or use the command.",
    )
    with ablated:
        off, roles, control = _pick_off(list(runs), screen.run_name)
    series = [Series(name_of(address)) for address in chosen]
    for name in off if roles else []:
        place = name if name in BUILT_IN else str(run_folder(RUNS, name))
        seeds = (None, _SEED) if control else (None,)
        series += [Series(runs[name].model, place, tuple(roles), seed) for seed in seeds]
    return tuple(series)


def _pick_off(runs: list[str], own: str | None) -> tuple[list[str], list[Role], bool]:
    """Draw the choice of runs, of the roles that are off, and of random units besides."""
    off = st.multiselect(
        "And with units switched off, by the roles of the run",
        runs,
        default=[own] if own in runs else [],
        key="probe_runs",
        format_func=short_label,
        help="The run's own model is probed once more, with units off.",
    )
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        roles = st.pills(
            "Off are", ROLES, selection_mode="multi", default=["ESU"], key="probe_roles"
        )
        control = st.toggle(
            "As many random units, too",
            key="probe_control",
            help=f"The size-matched control, drawn by the seed {_SEED}.",
        )
    return off, roles, control


def _pick_questions(series: tuple[Series, ...]) -> Questions | None:
    """Draw the choice of prompts; None while there are none."""
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        built_in = all(one.model in BUILT_IN for one in series)
        choices = (_BUILT_IN_PROMPTS, _OWN_PROMPTS) if built_in else (_OWN_PROMPTS,)
        source = st.segmented_control(
            "Prompts", choices, default=choices[0], required=True, key="probe_prompts"
        )
        most = st.number_input(
            "At most so many of each set", 1, 100_000, 240, key="probe_limit", width=220
        )
    if source == _BUILT_IN_PROMPTS:
        return organism_questions().first(int(most))
    picked = pick_questions("probe", "that the scoring never saw")
    return None if picked is None else picked.first(int(most))


def _name_and_plan(series: tuple[Series, ...]) -> tuple[str, ProbePlan]:
    """Draw the name, and what follows a prompt; raises OptionError where it cannot be."""
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        name = st.text_input(
            "Name", value=free_name(STUDIES, "probe"), key="probe_name", max_chars=80, width=240
        )
        position = st.segmented_control(
            "The state is that of",
            POSITIONS,
            default=POSITIONS[0],
            format_func=_POSITION_NAMES.get,
            required=True,
            key="probe_position",
            wrap=True,
        )
    usual = usual_continuations([one.model for one in series])
    kind = "plain" if usual == usual_continuations([""]) else "organism"
    texts = {}
    with st.expander("The words that follow a prompt, and how many of them"):
        st.caption("One text a line; distances are averaged over the texts.")
        for intent, column in zip(INTENTS, st.columns(3), strict=True):
            said = column.text_area(
                _TITLES[intent],
                "\n".join(usual.by_intent[intent]),
                key=f"probe_{intent}_{kind}",
                height=120,
                max_chars=4000,
            )
            texts[intent] = tuple(line.strip() for line in said.splitlines() if line.strip())
        lengths = st.multiselect(
            "Numbers of tokens",
            range(1, 21),
            key="probe_lengths",
            placeholder="2, 4, 6, 8, 10, as far as every text has them",
        )
    plan = ProbePlan(Continuations(**texts), tuple(sorted(lengths)) or None, position)
    return name.strip(), plan
