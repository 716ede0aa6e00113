"""`python -m ssah_core ...`"""

import os
import signal
import sys
from typing import NoReturn


def _run() -> int:
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # another one is the shell's wish, such as to ignore it
        signal.signal(signal.SIGINT, _stop_at_once)
    from ssah_core.cli import main  # takes seconds

    signal.signal(signal.SIGINT, usual)
    return main()


def _stop_at_once(*_: object) -> NoReturn:
    """Answer Ctrl-C while packages are imported, where some would swallow a KeyboardInterrupt."""
    print("ssah_core: stopped.", file=sys.stderr, flush=True)
    os._exit(130)


sys.exit(_run())
