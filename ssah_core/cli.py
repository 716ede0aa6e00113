"""The command line: `python -m ssah_core models | score | roles | chat | organism`.

With --json, standard output is one JSON object and progress goes to standard error. Bad input gives
exit status 2 and one line on standard error; nothing is written then.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import transformers

from ssah_core.commands import chat, models, organism, roles, score
from ssah_core.commands.common import Parser
from ssah_core.errors import SsahError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        result = options.run_command(options)
    except SsahError as error:
        print(f"ssah_core: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ssah_core: stopped.", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        options.show(result)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m ssah_core", description="Where does safety live in a language model?"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for command in (models, score, roles, chat, organism):
        command.add(commands)
    return parser
