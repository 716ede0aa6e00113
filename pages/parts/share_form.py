"""Finding the shares on validation prompts: what is asked before, and the job that it becomes."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from pages.parts.errors import show_error
from pages.parts.jobs import Job, jobs
from pages.parts.models import slot
from pages.parts.places import RUNS
from pages.parts.prompt_picker import pick_questions
from pages.parts.recipe import show_recipe
from pages.parts.screen import Active, Screen, active
from pages.parts.share_result import draw_path, keep_search
from ssah_core.errors import ModelError, SsahError
from ssah_core.evaluation.questions import (
    Questions,
    check_not_scored,
    organism_validation,
)
from ssah_core.evaluation.share_job import about_search, find_shares
from ssah_core.evaluation.share_search import Criterion, SearchPlan
from ssah_core.reproduce import commands_of, python_of
from ssah_core.runs import Run

FINDING = "Finding the shares of the run"


@dataclass(frozen=True)
class ShareRequest:
    """Everything that a search needs but the model; also what starts it again."""

    model: str
    run_name: str
    run: Run
    questions: Questions
    plan: SearchPlan


def draw_shares(screen: Screen) -> None:
    """Draw the form, unless a job is on the screen, and the path of the last search of this run."""
    if screen.run is None:
        return
    with st.expander("Find the shares", key="find_shares", icon=":material/search:"):
        st.caption(
            "How many units may each role have? Its share is the largest whose removal costs its own "
            "attribute (ESU: refusals, EUU: answers) at least so much, and the other at most so little; "
            "RU may cost neither more than that. From high to low by bisection, on validation prompts."
        )
        now = active(screen)
        if jobs().current is None:
            _draw_form(screen, now)
        draw_path(screen, now)


def _draw_form(screen: Screen, now: Active) -> None:
    try:
        plan = _plan(now)
    except SsahError as error:
        show_error(error)
        return
    questions = _questions(screen)
    if questions is None:
        st.caption("Choose both sets of validation prompts to go on.")
        return
    assert screen.run is not None
    request = ShareRequest(screen.model.name, screen.run_name or "", screen.run, questions, plan)
    st.caption(
        f"For each share that is tried, {len(questions.harmful):,} harmful and "
        f"{len(questions.harmless):,} harmless prompts are asked. Roles by {plan.tokens} tokens, kinds of units: {plan.kinds}, as in the "
        "settings that are active now."
    )
    about = about_search(screen.run, questions, plan)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        started = st.button("Find them", type="primary", icon=":material/play_arrow:")
        show_recipe(commands_of(about, request.run_name), python_of(about, request.run_name))
    if started:
        try:
            check_not_scored(questions, screen.run)
            start_search(request)
        except SsahError as error:
            show_error(error)
            return
        st.rerun()


def _plan(now: Active) -> SearchPlan:
    """Draw the criterion and the grain; raises OptionError where they cannot be."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        own, other, highest, step = (
            st.number_input(label, low, high, usual, grain, key=key, format="%.1f", width=195, help=why)
            for label, key, low, high, usual, grain, why in (
                ("Own loss, points at least", "search_own", 0.1, 100.0, 50.0, 5.0,
                 "What the role's own attribute must lose when it is off."),
                ("Other loss, points at most", "search_other", 0.0, 99.0, 3.0, 1.0,
                 "What the other attribute may lose; for RU, either."),
                ("Highest share, %", "search_highest", 0.1, 50.0, 30.0, 5.0,
                 "The search begins here and goes down."),
                ("Step, %", "search_step", 0.1, 50.0, 0.5, 0.5,
                 "Shares are tried in multiples of it."),
            )
        )  # fmt: skip
    return SearchPlan(
        Criterion(own / 100, other / 100),
        highest=highest / 100,
        step=step / 100,
        tokens=now.choice.tokens,
        kinds=now.choice.kinds,
    )


def _questions(screen: Screen) -> Questions | None:
    if screen.model.built_in:
        return organism_validation()
    return pick_questions("shares", "for validation only")


def start_search(request: ShareRequest) -> None:
    """Start a search; it goes on from its partial work where it was stopped before."""
    models, root = slot(), RUNS

    def work(job: Job) -> str:
        with models.lease() as model:
            if model.name != request.model:
                raise ModelError(f"{request.model} is not open any more; open it and start again.")
            found = find_shares(
                root,
                model,
                request.run,
                request.questions,
                request.plan,
                report=job.report,
                cancelled=job.stopping,
            )
        keep_search(request.run, found)
        return request.run_name

    jobs().start(request.run_name, FINDING, work, lambda: start_search(request), screen="study")


def say_found(job: Job) -> None:
    """Draw the end of a search as the Study screen shows it."""
    st.success("Done. The path and the shares stand below, under Find the shares.")
    st.button("Back to the form", on_click=jobs().forget)
