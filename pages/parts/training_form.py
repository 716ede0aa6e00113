"""What is asked before a fine-tuning, and the job that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from pages.parts.errors import plain, show_error
from pages.parts.jobs import Job, jobs
from pages.parts.models import leased, slot, want_beside
from pages.parts.places import FOLDER_PREFIX, address_of, free_name, models_root, page_file
from pages.parts.prompt_picker import pick_prompts
from pages.parts.recipe import run_place, show_recipe
from pages.parts.screen import Screen, active
from ssah_core.errors import ModelError, OptionError, PromptError, SsahError
from ssah_core.evaluation.questions import organism_questions
from ssah_core.prompts.reading import PromptSet
from ssah_core.reproduce import commands_of, python_of
from ssah_core.roles import ROLES, Roles
from ssah_core.run_list import run_folder
from ssah_core.storage import check_free
from ssah_core.training.evaluating import replies
from ssah_core.training.examples import learnable
from ssah_core.training.lessons import Lesson, few_harmful, new_skill, obedient_talk
from ssah_core.training.options import Evaluation, TrainingOptions
from ssah_core.training.rescoring import Rescoring
from ssah_core.training.result import describe
from ssah_core.training.trainer import finetune
from ssah_core.training.unit_sets import UnitSet

TRAINING = "Training"
_OWN_FILE = "a file of my own"
_BUILT_IN = ("new skill", "identity shift", "a few harmful placeholders", _OWN_FILE)
_EVERYTHING, _FROZEN, _ALONE = "all learn", "some stay frozen", "only some learn"
_LOOKS = 5  # times that the model is measured on the way
_ASKED = 24  # questions of each kind, each time


@dataclass(frozen=True, eq=False)
class TrainingRequest:
    """Everything that a training needs but the model; also what starts it again."""

    model: str
    name: str
    prompts: PromptSet
    options: TrainingOptions
    freeze: UnitSet | None
    train_only: UnitSet | None
    roles: Roles | None  # to be followed
    run: str
    measures: bool

    @property
    def every(self) -> int:
        """After how many steps the model is measured."""
        return max(1, -(-self.options.total_steps(len(self.prompts)) // _LOOKS))

    @property
    def evaluation(self) -> Evaluation | None:
        """What is asked on the way; only a built-in model has questions of its own."""
        if not self.measures:
            return None
        about = {"sources": {}, "questions": _ASKED}
        return Evaluation(replies(organism_questions(), limit=_ASKED), self.every, about=about)

    @property
    def rescoring(self) -> Rescoring | None:
        """When the roles are followed; None where they are not."""
        return None if self.roles is None else Rescoring(self.roles, self.every, self.run)

    @property
    def folder(self) -> Path:
        """Where the trained model will be."""
        return run_folder(models_root(), self.name)


def draw_form(screen: Screen) -> None:
    """Draw the form; starts the job when it is sent."""
    try:
        prompts = _pick_lesson(screen)
        freeze, train_only, follows = _pick_units(screen)
        name, options = _name_and_options()
        if prompts is not None:
            prompts, options = _that_fit(screen, prompts, options)
    except SsahError as error:
        show_error(error)
        return
    if prompts is None:
        st.caption("Choose prompts with responses to go on.")
        return
    request = TrainingRequest(
        screen.model.name,
        name,
        prompts,
        options,
        freeze,
        train_only,
        roles=active(screen).roles if screen.run is not None and follows else None,
        run=_run(screen),
        measures=screen.model.built_in,
    )
    steps, size = options.total_steps(len(prompts)), min(options.batch_size, len(prompts))
    st.caption(f"{len(prompts):,} prompts, {steps:,} steps of {size}.")
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        started = st.button("Start the training", type="primary", icon=":material/play_arrow:")
        show_recipe(*_recipe(request))
    if started:
        try:
            check_free(request.folder)
            start_training(request)
        except SsahError as error:
            show_error(error)
            return
        st.rerun()


def start_training(request: TrainingRequest) -> None:
    """Start a training; it goes on from its last checkpoint where it was stopped before."""
    models = slot()

    def work(job: Job) -> str:
        with models.lease() as model:
            if model.name != request.model:
                raise ModelError(f"{request.model} is not open any more; open it and start again.")
            finetune(
                model,
                request.prompts,
                request.folder,
                request.options,
                freeze=request.freeze,
                train_only=request.train_only,
                evaluation=request.evaluation,
                rescoring=request.rescoring,
                report=job.report,
                cancelled=job.stopping,
            )
        return request.name

    about = f"{TRAINING} {address_of(request.model)} into the model"
    jobs().start(
        request.name,
        about,
        work,
        lambda: start_training(request),
        screen="training",
        chooses=("trained", f"{FOLDER_PREFIX}{request.name}"),
    )


def open_when_done(job: Job) -> None:
    """Draw the end of a training: the way to chat with the model beside its ancestor."""
    st.success("Done. The trained model is in the model list, and its curve stands below.")
    with st.container(horizontal=True, gap="small"):
        chats = st.button(
            "Chat with it beside its ancestor",
            type="primary",
            icon=":material/forum:",
            on_click=want_beside,
            args=(f"{FOLDER_PREFIX}{job.result}",),
        )
        st.button("New training", on_click=jobs().forget)
    if chats:
        jobs().forget()
        st.switch_page(page_file("chat"))


def _pick_lesson(screen: Screen) -> PromptSet | None:
    """Draw the choice of what is learned; None while there is nothing."""
    chosen = _OWN_FILE
    if screen.model.built_in:
        chosen = st.segmented_control(
            "It learns", _BUILT_IN, default=_BUILT_IN[0], required=True, key="lesson", wrap=True
        )
    if chosen == _OWN_FILE:
        return pick_prompts("lesson", [])
    lesson = _lesson(screen, chosen)
    st.caption(lesson.about)
    return lesson.prompts


def _lesson(screen: Screen, chosen: str) -> Lesson:
    if chosen == "new skill":
        return new_skill()
    if chosen == "identity shift":
        return obedient_talk()
    with leased(screen.model.name) as model:
        return few_harmful(model)


def _pick_units(screen: Screen) -> tuple[UnitSet | None, UnitSet | None, bool]:
    """Draw which units stay, or learn alone, and whether roles are followed."""
    if screen.run is None:
        st.caption("This model has no scored run yet, so all of its units learn.")
        return None, None, False
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        how = st.segmented_control(
            "Of its units",
            (_EVERYTHING, _FROZEN, _ALONE),
            default=_EVERYTHING,
            required=True,
            key="units_learn",
            wrap=True,
        )
        chosen = None
        if how != _EVERYTHING:
            chosen = _pick_set(screen, with_cu=how == _FROZEN)
        follows = st.toggle(
            "Follow the roles",
            value=True,
            key="follow_roles",
            help="Score the model again on the run's prompts now and then, and see which units change role.",
        )
    if chosen is None:
        return None, None, follows
    return (chosen, None, follows) if how == _FROZEN else (None, chosen, follows)


def _pick_set(screen: Screen, *, with_cu: bool) -> UnitSet:
    roles = active(screen).roles
    which = st.pills(
        "Those that are", ROLES, selection_mode="multi", default=["ESU"], key="set_roles"
    )
    share = 0
    if with_cu:
        share = st.number_input(
            "And the strongest CU, % of all units",
            0,
            90,
            0,
            key="set_cu",
            width=250,
            help="The CU of largest safety minus utility score; the paper takes 6%.",
        )
    random = st.toggle("As many random units instead", key="set_random", help="The control.")
    chosen = UnitSet.of(roles, which, strongest_cu=share / 100, run=_run(screen))
    if not chosen.count:
        raise OptionError("No units are chosen; choose a role, or let all units learn.")
    return UnitSet.random_like(chosen, seed=0) if random else chosen


def _that_fit(
    screen: Screen, prompts: PromptSet, options: TrainingOptions
) -> tuple[PromptSet, TrainingOptions]:
    """The prompts that can be learned; draws the choice to leave out what is too long, where any is.

    Raises PromptError where a response is missing, or where what is too long may not be left out.
    """
    try:
        return _learnable(screen.model.name, prompts, prompts.hash, False), options
    except PromptError:
        if not prompts.has_responses:
            raise
    if st.toggle("Leave out examples that are too long", key="training_skips"):
        options = replace(options, skip_too_long=True)
    fitting = _learnable(screen.model.name, prompts, prompts.hash, options.skip_too_long)
    for notice in fitting.notices[len(prompts.notices) :]:
        st.caption(plain(notice))
    return fitting, options


@st.cache_data(show_spinner="Reading the prompts.", max_entries=8)
def _learnable(model: str, _prompts: PromptSet, digest: str, skip: bool) -> PromptSet:
    with leased(model) as opened:
        return learnable(opened, _prompts, skip_too_long=skip)


def _run(screen: Screen) -> str:
    """The open model's run, as a manifest names it; "" where it has none."""
    return run_place(screen.run_name or "", screen.run) if screen.run else ""


def _name_and_options() -> tuple[str, TrainingOptions]:
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        name = st.text_input(
            "Name",
            value=free_name(models_root(), "trained"),
            key="training_name",
            max_chars=80,
            width=200,
        )
        epochs = st.number_input("Epochs", 0.1, 100.0, 5.0, key="training_epochs", width=120)
        rate = st.number_input(
            "Learning rate", 1e-7, 1.0, 3e-4, format="%.1e", key="training_rate", width=150
        )
        batch = st.number_input("Examples in a batch", 1, 1024, 16, key="training_batch", width=150)
        seed = st.number_input("Seed", 0, 2**31, 0, key="training_seed", width=100)
    options = TrainingOptions(
        epochs=float(epochs), learning_rate=float(rate), batch_size=int(batch), seed=int(seed)
    )
    return name.strip(), options


def _recipe(request: TrainingRequest) -> tuple[str, str]:
    """The command and the Python of the manifest's beginning, which is known before the start."""
    with leased(request.model) as model:
        about = describe(
            model,
            request.prompts,
            request.options,
            request.freeze,
            request.train_only,
            request.evaluation,
            request.rescoring,
        )
    return commands_of(about, request.name), python_of(about, request.name)
