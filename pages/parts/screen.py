"""What every screen begins with: a title, the open model and run, the sidebar, the tour, and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import settings, tour, words
from pages.parts.choice import Choice, Setting, assign, build_ablation, describe
from pages.parts.errors import plain, show_error
from pages.parts.models import OpenModel, load_run, open_model, runs_of, want_model
from pages.parts.places import BUILT_IN, ROOT, model_folders
from pages.parts.sidebar import draw_sidebar
from ssah_core.ablation import Ablation
from ssah_core.errors import ModelError, SsahError
from ssah_core.models.anatomy import Kinds
from ssah_core.roles import Roles
from ssah_core.runs import Run
from ssah_core.scoring.scores import Tokens

# The last rule: a table's own CSV would hold formulas of anybody's text; our downloads do not.
_TIGHT = """<style>
.stMainBlockContainer {padding: 3.5rem clamp(1rem, 4vw, 3rem) 4rem}
[data-testid="stBottomBlockContainer"] {padding-left: clamp(1rem, 4vw, 3rem);
    padding-right: clamp(1rem, 4vw, 3rem)}
[data-testid="stElementToolbarButton"]:has([aria-label^="Download as CSV"]) {display: none}
</style>"""
# In the dark the accent is light enough to be read as text; on a button or tag of that colour white is not.
_DARK = """<style>
[data-testid="stBaseButton-primary"] *, [data-testid="stMultiSelect"] [data-tag] * {color: #0B1018}
</style>"""


@dataclass(frozen=True)
class Screen:
    """What a screen works with. `run` and `run_name` are of the open model; None: it has none yet."""

    model: OpenModel
    run_name: str | None
    run: Run | None
    switched_off: DeltaGenerator


@dataclass(frozen=True)
class Active:
    """The choice that is active now, with the roles and the ablation that it stands for."""

    choice: Choice
    roles: Roles
    cut: Ablation | None
    setting: Setting


def show_screen(
    page: str, title: str, about: str, terms: Sequence[str], body: Callable[[Screen], None]
) -> None:
    """Draw a screen; every error that a user can mend is one sentence."""
    if "framed" not in st.session_state:
        # The first visit to a fresh server came by a page's own link: until app.py has run once,
        # Streamlit takes the folder pages/ for the whole app. Go round by the frame.
        st.session_state["came_for"] = page
        st.switch_page(ROOT / "app.py", query_params=st.query_params.to_dict())
    st.html(_TIGHT + (_DARK if st.context.theme.type == "dark" else ""))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.subheader(title, anchor=False, width="stretch")
        words.explain(*terms)
    tour.draw(page)
    if about:
        st.markdown(about)
    try:
        _draw(body)
    except SsahError as error:
        show_error(error)
        if isinstance(error, ModelError):
            st.button("Try again", icon=":material/refresh:")


def _draw(body: Callable[[Screen], None]) -> None:
    asked = settings.begin()
    model = open_model()
    switched_off = draw_sidebar(model)
    run_name: str | None = st.session_state.get("run")
    run = None if run_name is None else load_run(run_name)
    if run is None or run_name is None:
        switched_off.text("Nothing off")
        body(Screen(model, None, None, switched_off))
        return
    elsewhere = _is_elsewhere(asked, model, run_name)
    settings.restore(run, read_link=not elsewhere)
    if elsewhere:
        _offer_link(asked, model)
    screen = Screen(model, run_name, run, switched_off)
    try:
        active(screen)
    except SsahError as error:  # the widgets that can mend it are drawn by the body
        switched_off.text(f"Nothing off. {error}")
    body(screen)
    settings.publish(model.address, run_name, run)


def active(screen: Screen) -> Active:
    """What is switched off now; says it in the sidebar. Call after the widgets that choose it."""
    assert screen.run is not None
    chosen = settings.choice(screen.run)
    roles = _roles(screen.run.digest, chosen.shares, chosen.tokens, chosen.kinds, screen.run)
    cut = build_ablation(roles, chosen)
    setting = describe(screen.run, chosen, cut)
    screen.switched_off.text(setting.label)
    return Active(chosen, roles, cut, setting)


@st.cache_resource(show_spinner=False, max_entries=8)
def _roles(
    digest: str, shares: tuple[float, float, float], tokens: Tokens, kinds: Kinds, _run: Run
) -> Roles:
    """Roles of a run; a large model's take a tenth of a second, and every click asks for them."""
    return assign(_run, shares, tokens, kinds)


def _is_elsewhere(asked: Mapping[str, list[str]], model: OpenModel, run_name: str) -> bool:
    """Whether the link that began this session is for another model or run, and still waits."""
    address, run = _aim(asked)
    return settings.link_waits() and (
        address not in ("", model.address) or run not in ("", run_name)
    )


def _aim(asked: Mapping[str, list[str]]) -> tuple[str, str]:
    address, run = (asked.get(key, [""])[0] for key in ("model", "run"))
    return address, run


def _offer_link(asked: Mapping[str, list[str]], model: OpenModel) -> None:
    """Ask for a click: a link opens nothing by itself."""
    address, run = _aim(asked)
    other_model = address not in ("", model.address)
    offered = address in (*BUILT_IN, *model_folders())
    with st.container(border=True, key="link"):
        what = f"the model {address}" if other_model else f"the run {run}"
        st.markdown(
            f"The link that you followed is for {plain(what[:120])}, which is not shown here."
        )
        with st.container(horizontal=True, gap="small"):
            if other_model and not offered:
                st.caption("It is not offered here; open it by its name in the sidebar.")
            elif not other_model and run not in [known.name for known in runs_of(model)]:
                st.caption("There is no such run here.")
            else:
                st.button("Open it", type="primary", on_click=_follow, args=(address, run))
            st.button("Stay here", on_click=settings.forget_link)


def _follow(address: str, run: str) -> None:
    if address:
        want_model(address)
    if run:
        st.session_state["run"] = run
