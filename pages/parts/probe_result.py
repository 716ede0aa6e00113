"""A probe's figures, its table, and every prompt, to read and take away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.exports import picture_config
from pages.parts.places import STUDIES, changed_at
from ssah_core.evaluation.metrics import Measured, interval_in_brackets
from ssah_core.probe_figures import (
    GROUP_NAMES,
    distance_by_block,
    distance_by_length,
    nearer_shares,
    prompt_curves,
    short_label,
)
from ssah_core.probes.continuations import INTENTS
from ssah_core.probes.direction import DISTANCES
from ssah_core.probes.probe_folder import open_probe
from ssah_core.probes.probe_tables import KeptProbe, KeptSeries
from ssah_core.probes.summary import LEANS, View, is_share, nearer, summary
from ssah_core.run_list import run_folder
from ssah_core.tables import csv_of

_ALL_BLOCKS = "all, their mean"
_MOST_PROMPTS = 2000
_PAPER = [
    {"Llama-3.1-8B": model, "words": words, "2 tokens": two, "10 tokens": ten}
    for model, words, two, ten in (
        ("aligned", "refusing", 0.75, 0.09),
        ("aligned", "complying", 0.73, 0.52),
        ("unaligned", "refusing", 0.82, 0.54),
        ("unaligned", "complying", 0.70, 0.30),
    )
]


def load_probe(name: str) -> KeptProbe:
    """A probe by its name; one object for everybody, until its manifest changes.

    Raises RunError where there is none any more.
    """
    folder = run_folder(STUDIES, name)
    return _open(str(folder), changed_at(folder))


@st.cache_resource(show_spinner="Reading the probe.", max_entries=4)
def _open(folder: str, changed: int) -> KeptProbe:
    return open_probe(folder)


@st.cache_data(show_spinner=False, max_entries=16)
def _summary(hash_of_files: str, view: View, _kept: KeptProbe) -> list[dict[str, Any]]:
    """The summary's rows; resampling takes a second, and every click asks for them."""
    return summary(_kept, view)


def draw_result(name: str) -> None:
    """Draw what the probe came to, its curves, and its prompts."""
    kept = load_probe(name)
    group, view = _pick_view(kept)
    rows = _summary(str(kept.manifest["files"]), view, kept)
    _draw_shares(rows)
    _draw_table(name, rows)
    at = "over all blocks" if view.block is None else f"in block {view.block}"
    st.markdown(f"**The distances, {GROUP_NAMES[group]} prompts**")
    st.plotly_chart(
        distance_by_block(kept, group, view),
        key="probe blocks",
        alt=f"Mean distance in every block after {_tokens(kept, view)} tokens, a panel a model",
        config=picture_config("direction by block"),
    )
    st.caption(
        f"In every block, after {_tokens(kept, view)} tokens. Bands are 95% intervals of the mean. The "
        "last block's state is read after the model's final norm."
    )
    st.plotly_chart(
        distance_by_length(kept, group, view),
        key="probe lengths",
        alt=f"Mean distance against the number of tokens, {at}, a panel a model",
        config=picture_config("direction by tokens"),
    )
    st.caption(f"Against the number of tokens, {at}, as in Figure 3 of the paper.")
    with st.expander("What the paper measured, for orientation"):
        st.dataframe(pd.DataFrame(_PAPER), hide_index=True, alt="Figures of the paper")
        st.caption(
            "Cosine distances of Llama-3.1-8B, read from Section 3 of Li & Kim, arXiv 2410.10862. The "
            "paper has no neutral words, and does not say which token's state it takes."
        )
    _draw_prompts(kept, group, view)


def _pick_view(kept: KeptProbe) -> tuple[str, View]:
    """Draw the choices of what is shown."""
    lengths = kept.series[0].direction.lengths
    blocks = min(one.direction.blocks for one in kept.series)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        distance = st.segmented_control(
            "Distance", DISTANCES, default=DISTANCES[0], required=True, key="probe_distance"
        )
        length = st.segmented_control(
            "Tokens", lengths, default=lengths[-1], required=True, key=f"probe_length {lengths}"
        )
        block = st.selectbox(
            "Block", [_ALL_BLOCKS, *range(blocks)], key=f"probe_block {blocks}", width=160
        )
        group = st.segmented_control(
            "Curves of the prompts",
            kept.groups,
            default=kept.groups[0],
            format_func=GROUP_NAMES.get,
            required=True,
            key=f"probe_group {kept.groups}",
            wrap=True,
        )
    return group, View(distance, length, None if block == _ALL_BLOCKS else block)


def _tokens(kept: KeptProbe, view: View) -> int:
    return view.length or kept.series[0].direction.lengths[-1]


