"""Units under a magnifying glass: one unit in focus, or a box of them, to be switched off or on."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from pages.parts.errors import show_error
from pages.parts.screen import Active
from pages.parts.settings import set_units
from ssah_core.ablation import Ablation
from ssah_core.errors import AblationError
from ssah_core.figures import ROLE_COLOURS
from ssah_core.roles import ROLES, Roles
from ssah_core.stability import Stability

_SELECTED = "selected_units"
_NEIGHBOURS = 3  # on each side of the unit in focus
_MOST_ROWS = 500


def select_units(roles: Roles, units: Sequence[int]) -> None:
    """Keep the units under a box until another one is drawn."""
    st.session_state[_SELECTED] = [roles.scores.anatomy.name_of(unit) for unit in units]


def draw_selection(now: Active, stability: Stability | None) -> None:
    """Draw the selected units with what can be done to them."""
    names: list[str] = st.session_state.get(_SELECTED) or []
    names = [name for name in names if is_unit(now.roles, name)]
    if not names:
        return
    roles = now.roles
    units = [roles.scores.anatomy.index_of(name) for name in names]
    counts = [
        f"{role} {int((roles.vector[units] == code).sum()):,}" for code, role in enumerate(ROLES)
    ]
    with st.container(border=True, key="selection"):
        noun = "unit" if len(names) == 1 else "units"
        st.markdown(f"**{len(names):,} {noun} selected**: {', '.join(counts)}.")
        st.caption(_listed(names))
        with st.container(horizontal=True, gap="small"):
            _buttons(now, names, "selection")
            st.button("Forget the selection", on_click=_forget, type="tertiary")
        with st.expander("The selected units as a table"):
            st.dataframe(
                _rows(roles, units[:_MOST_ROWS], stability),
                hide_index=True,
                alt="The selected units' scores",
            )
            if len(units) > _MOST_ROWS:
                st.caption(
                    f"The first {_MOST_ROWS} of {len(units):,}; the CSV file holds all units."
                )


def draw_focus(now: Active, stability: Stability | None) -> None:
    """Draw the search for one unit, and its scores, ranks and neighbours."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        name = st.text_input(
            "Find a unit by its name", key="unit", placeholder="L3.mlp.17 or L0.attn.2", width=260
        ).strip()
        strongest = now.roles.ranked("ESU")
        if len(strongest):
            st.button(
                "Strongest ESU",
                on_click=_focus,
                args=(now.roles.scores.anatomy.name_of(int(strongest[0])),),
                help="Put the unit with the largest safety minus utility score in focus.",
            )
    if not name:
        return
    try:
        name = now.roles.scores.anatomy.proper_name(name)
        unit = now.roles.scores.anatomy.index_of(name)
    except AblationError as error:
        show_error(error)
        return
    with st.container(border=True, key="focus"):
        _describe(now, unit, name, stability)


def _describe(now: Active, unit: int, name: str, stability: Stability | None) -> None:
    roles, view = now.roles, now.roles.view
    role = ROLES[roles.vector[unit]]
    off = now.cut is not None and bool(now.cut.changed[unit])
    state = "switched off" if off else "on"
    st.markdown(
        f':color[■]{{foreground="{ROLE_COLOURS[role]}"}} **{name}** is **{role}**, {state} now.'
    )
    if stability is not None:
        st.caption(_sure(stability, unit))
    scores = (
        ("Safety score (z)", view.safety),
        ("Utility score (z)", view.utility),
        ("Safety minus utility", view.difference),
    )
    for column, (title, values) in zip(st.columns(3), scores, strict=True):
        rank = int((values > values[unit]).sum()) + 1
        column.metric(title, f"{values[unit]:.2f}")
        column.caption(f"Rank {rank:,} of {len(values):,} units")
    with st.container(horizontal=True, gap="small"):
        _buttons(now, [name], "focus")
    site = next(s for s in roles.scores.anatomy.sites if s.offset <= unit < s.offset + s.units)
    first = max(site.offset, unit - _NEIGHBOURS)
    beside = range(first, min(site.offset + site.units, unit + _NEIGHBOURS + 1))
    st.caption("The unit among its neighbours:")
    st.dataframe(
        _rows(roles, list(beside), stability), hide_index=True, alt=f"{name} and its neighbours"
    )


def _sure(stability: Stability, unit: int) -> str:
    votes = {role: float(stability.votes[code, unit]) for code, role in enumerate(ROLES)}
    listed = ", ".join(f"{role} in {share:.0%}" for role, share in votes.items() if share)
    return f"Over {len(stability.overlaps)} resamples of the calibration prompts it is {listed}."


def _buttons(now: Active, names: list[str], where: str) -> None:
    for label, ablated, icon in (
        ("Ablate", True, ":material/power_off:"),
        ("Restore", False, ":material/power:"),
    ):
        st.button(
            label,
            key=f"{label} {where}",
            icon=icon,
            on_click=_change,
            args=(now, names, ablated),
            disabled=now.choice.control is not None,
            help="Random units are off just now; switch the control off to choose units."
            if now.choice.control is not None
            else None,
        )


def _change(now: Active, names: list[str], ablated: bool) -> None:
    by_role = Ablation.of(
        now.roles,
        now.choice.roles,
        strongest=now.choice.strongest / 100,
        layers=now.choice.layer_list,
    ).changed
    anatomy = now.roles.scores.anatomy
    set_units(names, ablated=ablated, of_role=lambda name: bool(by_role[anatomy.index_of(name)]))


def _rows(roles: Roles, units: Sequence[int], stability: Stability | None) -> pd.DataFrame:
    chosen = list(units)
    view, anatomy = roles.view, roles.scores.anatomy
    table = pd.DataFrame(
        {
            "unit": [anatomy.name_of(unit) for unit in chosen],
            "role": [ROLES[code] for code in roles.vector[chosen]],
            "safety (z)": view.safety[chosen],
            "utility (z)": view.utility[chosen],
            "raw safety": view.raw_safety[chosen],
            "raw utility": view.raw_utility[chosen],
        }
    )
    return table if stability is None else table.assign(sure=stability.sure[chosen])


def is_unit(roles: Roles, name: str) -> bool:
    """Whether the model of these roles has a unit of this name."""
    try:
        roles.scores.anatomy.index_of(name)
    except AblationError:
        return False
    return True


def _focus(name: str) -> None:
    st.session_state["unit"] = name


def _forget() -> None:
    st.session_state[_SELECTED] = []


def _listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:6])
    return shown + (f" and {len(names) - 6:,} more" if len(names) > 6 else "")
