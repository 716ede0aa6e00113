"""The guided tour over the real screens: its steps are data, in assets/tour.json."""

from __future__ import annotations

import json
from functools import cache

import streamlit as st

from pages.parts.places import ROOT, page_file

_STEP = "tour_step"


@cache
def steps() -> list[dict[str, str]]:
    """The tour's steps: the page, a title and a text each."""
    found: list[dict[str, str]] = json.loads((ROOT / "assets" / "tour.json").read_text("utf-8"))
    return found


def start() -> None:
    """Begin the tour at its first step."""
    st.session_state[_STEP] = 0


def draw(page: str) -> None:
    """Draw the step that belongs to this page, or the way to it, while the tour is on."""
    number: int | None = st.session_state.get(_STEP)
    if number is None:
        return
    step = steps()[number]
    with st.container(border=True, key="tour"):
        if step["page"] != page:
            st.markdown(f"**Tour**: the next step is on the screen *{step['page'].capitalize()}*.")
        else:
            st.markdown(f"**Tour {number + 1} of {len(steps())}: {step['title']}.** {step['text']}")
        with st.container(horizontal=True, gap="small"):
            if step["page"] != page:
                moved = st.button("Go there", key="tour go", type="primary")
                target = number
            else:
                last = number == len(steps()) - 1
                moved = st.button("Finish" if last else "Next", key="tour next", type="primary")
                target = number + 1
            if number and step["page"] == page:
                st.button("Back", key="tour back", on_click=_move, args=(number - 1,))
            st.button("End the tour", key="tour end", type="tertiary", on_click=_move, args=(None,))
    if moved:
        _move(target if target < len(steps()) else None)
        if target < len(steps()) and steps()[target]["page"] != page:
            st.switch_page(page_file(steps()[target]["page"]))
        st.rerun()


def _move(number: int | None) -> None:
    st.session_state[_STEP] = number
