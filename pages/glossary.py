"""The Glossary: every term that a screen uses."""

import streamlit as st

from pages.parts.screen import Screen, show_screen
from pages.parts.words import glossary, listed


def draw(screen: Screen) -> None:
    """Draw the terms that a search leaves, in order."""
    wanted = st.text_input("Find a word", key="find_word").strip().lower()
    found = [
        term
        for term in sorted(glossary(), key=str.lower)
        if wanted in term.lower() or wanted in " ".join(glossary()[term]).lower()
    ]
    if not found:
        st.info("No term holds this word. Try a shorter one.")
    half = -(-len(found) // 2)
    for column, part in zip(st.columns(2, gap="large"), (found[:half], found[half:]), strict=True):
        with column:
            listed(part)


show_screen("glossary", "The words of this app", "", ("SSAH", "unit", "role"), draw)
