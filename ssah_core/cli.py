"""The command line: `python -m ssah_core models | score | roles | chat | ...`.

With --json, standard output is one JSON object and progress goes to standard error. Bad input gives
exit status 2 and one line on standard error; nothing is written then.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import transformers

from ssah_core.commands import (
    chat,
    finetune,
    models,
    organism,
    probe,
    roles,
    runs,
    score,
    shares,
    stability,
    study,
    transfer,
    zero_shot,
)
from ssah_core.commands.common import Parser
from ssah_core.errors import SsahError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack a reply's characters
            stream.reconfigure(errors="backslashreplace")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        options = _parser().parse_args(arguments)
        result = options.run_command(options)
        if options.json:
            print(json.dumps(_as_json_holds(result)), flush=True)
        else:
            options.show(result)
            print(end="", flush=True)
    except SsahError as error:
        print(f"ssah_core: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ssah_core: stopped.", file=sys.stderr)
        return 130
    except OSError as error:
        return _output_failed(error)
    return 0


def _as_json_holds(part: Any) -> Any:
    """A result with null where there is no number: JSON has no word for NaN, such as a missing interval's."""
    if isinstance(part, Mapping):
        return {key: _as_json_holds(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_as_json_holds(value) for value in part]
    return None if isinstance(part, float) and math.isnan(part) else part


def _output_failed(error: OSError) -> int:
    """Standard output cannot be written: silence where its reader has left, else one line."""
    if error.filename is not None or error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EIO):
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try once more when it leaves
    if error.errno == errno.EPIPE:
        return 1
    print(f"ssah_core: the output cannot be written ({error.strerror}).", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m ssah_core", description="Where does safety live in a language model?"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for command in (
        models, score, roles, chat, shares, stability, study, zero_shot, probe, finetune, transfer, runs,
        organism,
    ):  # fmt: skip
        command.add(commands)
    return parser
