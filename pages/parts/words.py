"""The glossary: every term used on a screen, explained in place and on a page of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

import streamlit as st

from pages.parts.places import ROOT, page_file


@cache
def glossary() -> dict[str, tuple[str, str]]:
    """Each term with what it is, in one sentence, and what else there is to know."""
    listed = json.loads((ROOT / "assets" / "glossary.json").read_text("utf-8"))
    return {term: (short, more) for term, (short, more) in listed.items()}


def explain(*terms: str) -> None:
    """Draw a button that explains some terms where they are used."""
    with st.popover(
        "Words", icon=":material/menu_book:", type="tertiary", help="What words here mean"
    ):
        st.markdown("\n\n".join(f"**{term}**: {glossary()[term][0]}" for term in terms))
        st.page_link(page_file("glossary"), label="All words", icon=":material/menu_book:")


def listed(found: Sequence[str]) -> None:
    """Draw some terms in full."""
    for term in found:
        short, more = glossary()[term]
        st.markdown(f"**{term}**  \n{short} {more}")
