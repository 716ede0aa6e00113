"""The panel that says which units are off, and the ablation that it stands for."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from pages.parts.roles_in_words import MEANINGS, legend
from ssah_core.ablation import FILLS, Ablation, Fill
from ssah_core.models.anatomy import Kinds
from ssah_core.roles import DEFAULT_KINDS, DEFAULT_TOKENS, KIND_CHOICES, Role, assign_roles
from ssah_core.runs import Run
from ssah_core.scoring.scores import TOKEN_CHOICES, Tokens

_FALLBACK_SHARES = {"ESU": 0.08, "EUU": 0.04, "RU": 0.15}
_PRESETS: dict[str, tuple[list[Role], bool]] = {
    "Nothing off": ([], False),
    "ESU off": (["ESU"], False),
    "As many random units off": (["ESU"], True),
    "RU off": (["RU"], False),
}


@dataclass(frozen=True)
class Choice:
    """What the panel says: two equal choices are the same ablation."""

    roles: tuple[Role, ...]
    strongest: int  # percent
    random: bool
    seed: int
    fill: Fill
    shares: tuple[float, float, float]  # ESU, EUU, RU
    tokens: Tokens
    kinds: Kinds


def choose_ablation(run: Run) -> Choice:
    """Draw the panel and read it."""
    for key, value in (("roles", []), ("strongest", 100), ("random", False)):
        st.session_state.setdefault(key, value)
    with st.container(border=True):
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            for label, (preset, control) in _PRESETS.items():
                st.button(label, on_click=_apply_preset, args=(preset, control))
            with st.popover("More options", icon=":material/tune:", type="tertiary"):
                seed, fill, shares, tokens, kinds = _more(run)
        left, right = st.columns([1, 1], gap="large", vertical_alignment="top")
        with left:
            roles: list[Role] = st.pills(
                "Switch off the units of these roles",
                list(MEANINGS),
                selection_mode="multi",
                key="roles",
                help="  \n".join(f"**{role}** {meaning}" for role, meaning in MEANINGS.items()),
            )
            random = st.toggle(
                "As many random units instead",
                key="random",
                help="The control: if random units do the same, the role explains nothing.",
            )
        with right:
            strongest = st.slider(
                "How many of them, strongest first",
                0,
                100,
                step=5,
                format="%d%%",
                key="strongest",
                help="100% switches off every unit of the chosen roles.",
            )
    return Choice(tuple(roles), strongest, random, seed, fill, shares, tokens, kinds)


def build_ablation(run: Run, choice: Choice) -> Ablation | None:
    """The ablation of a choice; None where nothing is switched off."""
    esu, euu, ru = choice.shares
    roles = assign_roles(run.scores, esu, euu, ru, tokens=choice.tokens, kinds=choice.kinds)
    cut = Ablation.of(
        roles, choice.roles, strongest=choice.strongest / 100, factor=0.0, fill=choice.fill
    )
    if choice.random:
        cut = Ablation.random_like(cut, seed=choice.seed)
    return cut if cut.count else None


def in_words(choice: Choice, cut: Ablation | None) -> str:
    """For example "ESU off: 291 of 3,648 units (8.0%)"."""
    if cut is None:
        return "Nothing off"
    part = "" if choice.strongest == 100 else f"strongest {choice.strongest}% of "
    what = "random units" if choice.random else part + " + ".join(choice.roles)
    filled = "" if choice.fill == "zero" else ", filled with their mean"
    share = cut.count / cut.anatomy.units
    return f"{what} off: {cut.count:,} of {cut.anatomy.units:,} units ({share:.1%}){filled}"


def _apply_preset(roles: list[Role], random: bool) -> None:
    st.session_state["roles"] = list(roles)
    st.session_state["random"] = random
    st.session_state["strongest"] = 100


def _more(run: Run) -> tuple[int, Fill, tuple[float, float, float], Tokens, Kinds]:
    kept = run.roles
    usual = (kept.shares if kept else None) or _FALLBACK_SHARES
    st.html(legend())
    shares = [
        st.number_input(
            f"Share of {role}, percent of all units", 0.0, 100.0, 100 * usual[role], 0.5, "%.1f"
        )
        / 100
        for role in ("ESU", "EUU", "RU")
    ]
    tokens: Tokens = st.segmented_control(
        "Tokens that count in the scores",
        TOKEN_CHOICES,
        default=kept.tokens if kept else DEFAULT_TOKENS,
        required=True,
        help="The activations on the prompt, on the response, or on both.",
    )
    kinds: Kinds = st.segmented_control(
        "Kinds of units that may take a role",
        KIND_CHOICES,
        default=kept.kinds if kept else DEFAULT_KINDS,
        required=True,
        help="mlp: channels of the MLP. attn: attention heads. The others stay CU.",
    )
    fill: Fill = st.segmented_control(
        "What replaces a unit that is off",
        FILLS,
        default=FILLS[0],
        required=True,
        help="zero, or the unit's mean over the utility prompts.",
    )
    seed = st.number_input("Seed of the random units", 0, 10_000, 0, 1)
    return int(seed), fill, (shares[0], shares[1], shares[2]), tokens, kinds
