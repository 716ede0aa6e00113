"""What is asked before a study, and the job that it becomes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import streamlit as st

from pages.parts.choice import FILLS_IN_WORDS
from pages.parts.errors import show_error
from pages.parts.jobs import Job, jobs
from pages.parts.judge_picker import pick_judge
from pages.parts.models import slot
from pages.parts.places import STUDIES, address_of, free_name
from pages.parts.prompt_picker import pick_questions
from pages.parts.recipe import show_recipe
from pages.parts.screen import Screen, active
from pages.parts.share_result import with_search
from pages.parts.study_estimate import say_study_estimate
from ssah_core.ablation import FILLS
from ssah_core.errors import ModelError, SsahError
from ssah_core.evaluation.model_judges import ModelJudge, judge_from
from ssah_core.evaluation.plan import Plan
from ssah_core.evaluation.questions import (
    Questions,
    check_no_leak,
    organism_questions,
)
from ssah_core.evaluation.study_folder import run_study
from ssah_core.models.placement import check_room
from ssah_core.reproduce import commands_of, python_of
from ssah_core.run_list import run_folder
from ssah_core.runs import Run
from ssah_core.storage import check_free

_STUDYING = "Studying"
_SHARES = (1, 2, 4, 6, 8, 10, 15, 20, 25, 30)  # percent, for curves


@dataclass(frozen=True)
class StudyRequest:
    """Everything that a study needs but the model; also what starts it again."""

    model: str
    name: str
    run: Run
    questions: Questions
    plan: Plan
    judge: str | None = None  # of compliance, as `judge_from` names it; where answers are not known

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
    try:
        questions = _questions(screen)
        name, plan = _name_and_plan()
        if not screen.model.built_in and st.toggle(
            "Leave out prompts that are too long", key="study_skips"
        ):
            plan = replace(plan, skip_too_long=True)
        judge = None if screen.model.built_in else pick_judge("study")
    except SsahError as error:
        show_error(error)
        return
    st.caption(
        "The roles are those of the settings that are active now: "
        + ", ".join(f"{role} {count:,}" for role, count in now.roles.counts.items())
        + " units."
    )
    if questions is None:
        st.caption("Choose both sets of prompts to go on.")
        return
    run = with_search(screen.run, now.roles)
    request = StudyRequest(screen.model.name, name, run, questions, plan, judge)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        wants_estimate = st.button("How long will it take?", icon=":material/timer:")
        started = st.button("Start the study", type="primary", icon=":material/play_arrow:")
        show_recipe(*_recipe(screen, request))
    if wants_estimate:
        say_study_estimate(request.model, now.roles, questions, plan)
    if started:
        _start_checked(request)


def _name_and_plan() -> tuple[str, Plan]:
    """Draw the study's name and options; raises OptionError where they cannot be."""
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        name = st.text_input(
            "Name", value=free_name(STUDIES, "study"), key="study_name", max_chars=80, width=240
        )
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
    with st.expander("Curves, and a system prompt"):
        percents = st.multiselect(
            "Remove other shares of all units, too",
            _SHARES,
            key="study_shares",
            format_func=lambda percent: f"{percent}%",
            help="Every share takes about as long again as a row of the table and its controls.",
        )
        system = st.text_area(
            "System prompt",
            key="study_system",
            max_chars=4000,
            height=80,
            help="With one, every prompt is asked with it and without. That takes twice as long.",
        )
    shares = tuple(percent / 100 for percent in sorted(percents))
    return name.strip(), Plan(int(controls), tuple(fills), shares, system.strip() or None)


def _start_checked(request: StudyRequest) -> None:
    try:
        check_free(request.folder)
        check_no_leak(request.questions, request.run)
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
            judge = _judge(request)
            run_study(
                request.folder,
                model,
                request.run,
                request.questions,
                request.plan,
                compliance=judge,
                report=job.report,
                cancelled=job.stopping,
            )
        return request.name

    about = f"{_STUDYING} {address_of(request.model)}"
    jobs().start(
        request.name,
        about,
        work,
        lambda: start_study(request),
        screen="study",
        chooses=("study", request.name),
    )


def _judge(request: StudyRequest) -> ModelJudge | None:
    """The judge, its files found; raises ModelError where there is none, or no room for it beside the model."""
    if request.judge is None:
        return None
    judge = judge_from(request.judge)
    check_room(judge.source)
    return judge


def open_when_done(job: Job) -> None:
    """Draw the end of a study."""
    st.success("Done. The result stands below.")
    st.button("New study", on_click=jobs().forget)


def _questions(screen: Screen) -> Questions | None:
    if screen.model.built_in:
        return organism_questions()
    return pick_questions("study", "that the scoring never saw")


def _recipe(screen: Screen, request: StudyRequest) -> tuple[str, str]:
    """The command and the Python of a manifest that says as much as is known before the start."""
    run, questions = request.run, request.questions
    assert run.roles is not None
    model = {"device": screen.model.device, "dtype": screen.model.dtype}
    about = {
        "run": str(run.folder),
        "model": {**run.manifest["model"], **model},
        "roles": run.roles.about,
        "questions": {
            "sources": dict(questions.sources),
            "harmful": len(questions.harmful),
            "harmless": len(questions.harmless),
            "look_alikes": len(questions.look_alikes),
        },
        "plan": json.loads(json.dumps(asdict(request.plan))),
        "compliance": {"judge": request.judge},
    }
    return commands_of(about, request.name), python_of(about, request.name)
