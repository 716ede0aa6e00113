"""Long work in a thread of its own: its progress is read by whoever looks, and it can be stopped.

Jobs belong to the app, not to a session: whoever opens the screen sees them, and closing a browser
stops nothing. The thread makes no Streamlit call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from ssah_core.errors import Cancelled, SsahError
from ssah_core.progress import Progress


@dataclass
class Job:
    """One piece of long work, running or over.

    `again` starts it once more; it goes on where it was. `screen` is the page that shows what it comes to,
    and `chooses` the session's key and value that choose it there. `progress` is the last report, `result`
    what it came to, `error` what a user can mend; a job that was stopped has neither of the last two.
    """

    name: str
    about: str
    again: Callable[[], None]
    screen: str = ""
    chooses: tuple[str, str] | None = None
    progress: Progress | None = None
    result: Any = None
    error: SsahError | None = None
    started: float = field(default_factory=time.monotonic)
    finished: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)

    def report(self, progress: Progress) -> None:
        """Take a report; the work calls this."""
        self.progress = progress

    def stopping(self) -> bool:
        """Whether somebody asked to stop; the work asks this."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the work to stop at its next batch."""
        self._stop.set()

    @property
    def running(self) -> bool:
        """Whether the work goes on."""
        return not self.finished.is_set()


class Jobs:
    """At most one job at a time: there is one model, and one machine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.current: Job | None = None

    def start(
        self,
        name: str,
        about: str,
        work: Callable[[Job], Any],
        again: Callable[[], None],
        *,
        screen: str = "",
        chooses: tuple[str, str] | None = None,
    ) -> None:
        """Start a job in a thread; raises SsahError while another one runs."""
        with self._lock:
            if self.current is not None and self.current.running:
                raise SsahError(
                    f"'{self.current.name}' is still running; wait for it, or stop it first."
                )
            job = self.current = Job(name, about, again, screen, chooses)
        threading.Thread(target=_run, args=(job, work), daemon=True).start()

    def forget(self) -> None:
        """Take a job that is over off the screen."""
        with self._lock:
            if self.current is not None and not self.current.running:
                self.current = None


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    """The jobs of this app."""
    return Jobs()


def _run(job: Job, work: Callable[[Job], Any]) -> None:
    try:
        job.result = work(job)
    except Cancelled:
        pass
    except SsahError as error:
        job.error = error
    except (
        Exception
    ) as error:  # a defect of ours: said on the screen, and in the log with its place
        job.error = SsahError(
            f"The work failed ({type(error).__name__}: {error}). This is a defect."
        )
        raise
    finally:
        job.finished.set()
