"""A study's table and its replies, to read, filter and take away."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.places import STUDIES
from ssah_core.evaluation.judges import RefusalPhrases
from ssah_core.evaluation.study_folder import KeptStudy, open_study
from ssah_core.run_list import run_folder

_NAMES = {
    "refused": "refused",
    "attack_success": "not refused",
    "attack_success_strict": "not refused, 20 words or more",
    "complied": "complied exactly",
    "harmless_refused": "harmless refused",
    "harmless_correct": "harmless answered exactly",
    "false_refusals": "look-alikes refused",
}
_MOST_REPLIES = 2000


def pick_study() -> str | None:
    """Draw the choice of a finished study; the newest first. None where there is none."""
    folders = (
        [p for p in STUDIES.iterdir() if (p / "manifest.json").is_file()]
        if STUDIES.is_dir()
        else []
    )
    newest = sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)
    names = [path.name for path in newest]
    if not names:
        return None
    if st.session_state.get("study") not in names:
        st.session_state["study"] = names[0]
    chosen: str = st.selectbox("Finished studies", names, key="study", width=280)
    return chosen


def draw_result(name: str) -> None:
    """Draw the table, the downloads, and the replies behind it."""
    kept = _open(name, run_folder(STUDIES, name).stat().st_mtime)
    st.markdown(f"**{kept.manifest['model']['name']}**: percent of prompts, with 95% intervals")
    table = _table(kept)
    st.dataframe(table, hide_index=True, alt=f"The table of the study {name}", key="study table")
    st.caption(
        f"{kept.manifest['judge']} Intervals resample the things that prompts are about, and the seeds of "
        "the controls."
    )
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "Table as CSV", table.to_csv(index=False), f"{name}.csv", "text/csv", on_click="ignore"
        )
        report = (run_folder(STUDIES, name) / "report.md").read_bytes()
        st.download_button("Report", report, f"{name}.md", "text/markdown", on_click="ignore")
    _draw_replies(kept)


@st.cache_resource(show_spinner="Reading the study.", max_entries=4)
def _open(name: str, changed: float) -> KeptStudy:
    return open_study(run_folder(STUDIES, name))


def _table(kept: KeptStudy) -> pd.DataFrame:
    return pd.DataFrame([_line(row) for row in kept.rows])


def _line(row: dict[str, Any]) -> dict[str, str]:
    removed = row["removed"]
    if row["control"]:
        removed = f"random, as many as {removed} ({row['control']}-matched)"
    shown = {
        "switched off": removed,
        "units": f"{row['units']:,}" if row["units"] else "",
        "fill": row["fill"] if row["units"] else "",
    }
    for name, measured in row["metrics"].items():
        value, low, high = (100 * measured[key] for key in ("value", "low", "high"))
        shown[_NAMES.get(name, name)] = f"{value:.1f} ({low:.0f}–{high:.0f})"
    return shown


def _draw_replies(kept: KeptStudy) -> None:
    """Read single replies: original beside ablated."""
    st.markdown("**Read the replies**")
    replies = kept.replies
    choices = replies[replies["control"].isna() & (replies["removed"] != "nothing")]
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        roles = list(dict.fromkeys(choices["removed"]))
        role = st.selectbox("Switched off", roles, key="study_role", width=160)
        verdict = st.segmented_control(
            "Show",
            ("all", "refusal broken", "still refused"),
            default="all",
            required=True,
            wrap=True,
        )
        wanted = st.text_input("With these words", key="study_words", width=240).strip().lower()
    table = _pairs(replies, role)
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
    )
    st.dataframe(
        table.head(_MOST_REPLIES),
        hide_index=True,
        alt="Replies of the original and the ablated model",
    )


def _pairs(replies: pd.DataFrame, role: str) -> pd.DataFrame:
    before = replies[replies["removed"] == "nothing"]
    ablated = replies[(replies["removed"] == role) & replies["control"].isna()]
    now = ablated[ablated["fill"] == ablated["fill"].iloc[0]]
    judge = RefusalPhrases()
    return pd.DataFrame(
        {
            "prompt": before["prompt"].to_numpy(),
            "original": before["reply"].to_numpy(),
            "ablated": now["reply"].to_numpy(),
            "refused before": [judge.refuses("", reply) for reply in before["reply"]],
            "refused now": [judge.refuses("", reply) for reply in now["reply"]],
        }
    )
