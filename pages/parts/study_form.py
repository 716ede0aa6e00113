"""What is asked before a study, and the job that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from pages.parts.choice import FILLS_IN_WORDS
from pages.parts.errors import show_error
from pages.parts.jobs import Job, jobs
from pages.parts.models import slot
from pages.parts.places import STUDIES, address_of
from pages.parts.prompt_picker import pick_prompts
from pages.parts.recipe import show_recipe
from pages.parts.screen import Screen, active
from ssah_core.ablation import FILLS, Fill
from ssah_core.errors import ModelError, OptionError, SsahError
from ssah_core.evaluation.questions import (
    Questions,
    check_no_leak,
    file_questions,
    organism_questions,
)
from ssah_core.evaluation.study_folder import run_study
from ssah_core.run_list import run_folder
from ssah_core.runs import Run
from ssah_core.storage import check_free

_STUDYING = "Studying"


@dataclass(frozen=True)
class StudyRequest:
    """Everything that a study needs but the model; also what starts it again."""

    model: str
    name: str
    run: Run
    questions: Questions
    plan: Plan

    @property
    def folder(self) -> Path:
        """Where the study will be."""
        return run_folder(STUDIES, self.name)


def draw_form(screen: Screen) -> None:
    """Draw the form; starts the job when it is sent."""
    if screen.run is None:
        st.info("This model has no scored run yet, so there are no roles to study. Score it first.")
        return
    now = active(screen)
    questions = _questions(screen)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        name = st.text_input("Name", value=_free_name(), key="study_name", max_chars=80, width=240)
        controls = st.number_input(
            "Random controls of each kind",
            0,
            50,
            5,
            key="study_controls",
            help="As many random units, drawn so many times: from all units, and layer by layer.",
            width=220,
        )
        fills = st.pills(
            "Units that are off put out",
            FILLS,
            default=[FILLS[0]],
            selection_mode="multi",
            format_func=FILLS_IN_WORDS.get,
            key="study_fills",
        )
    st.caption(
        "The roles are those of the settings that are active now: "
        + ", ".join(f"{role} {count:,}" for role, count in now.roles.counts.items())
        + " units."
    )
    if questions is None:
        st.caption("Choose both sets of prompts to go on.")
        return
    run = Run(screen.run.folder, screen.run.manifest, screen.run.scores, now.roles)
    request = StudyRequest(
        screen.model.name, name.strip(), run, questions, int(controls), tuple(fills)
    )
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        started = st.button("Start the study", type="primary", icon=":material/play_arrow:")
        show_recipe(*_recipe(screen, request))
    if started:
        _start_checked(request)


def _start_checked(request: StudyRequest) -> None:
    try:
        if not request.fills:
            raise OptionError("Choose what units that are off put out: zero, their mean, or both.")
        check_free(request.folder)
        check_no_leak(request.questions, request.run.scores)
        start_study(request)
    except SsahError as error:
        show_error(error)
        return
    st.rerun()


def start_study(request: StudyRequest) -> None:
    """Start a study; it goes on from its partial work where it was stopped before."""
    models = slot()

    def work(job: Job) -> str:
        with models.lease() as model:
            if model.name != request.model:
                raise ModelError(f"{request.model} is not open any more; open it and start again.")
            run_study(
                request.folder,
                model,
                request.run,
                request.questions,
                request.plan,
                report=job.report,
                cancelled=job.stopping,
            )
        return request.name

    about = f"{_STUDYING} {address_of(request.model)}"
    jobs().start(request.name, about, work, lambda: start_study(request))


def open_when_done(job: Job) -> None:
    """Draw the end of a job as the Study screen shows it."""
    st.success("Done. The result stands below." if job.about.startswith(_STUDYING) else "Done.")
    st.button("New study", on_click=jobs().forget)


def _questions(screen: Screen) -> Questions | None:
    if screen.model.built_in:
        return organism_questions()
    harmful, harmless = st.columns(2, gap="large")
    with harmful:
        st.markdown("**Harmful requests** that the scoring never saw")
        asked = pick_prompts("study harmful", [])
    with harmless:
        st.markdown("**Harmless requests** that the scoring never saw")
        plain = pick_prompts("study harmless", [])
    return None if asked is None or plain is None else file_questions(asked, plain)


def _free_name() -> str:
    taken = {path.name for path in STUDIES.iterdir()} if STUDIES.is_dir() else set()
    return next(name for n in range(1, 10_000) if (name := f"study {n}") not in taken)


def _recipe(screen: Screen, request: StudyRequest) -> tuple[str, str]:
    files = "" if screen.model.built_in else " --harmful FILE --harmless FILE"
    command = (
        f"python -m ssah_core study --run {screen.run_name!r}{files} --controls {request.controls} "
        f"--fills {','.join(request.fills)} --out {f'studies/{request.name}'!r}"
    )
    python = (
        "from ssah_core import *\n"
        "from ssah_core.evaluation.questions import organism_questions\n"
        "from ssah_core.evaluation.study_folder import run_study\n\n"
        f"run = open_run({screen.run_name!r})\n"
        f"model = load_model({screen.model.address!r})\n"
        f"rows = run_study({f'studies/{request.name}'!r}, model, run, organism_questions(), "
        f"controls={request.controls}, fills={list(request.fills)!r})"
    )
    return command, python
