"""The path of a search for shares: drawn, taken over into the settings, kept in its run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from pages.parts.errors import plain, show_error
from pages.parts.exports import offer_downloads, picture_config
from pages.parts.screen import Active, Screen
from pages.parts.settings import SHARED_ROLES
from ssah_core.errors import SsahError
from ssah_core.evaluation.share_job import is_shipped
from ssah_core.evaluation.share_search import Search
from ssah_core.roles import Roles
from ssah_core.runs import Run, save_roles
from ssah_core.share_figures import path_table, share_path, shares_in_words
from ssah_core.tables import csv_of

_MOST_KEPT = 4  # searches; each holds on to the scores of its run
_SAID = "shares_said"


@st.cache_resource(show_spinner=False)
def found_shares() -> dict[str, Search]:
    """The last search of each run that is kept nowhere else, by the run's digest, for everybody."""
    return {}


def keep_search(run: Run, found: Search) -> None:
    """Hold on to a search until the app ends, or until it is saved in its run."""
    known = found_shares()
    known.pop(run.digest, None)
    known[run.digest] = found
    while len(known) > _MOST_KEPT:
        known.pop(next(iter(known)))


def with_search(run: Run, roles: Roles) -> Run:
    """The run with these roles, and with what their shares were found on, where that is known.

    A study refuses those prompts, whether the shares were saved in the run or only taken over.
    """
    found = found_shares().get(run.digest)
    manifest = run.manifest
    if found is not None and bool((found.roles.vector == roles.vector).all()):
        manifest = {**manifest, "search": found.as_json()}
    return replace(run, manifest=manifest, roles=roles)


def draw_path(screen: Screen, now: Active) -> None:
    """Draw the last search of the run, found just now or kept in it, and what can be done with it."""
    run = screen.run
    assert run is not None
    found = found_shares().get(run.digest)
    search = _kept(run) if found is None else json.loads(json.dumps(found.as_json()))
    said = st.session_state.pop(_SAID, None)
    if said:
        st.success(plain(said))
    if search is None:
        return
    st.markdown(f"**Found: {shares_in_words(search)}**, of all units")
    roles = run.roles if found is None else found.roles
    assert roles is not None
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        if now.roles.vector.tobytes() == roles.vector.tobytes():
            st.caption("They are active now.")
        else:
            st.button(
                "Use these shares",
                type="primary",
                icon=":material/check:",
                help="On every screen, until you change them.",
                on_click=_take_over,
                args=(search["shares"], roles.tokens, roles.kinds),
            )
        if found is not None and not is_shipped(run):
            st.button("Save in the run", icon=":material/save:", on_click=_save, args=(run, found))
    st.caption(_where_kept(run, found))
    _draw_chart(search, screen.run_name or "")


def _where_kept(run: Run, found: Search | None) -> str:
    if found is None:
        return "It is kept in the run, with its path."
    if is_shipped(run):
        return (
            "The built-in run stays as it is: this path is kept until the app is started anew, or until "
            "the shares are searched again."
        )
    return (
        "It is kept until the app is started anew. Saved in the run, it stays there with its path, and "
        "its roles take the place of the run's own."
    )


def _draw_chart(search: Mapping[str, Any], name: str) -> None:
    figure, table, title = share_path(search), path_table(search), "path of the shares"
    tried = f"{len(table)} shares were tried"
    st.plotly_chart(
        figure,
        key="share path",
        alt=f"What each share that was tried cost, by role: {tried}, and kept are {shares_in_words(search)}",
        config=picture_config(title),
    )
    st.caption(
        "Numbers are the order of the trials, bars 95% intervals. Dashed: what the role's own attribute "
        "must lose at least, and what the other may lose at most, each in its attribute's colour."
    )
    offer_downloads(figure, title, "The path", partial(csv_of, table), f"shares {name}.csv")
    st.dataframe(table, hide_index=True, height="content", alt=f"Table: {tried}", key="share table")


def _kept(run: Run) -> dict[str, Any] | None:
    """The search that a run keeps; None where its roles were chosen by hand, or are damaged."""
    search: dict[str, Any] | None = run.manifest.get("search")
    return None if run.roles is None else search


def _take_over(shares: Mapping[str, float], tokens: str, kinds: str) -> None:
    for role in SHARED_ROLES:
        st.session_state[f"share_{role}"] = round(100 * shares[role], 2)
    st.session_state.update(tokens=tokens, kinds=kinds)
    st.session_state[_SAID] = "The settings have these shares now, on every screen."


def _save(run: Run, found: Search) -> None:
    try:
        save_roles(run, found.roles, search=found.as_json())
    except SsahError as error:
        show_error(error)
        return
    if found_shares().get(run.digest) is found:
        del found_shares()[run.digest]
    st.session_state[_SAID] = "The shares are saved in the run, with their path."
