"""Two runs, studies or probes beside each other."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from pages.parts.errors import plain
from pages.parts.experiment_result import load_experiment
from pages.parts.models import load_run
from pages.parts.probe_result import load_probe
from pages.parts.settings import NOTHING
from pages.parts.study_result import load_study
from ssah_core.evaluation.report import PLAIN_METRICS, metric_name, removed_name
from ssah_core.kinds import Kind
from ssah_core.probes.summary import compare_probes
from ssah_core.run_comparison import compare_experiments, compare_runs, compare_studies


def draw_comparison(kind: Kind, name: str, names: list[str]) -> None:
    """Draw the choice of a second one, and how the two differ."""
    others = [NOTHING, *(other for other in names if other != name)]
    if len(others) == 1:
        return
    if st.session_state.get("kept_beside") not in others:
        st.session_state["kept_beside"] = NOTHING
    other = st.selectbox("Compare with", others, key="kept_beside", width=320)
    if other == NOTHING:
        return
    _DRAWN[kind](name, other)


def _draw_runs(name: str, other: str) -> None:
    found = compare_runs(load_run(name), load_run(other))
    same = "the same model" if found.same_model else "different models"
    st.markdown(f"**{plain(name)}** and **{plain(other)}** were made from {same}.")
    if not found.same_units:
        st.caption("The models have different units, so no unit of one is a unit of the other.")
    st.dataframe(
        _role_table(found.roles, name, other),
        hide_index=True,
        height="content",
        alt=f"The roles of {name} and {other}",
    )
    correlations = [
        f"{what} {value:.3f}" for what, value in found.correlations.items() if value is not None
    ]
    if correlations:
        st.caption(
            f"Correlation of the unit scores over {found.tokens} tokens: {', '.join(correlations)}."
        )
    if found.moved is not None:
        st.markdown(f"Units by their role in {plain(name)} (rows) and in {plain(other)} (columns):")
        st.dataframe(found.moved, height="content", alt="How many units changed their role")


def _role_table(roles: pd.DataFrame, name: str, other: str) -> pd.DataFrame:
    table = pd.DataFrame({"role": roles["role"]})
    for key, title in (("one", name), ("other", other)):
        table[f"share, {title}"] = [_percent(share) for share in roles[f"share_{key}"]]
        table[f"units, {title}"] = roles[f"units_{key}"]
    if "overlap" in roles:
        table["units in both"] = roles["in_both"]
        table["overlap"] = [_percent(overlap) for overlap in roles["overlap"]]
    return table


def _draw_studies(name: str, other: str) -> None:
    figures = compare_studies(load_study(name), load_study(other))
    table = pd.DataFrame(
        [
            {
                "switched off": removed_name(row),
                "fill": row["fill"],
                "measure": metric_name(row["metric"]),
                **{
                    title: _figure(row["metric"], row[key])
                    for key, title in (
                        ("one", name),
                        ("other", other),
                        ("difference", "difference"),
                    )
                },
            }
            for row in figures.to_dict("records")
        ]
    )
    st.caption(
        "Percent of prompts, but for perplexity and divergence. The difference is in points."
    )
    st.dataframe(table, hide_index=True, alt=f"The figures of the studies {name} and {other}")


def _draw_probes(name: str, other: str) -> None:
    table = compare_probes(load_probe(name), load_probe(other))
    st.caption(
        "Cosine distance after the most tokens, mean over all blocks; shares of prompts from 0 to 1."
    )
    st.dataframe(
        table.rename(columns={"one": name, "other": other}).round(3),
        hide_index=True,
        alt=f"The figures of the probes {name} and {other}",
    )


def _draw_experiments(name: str, other: str) -> None:
    table = compare_experiments(load_experiment(name), load_experiment(other))
    table["metric"] = [metric_name(metric) for metric in table["metric"]]
    st.caption("Shares of prompts from 0 to 1; perplexity and divergence as they are.")
    st.dataframe(
        table.rename(columns={"one": name, "other": other}).round(3),
        hide_index=True,
        alt=f"The figures of the experiments {name} and {other}",
    )


_DRAWN: dict[Kind, Callable[[str, str], None]] = {
    "run": _draw_runs,
    "study": _draw_studies,
    "probe": _draw_probes,
    "experiment": _draw_experiments,
}


def _figure(metric: str, value: float) -> str:
    if pd.isna(value):
        return ""
    return (
        f"{value:.3g}" if metric.split("_with_system")[0] in PLAIN_METRICS else f"{100 * value:.1f}"
    )


def _percent(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.1%}"
