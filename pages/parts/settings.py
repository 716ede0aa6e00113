"""The settings that all screens share: kept for the session, and written into the page's address.

Every widget that changes one has its key here. A link carries what differs from the run's own; it is
read once, when a session begins, and nothing in it is trusted: an unknown value is left out, and a link
for another model or run opens nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from pages.parts.choice import Choice
from pages.parts.places import BUILT_IN, FOLDER_PREFIX
from ssah_core.ablation import FILLS
from ssah_core.errors import AblationError
from ssah_core.figures import QUANTITIES
from ssah_core.kinds import KINDS, Kind
from ssah_core.models.anatomy import Anatomy
from ssah_core.models.sources import HUB_NAME
from ssah_core.roles import DEFAULT_KINDS, DEFAULT_TOKENS, KIND_CHOICES, ROLES, Role
from ssah_core.run_list import is_run_name
from ssah_core.runs import Run
from ssah_core.scoring.scores import TOKEN_CHOICES

SHARED_ROLES: tuple[Role, ...] = ("ESU", "EUU", "RU")  # CU is what they leave
CONTROLS = ("size", "layer")
VIEWS = ("Distribution", "Heatmap", "Scores", "One layer")
FIRST = "organism:planted"  # the model and the run that the app opens with: its bare address
RIGHT_COLUMNS = ("The same model, units off", "Another model")
KEPT_KINDS: dict[str, Kind] = {about.plural.capitalize(): kind for kind, about in KINDS.items()}
_FALLBACK_SHARES: dict[Role, float] = {"ESU": 0.08, "EUU": 0.10, "RU": 0.15}
_PLAIN: dict[str, Any] = {
    "roles": [],
    "strongest": 100,
    "strength": 0,
    "random": False,
    "control": "size",
    "seed": 0,
    "fill": FILLS[0],
    "added": [],
    "spared": [],
    # What the Layers screen shows.
    "view": VIEWS[0],
    "kind": "mlp",
    "quantity": QUANTITIES[0],
    "layer": 0,
    "unit": "",
    # Which other model the Chat screen shows in its right column: an address, or none.
    "companion": "",
    # What the Runs screen shows.
    "kept_kind": "Runs",
    "kept_name": FIRST,
}
NOTHING = "nothing"
# Kept for the session, but no part of a link: how replies are written, and a second run, which a link
# must not open.
_OF_SESSION: dict[str, Any] = {
    "beside": NOTHING,
    "reply_length": 48,
    "temperature": 0.0,
    "reply_seed": 0,
    "system": "",
    "right_column": RIGHT_COLUMNS[0],
}
_OF_RUN = ("share_ESU", "share_EUU", "share_RU", "tokens", "kinds", "layers")
_MOST_UNITS_IN_LINK = 40
_LINK = "link"
_SETTINGS_OF = "settings_of"


def restore(run: Run, *, read_link: bool) -> None:
    """Bring the settings to life for this drawing; call before any widget that has one of the keys.

    `read_link` says that the link, if one waits, is for this model and run.
    Streamlit forgets the values of widgets that a page does not draw, unless they are assigned anew.
    """
    state = st.session_state
    usual = defaults(run)
    if state.get(_SETTINGS_OF) != str(run.folder):
        for key in _OF_RUN:
            state[key] = usual[key]
        if _SETTINGS_OF in state:  # single units belong to the run that they were chosen in
            state.update(added=[], spared=[], unit="")
        state[_SETTINGS_OF] = str(run.folder)
    for key, value in {**usual, **_OF_SESSION}.items():
        state[key] = state.get(key, value)
    if read_link and link_waits():
        state.update(_read_link(state.pop(_LINK), run.scores.anatomy))


def begin() -> Mapping[str, list[str]]:
    """What the address asked for when this session began: set aside until `restore` reads it."""
    if "begun" not in st.session_state:
        st.session_state["begun"] = True
        asked = {key: st.query_params.get_all(key) for key in st.query_params}
        st.session_state[_LINK] = asked
        st.session_state["asked"] = asked
    asked_for: Mapping[str, list[str]] = st.session_state["asked"]
    return asked_for


def link_waits() -> bool:
    """Whether what the address asked for has not been read yet."""
    return _LINK in st.session_state


def forget_link() -> None:
    """Leave unread what the address asked for."""
    st.session_state.pop(_LINK, None)


def publish(model: str, run_name: str, run: Run) -> None:
    """Write into the page's address what makes this screen what it is."""
    usual, state = defaults(run), st.session_state
    query: dict[str, list[str]] = {}
    for key, value in usual.items():
        now = state.get(key, value)
        units = key in ("added", "spared")
        if now != value and not (units and len(now) > _MOST_UNITS_IN_LINK):
            many = isinstance(now, (list, tuple))
            query[key] = [str(part) for part in now] if many else [str(now)]
    if query or (model, run_name) != (FIRST, FIRST):
        query = {"model": [model], "run": [run_name], **query}
    if query != {key: st.query_params.get_all(key) for key in st.query_params}:
        # Every change is one more step back in the browser's history: none without need.
        st.query_params.from_dict(query)


