"""What every command shares: parsers, opening a model, telling on standard error."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from ssah_core.models.loading import Model, load_model
from ssah_core.progress import Progress

Command = Callable[[argparse.Namespace], Mapping[str, Any]]


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error does."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def add_command(
    commands: Any, name: str, run: Command, show: Callable[[Any], None], about: str, example: str
) -> argparse.ArgumentParser:
    """Register a command that `run` answers and `show` prints where --json is not given."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=about,
        epilog=f"example:\n  python -m ssah_core {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run_command=run, show=show)
    return parser


def add_model_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """The options that say which model to open, and how."""
    parser.add_argument(
        "--model", required=required, help="organism:NAME, a folder, or a hub name like owner/name"
    )
    _add_ways_to_open(parser)
    parser.add_argument("--revision", help="a hub branch, tag or commit")


def add_run_options(parser: argparse.ArgumentParser, run: str = "a run folder with roles") -> None:
    """The options that name a run, and how to open the model that it was made from."""
    parser.add_argument("--run", required=True, help=f"{run}, or organism:NAME")
    parser.add_argument("--model", help="the run's model, where it lies elsewhere now")
    _add_ways_to_open(parser)
    parser.set_defaults(revision=None)


def _add_ways_to_open(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda or mps (default: the fastest there is)")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16 (default: by device)")


def load(options: argparse.Namespace) -> Model:
    """Open the model that the options name. Its notices are said once nothing can be wrong any more."""
    return load_model(
        options.model, device=options.device, dtype=options.dtype, revision=options.revision
    )


def say(text: str) -> None:
    """Tell the user something that is not the result."""
    print(text, file=sys.stderr, flush=True)


def report_progress(notices: Sequence[str] = ()) -> Callable[[Progress], None]:
    """Progress on standard error: rewritten in place on a terminal, else a line every 10 seconds.

    The notices are said before the first report: bad input, known by then, is one line alone.
    """
    terminal = sys.stderr.isatty()
    waiting = list(notices)
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        while waiting:
            say(waiting.pop(0))
        now, finished = time.monotonic(), progress.done >= progress.total
        if not finished and now - last < (0.2 if terminal else 10):
            return
        last = now
        left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
        line = f"{progress.stage}: {progress.done:,} of {progress.total:,} {progress.unit}{left}"
        if terminal:
            print(f"\r\033[K{line}", end="\n" if finished else "", file=sys.stderr, flush=True)
        else:
            say(line)

    return report
