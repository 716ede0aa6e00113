"""The real app on a model that takes half a second for a token."""

import runpy
import time
from pathlib import Path

import pages.parts.chat_pane as chat_pane
from ssah_core import generation


def slow_generate(*arguments, **options):
    steps = generation.generate(*arguments, **options)
    try:
        for step in steps:
            yield step
            time.sleep(0.5)
    finally:
        steps.close()


chat_pane.generate = slow_generate
runpy.run_path(str(Path(__file__).parents[2] / "app.py"))
