"""The real app on a model that takes half a second for a token, and for a batch of a scoring."""

import runpy
import time
from pathlib import Path

import pages.parts.reply_stream as reply_stream
import pages.parts.score_job as score_job
from ssah_core import generation
from ssah_core.scoring import score as scoring


def slow_generate(*arguments, **options):
    steps = generation.generate(*arguments, **options)
    try:
        for step in steps:
            yield step
            time.sleep(0.5)
    finally:
        steps.close()


def slow_score(*arguments, report, **options):
    def slow_report(progress):
        report(progress)
        time.sleep(0.5)

    return scoring.score(*arguments, report=slow_report, token_budget=2048, **options)


reply_stream.generate = slow_generate
score_job.score = slow_score
runpy.run_path(str(Path(__file__).parents[2] / "app.py"))