def _draw_shares(rows: Sequence[Mapping[str, Any]]) -> None:
    """The probe's number, a line a series, as a table and as a chart."""
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        line = lines.setdefault(row["series"], {"model": short_label(row["series"])})
        line[GROUP_NAMES[row["prompts"]]] = _percent(row["figures"]["nearer benign than malicious"])
    for row in rows:
        if row["prompts"] == "harmful" and LEANS in row["figures"]:
            lines[row["series"]]["harmful leans more"] = _percent(row["figures"][LEANS])
    st.markdown("**State nearer to refusing than to complying words**, percent of prompts")
    st.dataframe(
        pd.DataFrame(list(lines.values())),
        hide_index=True,
        height="content",
        alt="Percent of prompts whose state is nearer to refusing words",
        key="probe shares table",
    )
    st.caption(
        "With 95% intervals. Some words are nearer to every prompt, so the last column compares prompts: "
        "in so many pairs of a harmful and a harmless one, the harmful one leans more to refusing words "
        "(50% is no difference)."
    )
    st.plotly_chart(
        nearer_shares(rows),
        key="probe shares",
        alt="Percent of prompts whose state is nearer to refusing words, by model and set of prompts",
        config=picture_config("direction shares"),
    )


def _draw_table(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    table = pd.DataFrame([_line(row) for row in rows])
    with st.expander("The figures, with the control"):
        st.dataframe(table, hide_index=True, height="content", alt=f"The table of the probe {name}")
        st.caption(
            "Percent of prompts, and mean distances, with 95% intervals. Neutral words of the same length "
            "are the control: where they are as far away as the others, the distance speaks of the words "
            "and not of an intent."
        )
    st.download_button(
        "Table as CSV",
        partial(csv_of, table),
        f"{name}.csv",
        "text/csv",
        on_click="ignore",
        key="probe table file",
    )


def _line(row: Mapping[str, Any]) -> dict[str, str]:
    figures: Mapping[str, Measured] = row["figures"]
    return {
        "model": short_label(row["series"]),
        "prompts": GROUP_NAMES[row["prompts"]],
        "n": f"{next(iter(figures.values())).n:,}",
        **{
            key: _percent(found)
            if is_share(key)
            else f"{found.value:.3g} {interval_in_brackets(found.low, found.high, '.3g')}"
            for key, found in figures.items()
        },
    }


def _percent(found: Measured) -> str:
    between = interval_in_brackets(100 * found.low, 100 * found.high, ".0f")
    return f"{100 * found.value:.1f}% {between}"


def _draw_prompts(kept: KeptProbe, group: str, view: View) -> None:
    """Every prompt with its distances, and one prompt's curve."""
    st.markdown("**Prompt by prompt**")
    labels = [one.label for one in kept.series]
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        label = st.selectbox(
            "Model", labels, format_func=short_label, key=f"probe_series {labels}", width=320
        )
        wanted = st.text_input("With these words", key="probe_words", width=240).strip().lower()
    one = kept.series[labels.index(label)]
    table = _prompt_table(kept, one, group, view)
    if wanted:
        table = table[table["prompt"].str.lower().str.contains(wanted, regex=False)]
    more = f", the first {_MOST_PROMPTS:,} shown" if len(table) > _MOST_PROMPTS else ""
    st.caption(f"{len(table):,} prompts{more}. Choose a row for its curve.")
    picked = st.dataframe(
        table.head(_MOST_PROMPTS),
        hide_index=True,
        height=300,
        alt="Prompts with their distances",
        on_select="rerun",
        selection_mode="single-row",
        key=f"probe prompts {label} {group} {wanted}",
        column_config={
            name: st.column_config.NumberColumn(format="%.3f") for name in table.columns[1:4]
        },
    )
    st.download_button(
        "These prompts as CSV", partial(csv_of, table), "prompts.csv", "text/csv", on_click="ignore"
    )
    if len(table):
        rows = [row for row in picked["selection"]["rows"] if row < len(table)] or [0]
        _draw_prompt(one, int(table.index[rows[0]]), str(table.iloc[rows[0]]["prompt"]), view)


def _draw_prompt(one: KeptSeries, place: int, prompt: str, view: View) -> None:
    st.text(prompt)
    st.plotly_chart(
        prompt_curves(one, place, view),
        key="probe prompt",
        alt=f"The distances of one prompt in every block: {prompt[:200]}",
        config=picture_config("direction of a prompt"),
    )


def _prompt_table(kept: KeptProbe, one: KeptSeries, group: str, view: View) -> pd.DataFrame:
    """The prompts of a group, by their place in the probe, with their distances."""
    places = kept.rows(group)
    close = nearer(one.direction, view)[places]
    return pd.DataFrame(
        {
            "prompt": kept.prompts["prompt"].iloc[places].to_numpy(),
            **{
                f"to {name} words": view.of(one.direction, intent)[places]
                for intent, name in zip(INTENTS, ("refusing", "complying", "neutral"), strict=True)
            },
            "nearer to": ["refusing" if yes else "complying" for yes in close],
        },
        index=places,
    )
