"""One model in memory at a time, for the app and all of its sessions.

The slot frees the old model before it loads the new one, so that peak memory is one model. Whoever
computes with the model holds a lease on it, and a change of model waits for the leases to end.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ssah_core.errors import ModelError
from ssah_core.models.loading import Model, open_source
from ssah_core.models.sources import locate


class Slot:
    """Holds at most one open model; safe to use from many threads."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._model: Model | None = None
        self._leases = 0
        self._changing = False

    @property
    def name(self) -> str | None:
        """The name of the model that is open, or None."""
        with self._state:
            return self._model.name if self._model else None

    @contextmanager
    def lease(self) -> Iterator[Model]:
        """The open model, which stays open until the lease ends.

        Raises ModelError where no model is open or one is being changed.
        """
        with self._state:
            if self._changing or self._model is None:
                raise ModelError("No model is open just now; wait a moment, or open one.")
            self._leases += 1
            model = self._model
        try:
            yield model
        finally:
            with self._state:
                self._leases -= 1
                self._state.notify_all()

    def open(self, name: str, *, timeout: float = 60.0) -> None:
        """Make `name` the open model; does nothing where it is already.

        A wrong or unsupported name raises ModelError and leaves the old model open. So do replies
        that run on for longer than `timeout` seconds.
        """
        with self._state:
            if self._changing:
                raise ModelError("Another model is being opened just now; try again in a moment.")
            if self._model is not None and self._model.name == name:
                return
            self._changing = True
        try:
            source = locate(name)
            with self._state:
                if not self._state.wait_for(lambda: self._leases == 0, timeout):
                    raise ModelError(
                        "Replies are still running on the open model; stop them first."
                    )
                self._model = None
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            model = open_source(source)
            with self._state:
                self._model = model
        finally:
            with self._state:
                self._changing = False
                self._state.notify_all()
