"""An experiment's table, its figures, and its report to take away."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from pages.parts.errors import plain, show_error
from pages.parts.exports import offer_downloads, picture_config
from pages.parts.kept_pick import pick_finished
from pages.parts.places import STUDIES, changed_at
from ssah_core.errors import SsahError
from ssah_core.experiment_figures import condition_dots, curves_of
from ssah_core.run_list import run_folder
from ssah_core.tables import csv_of
from ssah_core.training.experiment_folder import KeptExperiment, open_experiment
from ssah_core.training.experiment_report import in_words, table_of
from ssah_core.training_figures import learning_curves

_PAPER = [
    {
        "Llama-2-7B-Chat": what,
        "before": before,
        "plain": plain_,
        "ESU + top 6% CU": some,
        "ESU + all CU": all_,
    }
    for what, before, plain_, some, all_ in (
        ("attack success after Alpaca, %", 0.19, 5.3, 2.96, 2.1),
        ("attack success after Dolly, %", 0.19, 11.92, 3.65, 2.88),
    )
]


def draw_experiments() -> None:
    """Draw the choice of a finished experiment, and what it came to."""
    st.divider()
    name = pick_finished("experiment")
    if name is None:
        return
    try:
        _draw(name, load_experiment(name))
    except SsahError as error:
        show_error(error)


def load_experiment(name: str) -> KeptExperiment:
    """An experiment by its name; one object for everybody, until its manifest changes.

    Raises RunError where there is none any more.
    """
    folder = run_folder(STUDIES, name)
    return _open(str(folder), changed_at(folder))


@st.cache_resource(show_spinner="Reading the experiment.", max_entries=4)
def _open(folder: str, changed: int) -> KeptExperiment:
    return open_experiment(folder)


def _draw(name: str, kept: KeptExperiment) -> None:
    for sentence in in_words(kept.rows):
        st.markdown(f"- {plain(sentence)}")
    table = pd.DataFrame(table_of(kept.rows))
    st.dataframe(
        table,
        hide_index=True,
        height="content",
        alt="Every training with its figures and intervals",
    )
    seeds = kept.manifest["design"]["seeds"]
    over = f" and {seeds} seeds" if seeds > 1 else ", with one seed"
    st.caption(
        f"Percent of prompts, but for KL, with 95% intervals over things asked about{over}. "
        f"{plain(kept.manifest['judge'])}"
    )
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "Report as Markdown", kept.report, f"{name}.md", "text/markdown", on_click="ignore"
        )
        st.download_button(
            "Table as CSV", partial(csv_of, table), f"{name}.csv", "text/csv", on_click="ignore"
        )
    _draw_figures(kept)
    if kept.manifest["design"]["kind"] == "attack":
        with st.expander("What the paper measured, for orientation"):
            st.dataframe(pd.DataFrame(_PAPER), hide_index=True, alt="Figures of the paper")
            st.caption(
                "Table 2 of Li & Kim, arXiv 2410.10862: the columns after *plain* have these units frozen. "
                "The paper has no random control and no interval."
            )


def _draw_figures(kept: KeptExperiment) -> None:
    """One lesson at one learning rate: its conditions, and their curves."""
    lessons = list(dict.fromkeys(row["lesson"] for row in kept.rows))
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        lesson = st.segmented_control(
            "Lesson", lessons, default=lessons[0], required=True, key="shown_lesson", wrap=True
        )
        own = [row for row in kept.rows if row["lesson"] == lesson]
        rates = sorted({row["rate"] for row in own if row["rate"]})
        attack = kept.manifest["design"]["kind"] == "attack"
        rate = rates[0]
        if attack and len(rates) > 1:
            rate = st.segmented_control(
                "Learning rate",
                rates,
                default=rates[0],
                required=True,
                format_func=lambda number: f"{number:g}",
                key="shown_rate",
            )
    rows = [row for row in own if not attack or row["rate"] in (0, rate)]
    figure = condition_dots(rows)
    st.plotly_chart(
        figure,
        key="conditions",
        alt="Every condition with refusals, exact answers and what was learned, in percent",
        config=picture_config("experiment"),
    )
    offer_downloads(
        figure, "experiment", "Table", partial(csv_of, pd.DataFrame(table_of(rows))), "rows.csv"
    )
    st.markdown("**While they learned**")
    curves = curves_of(rows)
    shown = st.multiselect(
        "Conditions", list(curves), default=list(curves)[:3], key=f"curves of {lesson}"
    )
    if shown:
        figure = learning_curves({name: curves[name] for name in shown}, ("refused",))
        st.plotly_chart(
            figure,
            key="experiment curves",
            alt="The loss, and refusals of a few questions, over the steps; bands are the seeds' range",
            config=picture_config("experiment curves"),
        )
        st.caption(
            "A line is the mean of the seeds, and its band goes from the lowest to the highest."
        )
