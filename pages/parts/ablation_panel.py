"""The panel that says which units are off, and by how much."""

from __future__ import annotations

import streamlit as st

from pages.parts.choice import FILLS_IN_WORDS, KINDS_IN_WORDS
from pages.parts.errors import show_error
from pages.parts.roles_in_words import MEANINGS, label, meanings
from pages.parts.settings import CONTROLS, SHARED_ROLES, defaults, set_units
from ssah_core.ablation import FILLS
from ssah_core.errors import AblationError
from ssah_core.roles import KIND_CHOICES, Role
from ssah_core.runs import Run
from ssah_core.scoring.scores import TOKEN_CHOICES

_PRESETS: dict[str, tuple[list[Role], bool]] = {
    "Nothing off": ([], False),
    "ESU off": (["ESU"], False),
    "Random instead": (["ESU"], True),
    "RU off": (["RU"], False),
}
_USUAL_MOST = 40.0  # percent of all units
_CONTROL_NAMES = {"size": "from all units", "layer": "as many from each layer"}


def choose_ablation(run: Run) -> None:
    """Draw the panel; the settings hold what was chosen."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown("**2. Switch off**", width="content")
        for name, (preset, control) in _PRESETS.items():
            st.button(
                name,
                key=f"preset {name}",
                on_click=_apply_preset,
                args=(run, preset, control),
                type="primary" if _is_set(preset, control) else "secondary",
            )
        with st.popover("More options", icon=":material/tune:", type="tertiary"):
            choose_more(run)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        st.pills(
            "Switch off the units that matter for …",
            list(MEANINGS),
            selection_mode="multi",
            format_func=label,
            key="roles",
            wrap=True,
            help=meanings(),
        )
        _how_many(disabled=not st.session_state["roles"])


def choose_roles(run: Run) -> None:
    """Draw what decides the roles: shares, tokens and kinds; they recolour every screen at once."""
    columns = st.columns(len(SHARED_ROLES))
    for role, column in zip(SHARED_ROLES, columns, strict=True):
        column.slider(
            f"{role}, % of all units",
            0.0,
            max(_USUAL_MOST, st.session_state[f"share_{role}"]),
            step=0.1,
            format="%.1f%%",
            key=f"share_{role}",
            help=f"{MEANINGS[role].capitalize()}. The units that no share takes are CU.",
        )
    with st.container(horizontal=True, gap="medium"):
        st.segmented_control(
            "Tokens that count in the scores",
            TOKEN_CHOICES,
            key="tokens",
            required=True,
            help="A unit is scored by how it responds to the prompt, to the reply, or to both.",
            wrap=True,
        )
        st.segmented_control(
            "Units that may take a role",
            KIND_CHOICES,
            key="kinds",
            format_func={"both": "both", "mlp": "MLP channels", "attn": "attention heads"}.get,
            required=True,
            help=f"Both: {KINDS_IN_WORDS['both']}. The others stay CU.",
            wrap=True,
        )
        st.button(
            "Back to the run's own",
            on_click=_reset_roles,
            args=(run,),
            type="tertiary",
            icon=":material/restart_alt:",
        )


def choose_more(run: Run, *, with_roles: bool = True) -> None:
    """Draw the finer settings of an ablation, and those of the roles unless they stand elsewhere."""
    last = run.scores.anatomy.layers - 1
    if last:
        st.slider("Only the roles' units of these layers", 0, last, key="layers")
    st.slider(
        "Strength: what is left of their signal",
        0,
        200,
        step=5,
        format="%d%%",
        key="strength",
        help="0% is off, 100% untouched, 200% twice as strong.",
    )
    st.segmented_control(
        "Units that are off put out",
        FILLS,
        key="fill",
        format_func=FILLS_IN_WORDS.get,
        required=True,
        help="Nothing, or each its mean over the utility prompts.",
        wrap=True,
    )
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        st.segmented_control(
            "Random units are drawn",
            CONTROLS,
            key="control",
            format_func=_CONTROL_NAMES.get,
            required=True,
            wrap=True,
        )
        st.number_input(
            "Seed", 0, 10_000, step=1, key="seed", help="Another seed draws other units."
        )
    _choose_single_units(run)
    if with_roles:
        st.divider()
        choose_roles(run)


def _choose_single_units(run: Run) -> None:
    names = st.text_input(
        "Single units besides, by name",
        placeholder="L3.mlp.17, L0.attn.2",
        key="typed_units",
        help="Press Enter to switch them off. The screen Layers shows their names.",
    )
    state = st.session_state
    if names and names != state.get("units_read"):
        state["units_read"] = names
        _add_units(run, [part.strip() for part in names.split(",") if part.strip()])
    kept = [f"{len(state['added']):,} on top" * bool(state["added"])]
    kept.append(f"{len(state['spared']):,} spared" * bool(state["spared"]))
    said = " and ".join(part for part in kept if part)
    if said:
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.caption(f"Single units: {said}.")
            st.button("Clear them", on_click=clear_units, type="tertiary")


def _add_units(run: Run, names: list[str]) -> None:
    try:
        proper = [run.scores.anatomy.proper_name(name) for name in names]
    except AblationError as error:
        show_error(error)
        return
    set_units(proper, ablated=True, of_role=lambda name: False)


def clear_units() -> None:
    """Forget all single units."""
    st.session_state.update(added=[], spared=[], typed_units="", units_read="")


def _how_many(disabled: bool) -> None:
    st.slider(
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
    st.toggle(
        "Random units instead",
        key="random",
        disabled=disabled,
        help="As many units, drawn at random. This is the control: if random units do the same, "
        "the role explains nothing.",
    )


def _is_set(roles: list[Role], random: bool) -> bool:
    state = st.session_state
    if set(state["roles"]) != set(roles) or state["added"] or state["spared"]:
        return False
    usual = state["strongest"] == 100 and state["strength"] == 0
    return not roles or (state["random"] == random and usual)


def _apply_preset(run: Run, roles: list[Role], random: bool) -> None:
    st.session_state.update(
        roles=list(roles),
        random=random,
        strongest=100,
        strength=0,
        layers=defaults(run)["layers"],
        added=[],
        spared=[],
        typed_units="",
        units_read="",
    )


def _reset_roles(run: Run) -> None:
    usual = defaults(run)
    for key in (*(f"share_{role}" for role in SHARED_ROLES), "tokens", "kinds"):
        st.session_state[key] = usual[key]
