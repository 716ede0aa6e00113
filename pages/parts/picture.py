"""The idea in one picture: a request passes the layers, and a few units decide between two ways."""

from __future__ import annotations

import random

import streamlit as st

from ssah_core.figures import ROLE_COLOURS
from ssah_core.roles import ROLES, Role

_LAYERS, _UNITS = 6, 11
_SPREAD: dict[Role, int] = {"ESU": 2, "EUU": 3, "CU": 14, "RU": 4}  # how often each is drawn
_ALT = (
    "A request enters on the left and passes six layers of units. Each unit has the colour of its role. "
    "A few orange ones, the exclusive safety units, decide between two ways out: refuse or fulfil."
)


_INK = {"light": "#1B2430", "dark": "#E8ECF1"}  # the theme's text colours


def draw_picture() -> None:
    """Draw the picture in the ink of the page, light or dark."""
    theme = st.context.theme.type or "light"
    st.image(_svg(_INK[theme]), width="stretch", alt=_ALT)


def _svg(ink: str) -> str:
    generator = random.Random(3)
    roles = generator.choices(ROLES, [_SPREAD[role] for role in ROLES], k=_LAYERS * _UNITS)
    parts = [
        '<svg viewBox="0 0 900 250" width="900" height="250" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="sans-serif" fill="{ink}" color="{ink}">'
    ]
    parts.append(_text(78, 118, "a harmful", "middle") + _text(78, 140, "request", "middle"))
    parts.append(_arrow(132, 125, 178, 125))
    for layer in range(_LAYERS):
        x = 200 + 78 * layer
        parts.append(
            f'<rect x="{x - 18}" y="16" width="36" height="218" rx="8" fill="none" '
            'stroke="currentColor" stroke-opacity="0.35"/>'
        )
        for place in range(_UNITS):
            role = roles[layer * _UNITS + place]
            size = 9 if role == "ESU" else 6
            parts.append(
                f'<circle cx="{x}" cy="{32 + 18.6 * place:.1f}" r="{size}" fill="{ROLE_COLOURS[role]}"/>'
            )
    parts.append(_arrow(614, 125, 694, 62) + _arrow(614, 125, 694, 188))
    parts.append(_text(704, 60, "refuse", "start", bold=True))
    parts.append(_text(704, 80, "safety units on", "start", faint=True))
    parts.append(_text(704, 186, "fulfil", "start", bold=True))
    parts.append(_text(704, 206, "safety units off", "start", faint=True))
    return "".join(parts) + "</svg>"


def _text(
    x: int, y: int, words: str, anchor: str, *, bold: bool = False, faint: bool = False
) -> str:
    weight = "600" if bold else "400"
    opacity = "0.7" if faint else "1"
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="16" font-weight="{weight}" '
        f'fill-opacity="{opacity}">{words}</text>'
    )


def _arrow(x1: int, y1: int, x2: int, y2: int) -> str:
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="currentColor" stroke-width="2"/>'
        f'<circle cx="{x2}" cy="{y2}" r="4"/>'
    )
