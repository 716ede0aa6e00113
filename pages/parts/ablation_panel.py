"""The panel that says which units are off."""

from __future__ import annotations

import streamlit as st

from pages.parts.choice import FILLS_IN_WORDS, KINDS_IN_WORDS, Choice
from pages.parts.roles_in_words import MEANINGS, label, meanings
from ssah_core.ablation import FILLS, Fill
from ssah_core.models.anatomy import Kinds
from ssah_core.roles import DEFAULT_KINDS, DEFAULT_TOKENS, KIND_CHOICES, Role
from ssah_core.runs import Run
from ssah_core.scoring.scores import TOKEN_CHOICES, Tokens

_FALLBACK_SHARES: dict[Role, float] = {"ESU": 0.08, "EUU": 0.04, "RU": 0.15}
_SHARED_ROLES: tuple[Role, ...] = ("ESU", "EUU", "RU")  # CU is what they leave
_PRESETS: dict[str, tuple[list[Role], bool]] = {
    "Nothing off": ([], False),
    "ESU off": (["ESU"], False),
    "Random instead": (["ESU"], True),
    "RU off": (["RU"], False),
}


def choose_ablation(run: Run) -> Choice:
    """Draw the panel and read it."""
    for key, value in (("roles", []), ("strongest", 100), ("random", False)):
        st.session_state.setdefault(key, value)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown("**2. Switch off**", width="content")
        for name, (preset, control) in _PRESETS.items():
            st.button(
                name,
                key=f"preset {name}",
                on_click=_apply_preset,
                args=(preset, control),
                type="primary" if _is_set(preset, control) else "secondary",
            )
        with st.popover("More options", icon=":material/tune:", type="tertiary"):
            seed, fill, shares, tokens, kinds = _more(run)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        roles: list[Role] = st.pills(
            "Switch off the units that matter for …",
            list(MEANINGS),
            selection_mode="multi",
            format_func=label,
            key="roles",
            wrap=True,
            help=meanings(),
        )
        strongest, random = _how_many(disabled=not roles)
    return Choice(tuple(roles), strongest, random, seed, fill, shares, tokens, kinds)


def _how_many(disabled: bool) -> tuple[int, bool]:
    strongest: int = st.slider(
        "How many, strongest first",
        0,
        100,
        step=5,
        format="%d%%",
        key="strongest",
        disabled=disabled,
        help="100% switches off every unit of the chosen roles.",
        width=200,
    )
    random = st.toggle(
        "Random units instead",
        key="random",
        disabled=disabled,
        help="As many units, drawn at random. This is the control: if random units do the same, "
        "the role explains nothing.",
    )
    return strongest, random


def _is_set(roles: list[Role], random: bool) -> bool:
    state = st.session_state
    if set(state["roles"]) != set(roles):
        return False
    return not roles or (state["random"] == random and state["strongest"] == 100)


def _apply_preset(roles: list[Role], random: bool) -> None:
    st.session_state["roles"] = list(roles)
    st.session_state["random"] = random
    st.session_state["strongest"] = 100


def _more(run: Run) -> tuple[int, Fill, tuple[float, float, float], Tokens, Kinds]:
    kept = run.roles
    tokens: Tokens = st.segmented_control(
        "Tokens that count in the scores",
        TOKEN_CHOICES,
        default=kept.tokens if kept else DEFAULT_TOKENS,
        required=True,
        help="A unit is scored by how it responds to the prompt, to the reply, or to both.",
    )
    kinds: Kinds = st.segmented_control(
        "Units that may take a role",
        KIND_CHOICES,
        default=kept.kinds if kept else DEFAULT_KINDS,
        format_func={"both": "both", "mlp": "MLP channels", "attn": "attention heads"}.get,
        required=True,
        help=f"Both: {KINDS_IN_WORDS['both']}. The others stay CU.",
    )
    fill: Fill = st.segmented_control(
        "Units that are off put out",
        FILLS,
        default=FILLS[0],
        format_func=FILLS_IN_WORDS.get,
        required=True,
        help="Nothing, or each its mean over the utility prompts.",
    )
    return _seed(), fill, _shares(run), tokens, kinds


def _shares(run: Run) -> tuple[float, float, float]:
    usual = (run.roles.shares if run.roles else None) or _FALLBACK_SHARES
    st.caption("How many of all units get each role, in percent; the rest are CU.")
    esu, euu, ru = (
        column.number_input(role, 0.0, 100.0, 100 * usual[role], 0.5, "%.1f") / 100
        for role, column in zip(_SHARED_ROLES, st.columns(3), strict=True)
    )
    return esu, euu, ru


def _seed() -> int:
    return int(
        st.number_input(
            "Seed of the random units", 0, 10_000, 0, 1, help="Another seed draws other units."
        )
    )
