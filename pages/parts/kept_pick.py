"""Choosing one of what is finished of a kind, on the screen that shows that kind."""

from __future__ import annotations

import streamlit as st

from pages.parts.errors import plain
from pages.parts.jobs import jobs
from pages.parts.kept_changes import draw_stopped, offer_changes, root_of, take_said
from ssah_core.keeping import list_kept
from ssah_core.kinds import KINDS, Kind


def pick_finished(kind: Kind) -> str | None:
    """Draw the choice, the newest first, with ways to rename and to delete it, and what was stopped.

    None where nothing is finished.
    """
    items = list_kept(root_of(kind), kind)
    said = take_said()
    if said:
        st.success(plain(said))
    job = jobs().current
    at_work = None if job is None else job.name
    draw_stopped([item for item in items if not item.finished and item.name != at_work])
    names = [item.name for item in items if item.finished]
    if not names:
        st.caption(f"No {kind} has been made yet.")
        return None
    chosen = st.session_state.get(kind)
    if chosen not in names:
        if chosen is not None:
            st.info(
                f"The {kind} {plain(chosen)} is not there any more: somebody renamed or deleted it. "
                f"Shown now is {plain(names[0])}."
            )
        st.session_state[kind] = names[0]
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        label = f"Finished {KINDS[kind].plural}"
        picked: str = st.selectbox(label, names, key=kind, width=280)
        offer_changes(kind, picked)
    return picked
