"""One model in memory at a time, for the app and all of its sessions, and a companion where it fits.

The slot frees the old model before it loads the new one, so that peak memory is one model. A companion
is opened beside the model only where memory allows, and goes before the model changes. Whoever computes
with a model holds a lease on it, and a change waits for the leases to end.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from ssah_core.errors import ModelError
from ssah_core.models.loading import Model, open_source
from ssah_core.models.placement import check_room
from ssah_core.models.sources import locate

_RUNNING = "Replies are still running on the open {}; stop them first."


class Slot:
    """Holds at most one open model and its companion; safe to use from many threads."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._model: Model | None = None
        self._companion: Model | None = None
        self._leases = 0  # of the model; those of the pair count as well
        self._pair_leases = 0
        self._changing: Literal["model", "companion"] | None = None

    @property
    def name(self) -> str | None:
        """The name of the model that is open, or None."""
        with self._state:
            return self._model.name if self._model else None

    @property
    def companion_name(self) -> str | None:
        """The name of the model that is open beside it, or None."""
        with self._state:
            return self._companion.name if self._companion else None

    @contextmanager
    def lease(self) -> Iterator[Model]:
        """The open model, which stays open until the lease ends.

        Raises ModelError where no model is open or one is being changed.
        """
        with self._state:
            model = self._lend()
        try:
            yield model
        finally:
            with self._state:
                self._leases -= 1
                self._state.notify_all()

    @contextmanager
    def lease_pair(self) -> Iterator[tuple[Model, Model]]:
        """The open model and its companion, which both stay open until the lease ends.

        Raises ModelError where either is not open or is being changed.
        """
        with self._state:
            if self._changing == "companion" or self._companion is None:
                raise ModelError(
                    "No model is open beside this one just now; wait a moment, or open one."
                )
            pair = self._lend(), self._companion
            self._pair_leases += 1
        try:
            yield pair
        finally:
            with self._state:
                self._leases -= 1
                self._pair_leases -= 1
                self._state.notify_all()

    def open(self, name: str, *, timeout: float = 60.0) -> None:
        """Make `name` the open model and close the companion; does nothing where it is open already.

        A wrong or unsupported name raises ModelError and leaves the old model open. So do replies
        that run on for longer than `timeout` seconds.
        """
        with self._state:
            self._check_unchanging()
            if self._model is not None and self._model.name == name:
                return
            self._changing = "model"
        with self._change():
            source = locate(name)
            with self._state:
                self._wait(lambda: self._leases == 0, timeout, _RUNNING.format("model"))
                self._model = self._companion = None
            _free()
            model = open_source(source)
            with self._state:
                self._model = model

    def open_beside(self, name: str, *, timeout: float = 60.0) -> None:
        """Open `name` beside the open model, in place of the companion there was; `open` closes it.

        Raises ModelError and leaves what is open as it is: a wrong name, the open model itself, too
        little free memory, or replies of the pair that run on for longer than `timeout` seconds.
        """
        with self._state:
            self._check_unchanging()
            if self._model is None or self._model.name == name:
                raise ModelError("A companion is another model than the one that is open.")
            if self._companion is not None and self._companion.name == name:
                return
            self._changing = "companion"
            old = 0 if self._companion is None else self._companion.network.get_memory_footprint()
        with self._change():
            source = locate(name)
            check_room(source, given_back=old)
            self._let_companion_go(timeout)
            companion = open_source(source)
            with self._state:
                self._companion = companion

    def close_beside(self, *, timeout: float = 60.0) -> None:
        """Free the companion; does nothing where there is none.

        Raises ModelError where replies of the pair run on for longer than `timeout` seconds.
        """
        with self._state:
            self._check_unchanging()
            self._changing = "companion"
        with self._change():
            self._let_companion_go(timeout)

    def _lend(self) -> Model:
        if self._changing == "model" or self._model is None:
            raise ModelError("No model is open just now; wait a moment, or open one.")
        self._leases += 1
        return self._model

    def _let_companion_go(self, timeout: float) -> None:
        with self._state:
            self._wait(lambda: self._pair_leases == 0, timeout, _RUNNING.format("pair"))
            self._companion = None
        _free()

    def _check_unchanging(self) -> None:
        if self._changing:
            raise ModelError("Another model is being opened just now; try again in a moment.")

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Owns `_changing`, which the caller has set."""
        try:
            yield
        finally:
            with self._state:
                self._changing = None
                self._state.notify_all()

    def _wait(self, over: Callable[[], bool], timeout: float, otherwise: str) -> None:
        if not self._state.wait_for(over, timeout):
            raise ModelError(otherwise)


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
