"""A study's table and its replies, to read, filter and take away."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.errors import plain
from pages.parts.exports import offer_downloads, picture_config
from pages.parts.places import STUDIES, changed_at
from ssah_core.evaluation.judges import RefusalPhrases
from ssah_core.evaluation.report import (
    control_notes,
    in_words,
    metric_name,
    metrics_in_order,
    removed_name,
    shown,
)
from ssah_core.evaluation.study_folder import KeptStudy, open_study
from ssah_core.run_list import run_folder
from ssah_core.study_figures import share_curves
from ssah_core.tables import csv_of

_MOST_REPLIES = 2000
_PAPER = [
    {
        "model": model,
        "switched off": removed,
        "perplexity": perplexity,
        "accuracy of 6 tasks, %": accuracy,
        "attack success, %": attack,
        "the same with system prompt, %": with_system,
    }
    for model, removed, perplexity, accuracy, with_system, attack in (
        ("Llama-2-7B-Chat", "nothing", 6.49, 58.3, 3, 18),
        ("Llama-2-7B-Chat", "ESU 1.3%", 6.76, 56.9, 19, 84),
        ("Llama-2-7B-Chat", "EUU 13.3%", 180.2, 42.7, 23, 48),
        ("Llama-2-7B-Chat", "RU 14.8%", 8.32, 55.5, 6, 19),
        ("Llama-3-8B-Instruct", "nothing", 7.74, 61.2, 2, 29),
        ("Llama-3-8B-Instruct", "ESU 1.4%", 9.06, 57.6, 80, 93),
        ("Llama-3-8B-Instruct", "EUU 6.8%", 269.2, 44.4, 16, 24),
        ("Llama-3-8B-Instruct", "RU 6.6%", 8.52, 60.8, 1, 24),
        ("Mistral-7B-Instruct-v0.2", "nothing", 5.59, 66.2, 12, 17),
        ("Mistral-7B-Instruct-v0.2", "ESU 2%", 6.17, 63.3, 34, 91),
        ("Mistral-7B-Instruct-v0.2", "EUU 1.3%", 52.7, 40.1, 17, 23),
        ("Mistral-7B-Instruct-v0.2", "RU 13.4%", 8.15, 64.1, 14, 12),
    )
]


def draw_result(name: str) -> None:
    """Draw the table, the downloads, and the replies behind it."""
    kept = load_study(name)
    st.markdown(
        f"**{plain(kept.manifest['model']['name'])}**: percent of prompts, with 95% intervals"
    )
    st.markdown(in_words(kept.table))
    table = pd.DataFrame([_line(row) for row in kept.table])
    st.dataframe(
        table,
        hide_index=True,
        height="content",
        alt=f"The table of the study {name}",
        key="study table",
    )
    st.caption(
        f"{plain(kept.manifest['judge'])} Intervals resample the things that prompts are about, and the seeds of "
        "the controls."
    )
    notes = control_notes(kept.table)
    if notes:
        with st.expander("Where random units do damage, too"):
            st.markdown("\n".join(f"- {note}" for note in notes))
    with st.expander("What the paper measured, for orientation"):
        st.dataframe(pd.DataFrame(_PAPER), hide_index=True, alt="Table 1 of the paper")
        st.caption(
            "Table 1 of Li & Kim, arXiv 2410.10862: models of 7 and 8 billion weights on other prompts. "
            "Attack success is the percent of harmful requests whose reply has no refusal phrase."
        )
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "Table as CSV", csv_of(table), f"{name}.csv", "text/csv", on_click="ignore"
        )
        st.download_button("Report", kept.report, f"{name}.md", "text/markdown", on_click="ignore")
    if kept.has_curves:
        _draw_curves(kept, name)
    _draw_replies(kept)


def _draw_curves(kept: KeptStudy, name: str) -> None:
    """What removing more and more of a role does, beside as many random units."""
    st.markdown("**The more units are off**")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        metric = st.selectbox(
            "Measure",
            metrics_in_order(kept.rows[0]),
            format_func=metric_name,
            key="curve_metric",
            width=300,
        )
        fill = st.segmented_control(
            "Fill",
            kept.manifest["plan"]["fills"],
            default=kept.manifest["plan"]["fills"][0],
            required=True,
            key="curve_fill",
        )
    figure = share_curves(kept.rows, metric, fill)
    about = f"{metric_name(metric)} against the share of units that are off, by role, with bands"
    st.plotly_chart(figure, config=picture_config(f"study {metric}"), alt=about, key="study curves")
    table = pd.DataFrame([_line(row) for row in kept.rows if row["fill"] == fill])
    offer_downloads(
        figure, f"study {metric}", "All curves", partial(csv_of, table), f"curves of {name}.csv"
    )
    with st.expander("The figures behind the curves"):
        st.dataframe(table, hide_index=True, alt=f"Table: {about}")


def load_study(name: str) -> KeptStudy:
    """A study by its name; one object for everybody, until its manifest changes.

    Raises RunError where there is none any more.
    """
    folder = run_folder(STUDIES, name)
    return _open(str(folder), changed_at(folder))


@st.cache_resource(show_spinner="Reading the study.", max_entries=4)
def _open(folder: str, changed: int) -> KeptStudy:
    return open_study(folder)


def _line(row: Mapping[str, Any]) -> dict[str, str]:
    figures = {
        metric_name(name): shown(name, row["metrics"][name]) for name in metrics_in_order(row)
    }
    return {
        "switched off": removed_name(row),
        "units": f"{row['units']:,}" if row["units"] else "",
        "share": f"{row['share']:.1%}" if row["units"] else "",
        "fill": row["fill"] if row["units"] else "",
        **figures,
    }


def _draw_replies(kept: KeptStudy) -> None:
    """Read single replies: original beside ablated."""
    st.markdown("**Read the replies**")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        table = _pick_pairs(kept)
        verdict = st.segmented_control(
            "Show",
            ("all", "refusal broken", "still refused"),
            default="all",
            required=True,
            wrap=True,
        )
        wanted = st.text_input("With these words", key="study_words", width=240).strip().lower()
    if verdict == "refusal broken":
        table = table[table["refused before"] & ~table["refused now"]]
    elif verdict == "still refused":
        table = table[table["refused now"]]
    if wanted:
        text = table["prompt"] + " " + table["original"] + " " + table["ablated"]
        table = table[text.str.lower().str.contains(wanted, regex=False)]
    st.caption(
        f"{len(table):,} prompts"
        + (f", the first {_MOST_REPLIES:,} shown" if len(table) > _MOST_REPLIES else "")
        + ". Choose a row to read its replies whole."
    )
    shown = table.head(_MOST_REPLIES)
    event = st.dataframe(
        shown,
        hide_index=True,
        alt="Replies of the original and the ablated model",
        key="study replies",
        on_select="rerun",
        selection_mode="single-row",
    )
    for place in event["selection"]["rows"]:
        if place < len(shown):  # the choice may be of a longer list
            _read(shown.iloc[place])
    st.download_button(
        "These replies as CSV", partial(csv_of, table), "replies.csv", "text/csv", on_click="ignore"
    )


def _pick_pairs(kept: KeptStudy) -> pd.DataFrame:
    """Draw what was switched off, and how it was asked; the pairs of replies of that."""
    replies = kept.replies
    choices = replies[replies["control"].isna() & (replies["removed"] != "nothing")]
    roles, fills = (list(dict.fromkeys(choices[name])) for name in ("removed", "fill"))
    role = st.selectbox("Switched off", roles, key="study_role", width=160)
    fill = fills[0]
    if len(fills) > 1:
        fill = st.segmented_control("Fill", fills, default=fill, required=True, key="study_fill")
    system = False
    if replies["system"].any():
        system = st.toggle("Asked with the system prompt", key="study_with_system")
    return _pairs(kept, role, fill, system=system)


def _read(pair: pd.Series) -> None:
    """One prompt and both replies, whole, as inert text."""
    st.code(pair["prompt"], language=None, wrap_lines=True)
    for column, side, refused in zip(
        st.columns(2), ("original", "ablated"), ("refused before", "refused now"), strict=True
    ):
        with column:
            st.caption(f"{side.capitalize()}: {'refused' if pair[refused] else 'answered'}")
            st.code(pair[side], language=None, wrap_lines=True)


def _pairs(kept: KeptStudy, role: str, fill: str, *, system: bool) -> pd.DataFrame:
    """The replies, untouched and with the role off at its own share, with a system prompt or without."""
    replies = kept.replies[kept.replies["system"] == system]
    units = next(row["units"] for row in kept.table if row["removed"] == role)
    before = replies[replies["removed"] == "nothing"]
    ablated = replies[(replies["removed"] == role) & replies["control"].isna()]
    now = ablated[(ablated["units"] == units) & (ablated["fill"] == fill)]
    judge = RefusalPhrases()
    pairs = pd.DataFrame(
        {
            "prompt": before["prompt"].to_numpy(),
            "original": before["reply"].to_numpy(),
            "ablated": now["reply"].to_numpy(),
            "refused before": [judge.refuses("", reply) for reply in before["reply"]],
            "refused now": [judge.refuses("", reply) for reply in now["reply"]],
        }
    )
    if "complied" not in replies:  # nobody judged it, or the study is an old one
        return pairs
    return pairs.assign(
        **{
            "complied before": before["complied"].to_numpy(),
            "complied now": now["complied"].to_numpy(),
        }
    )