def defaults(run: Run) -> dict[str, Any]:
    """Every shared setting as it is before anybody touches it."""
    kept = run.roles
    shares = (kept.shares if kept else None) or _FALLBACK_SHARES
    return {
        **_PLAIN,
        **{f"share_{role}": round(100 * shares[role], 2) for role in SHARED_ROLES},
        "tokens": kept.tokens if kept else DEFAULT_TOKENS,
        "kinds": kept.kinds if kept else DEFAULT_KINDS,
        "layers": (0, run.scores.anatomy.layers - 1),
    }


def choice(run: Run) -> Choice:
    """The settings as they are now."""
    state = st.session_state
    layers = tuple(state["layers"])
    everything = (0, run.scores.anatomy.layers - 1)
    return Choice(
        roles=tuple(state["roles"]),
        strongest=state["strongest"],
        strength=state["strength"],
        layers=None if layers == everything else layers,
        control=state["control"] if state["random"] else None,
        seed=int(state["seed"]),
        fill=state["fill"],
        shares=tuple(state[f"share_{role}"] / 100 for role in SHARED_ROLES),
        tokens=state["tokens"],
        kinds=state["kinds"],
        added=tuple(state["added"]),
        spared=tuple(state["spared"]),
    )


def set_units(names: Sequence[str], *, ablated: bool, of_role: Callable[[str], bool]) -> None:
    """Switch single units off or on again; `of_role` says what the chosen roles do with a unit anyway."""
    state = st.session_state
    added, spared = list(state["added"]), list(state["spared"])
    for name in names:
        added = [unit for unit in added if unit != name]
        spared = [unit for unit in spared if unit != name]
        if ablated and not of_role(name):
            added.append(name)
        if not ablated and of_role(name):
            spared.append(name)
    state["added"], state["spared"] = added, spared


def _read_link(asked: Mapping[str, list[str]], anatomy: Anatomy) -> dict[str, Any]:
    """The settings in a link that make sense for this model; the rest is left out."""
    readers: dict[str, Callable[[list[str]], Any]] = {
        "roles": lambda words: [word for word in dict.fromkeys(words) if word in ROLES],
        "strongest": lambda words: _whole(words[0], 0, 100) // 5 * 5,
        "strength": lambda words: _whole(words[0], 0, 200) // 5 * 5,
        "random": lambda words: words[0] == "True",
        "control": lambda words: _one_of(words[0], CONTROLS),
        "seed": lambda words: _whole(words[0], 0, 10_000),
        "fill": lambda words: _one_of(words[0], FILLS),
        "tokens": lambda words: _one_of(words[0], TOKEN_CHOICES),
        "kinds": lambda words: _one_of(words[0], KIND_CHOICES),
        "layers": lambda words: _range(words, anatomy.layers - 1),
        "view": lambda words: _one_of(words[0], VIEWS),
        "kind": lambda words: _one_of(words[0], ("mlp", "attn")),
        "quantity": lambda words: _one_of(words[0], QUANTITIES),
        "layer": lambda words: _whole(words[0], 0, anatomy.layers - 1),
        "unit": lambda words: _units(words[:1], anatomy)[0],
        "companion": lambda words: _model_address(words[0]),
        "kept_kind": lambda words: _one_of(words[0], list(KEPT_KINDS)),
        "kept_name": lambda words: _kept_name(words[0]),
        "added": lambda words: _units(words, anatomy),
        "spared": lambda words: _units(words, anatomy),
        **{f"share_{role}": lambda words: _percent(words[0]) for role in SHARED_ROLES},
    }
    found = {}
    for key, read in readers.items():
        try:
            if asked.get(key):
                found[key] = read(asked[key])
        except ValueError:
            continue
    return found


def _whole(word: str, low: int, high: int) -> int:
    return min(high, max(low, int(word)))


def _percent(word: str) -> float:
    value = float(word)
    if not 0 <= value <= 100:
        raise ValueError(word)
    return value


def _one_of(word: str, known: Sequence[str]) -> str:
    if word not in known:
        raise ValueError(word)
    return word


def _kept_name(word: str) -> str:
    if not is_run_name(word) and word not in BUILT_IN:
        raise ValueError(word)
    return word


def _model_address(word: str) -> str:
    """An address that some app may offer; whether this one does is said where it is opened."""
    name = word.removeprefix(FOLDER_PREFIX)
    in_folder = name != word and name not in ("", ".", "..") and not set(name) & set("/\\")
    if word not in BUILT_IN and not in_folder and not HUB_NAME.fullmatch(word):
        raise ValueError(word)
    return word


def _range(words: list[str], last: int) -> tuple[int, int]:
    first, second = sorted(_whole(word, 0, last) for word in words)
    return first, second


def _units(words: list[str], anatomy: Anatomy) -> list[str]:
    known = []
    for word in words[:_MOST_UNITS_IN_LINK]:
        try:
            known.append(anatomy.proper_name(word))
        except AblationError as error:
            raise ValueError(word) from error
    return list(dict.fromkeys(known))
