"""What is asked before an experiment, and the job that it becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from pages.parts.errors import show_error
from pages.parts.jobs import Job, jobs
from pages.parts.models import leased
from pages.parts.places import STUDIES, address_of, free_name
from pages.parts.recipe import run_place, show_recipe
from pages.parts.screen import Screen, active
from ssah_core.errors import SsahError
from ssah_core.evaluation.questions import organism_questions
from ssah_core.models.loading import load_model
from ssah_core.reproduce import commands_of, python_of
from ssah_core.run_list import run_folder
from ssah_core.storage import check_free
from ssah_core.training import lessons, presets
from ssah_core.training.design import Design
from ssah_core.training.experiment_folder import about_experiment, keep_experiment

_RUNNING = "Experiment"
_PRESETS = {
    presets.ATTACK: "Attack and defence",
    presets.BUDGET: "Alignment budget",
}
_ABOUT = {
    presets.ATTACK: "Does fine-tuning on harmless prompts erode refusals, and do frozen units keep them? "
    "Best asked of *aligned*.",
    presets.BUDGET: "Are the least useful units enough to align a model that refuses nothing? Best asked "
    "of *base*.",
}


@dataclass(frozen=True, eq=False)
class ExperimentRequest:
    """Everything that an experiment needs; also what starts it again."""

    model: str
    name: str
    run: str
    design: Design

    @property
    def folder(self) -> Path:
        """Where the experiment will be."""
        return run_folder(STUDIES, self.name)


def draw_form(screen: Screen) -> None:
    """Draw the form; starts the job when it is sent."""
    if not screen.model.built_in:
        st.info(
            "On this screen experiments run on the built-in models, which train in seconds. For the open "
            "model use the command `finetune --preset attack` with prompt files of your own."
        )
        return
    if screen.run is None or screen.run_name is None:
        st.info(
            "This model has no scored run yet, so there are no roles to freeze. Score it first."
        )
        return
    preset = st.segmented_control(
        "Experiment",
        tuple(_PRESETS),
        default=presets.ATTACK,
        required=True,
        format_func=_PRESETS.get,
        key="preset",
    )
    st.caption(_ABOUT[preset])
    try:
        design = _design(screen, preset)
        name = st.text_input(
            "Name",
            value=free_name(STUDIES, "experiment"),
            key="experiment_name",
            max_chars=80,
            width=240,
        )
    except SsahError as error:
        show_error(error)
        return
    st.caption(
        f"{len(design.trials):,} trainings. Each takes about half a minute on 2 CPU cores, with all that "
        "is asked afterwards."
    )
    run = run_place(screen.run_name, screen.run)
    request = ExperimentRequest(screen.model.name, name.strip(), run, design)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        started = st.button("Start the experiment", type="primary", icon=":material/play_arrow:")
        show_recipe(*_recipe(request))
    if started:
        try:
            check_free(request.folder)
            start_experiment(request)
        except SsahError as error:
            show_error(error)
            return
        st.rerun()


def start_experiment(request: ExperimentRequest) -> None:
    """Start an experiment; it goes on from its partial work where it was stopped before."""

    def work(job: Job) -> str:
        keep_experiment(
            request.folder,
            lambda: load_model(request.model),
            organism_questions(),
            request.design,
            run=request.run,
            report=job.report,
            cancelled=job.stopping,
        )
        return request.name

    about = f"{_RUNNING} on {address_of(request.model)}"
    jobs().start(
        request.name,
        about,
        work,
        lambda: start_experiment(request),
        screen="training",
        chooses=("experiment", request.name),
    )


def open_when_done(job: Job) -> None:
    """Draw the end of an experiment."""
    st.success("Done. The result stands below, under Experiments.")
    st.button("Back to the form", on_click=jobs().forget)


def _design(screen: Screen, preset: str) -> Design:
    roles = active(screen).roles
    options = presets.training_options(preset)
    known: dict[str, Callable[[], lessons.Lesson]] = {
        "new skill": lessons.new_skill,
        "identity shift": lessons.obedient_talk,
        "few harmful examples": lambda: _few_harmful(screen),
    }
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        if preset == presets.ATTACK:
            chosen = st.pills(
                "Lessons",
                tuple(known),
                selection_mode="multi",
                default=["new skill"],
                key="experiment_lessons",
            )
            rates = st.multiselect(
                "Learning rates",
                (1e-4, 3e-4, 1e-3, 3e-3),
                default=[3e-4],
                format_func=lambda rate: f"{rate:g}",
                key="experiment_rates",
                width=260,
            )
        seeds = st.number_input("Seeds", 1, 20, 3, key="experiment_seeds", width=120)
    assert screen.run is not None
    run = run_place(screen.run_name or "", screen.run)
    if preset == presets.ATTACK:
        taught = [known[name]() for name in chosen]
        return presets.attack(
            roles, taught, options, rates=sorted(rates), seeds=int(seeds), run=run
        )
    rate, few_rate = presets.RATES[presets.BUDGET]
    with leased(screen.model.name) as model:
        return presets.budget(
            model,
            roles,
            lessons.alignment(0),
            options,
            rate=rate,
            few_rate=few_rate,
            seeds=int(seeds),
            run=run,
        )


def _few_harmful(screen: Screen) -> lessons.Lesson:
    with leased(screen.model.name) as model:
        return lessons.few_harmful(model)


def _recipe(request: ExperimentRequest) -> tuple[str, str]:
    with leased(request.model) as model:
        about = about_experiment(model, organism_questions(), request.design, request.run)
    return commands_of(about, request.name), python_of(about, request.name)
