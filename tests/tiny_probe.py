"""A folder with a run and a probe of tiny models: what the tests of probes share."""

from contextlib import contextmanager

import pytest
from tiny_models import tiny_model

from ssah_core import Prompt, PromptSet, assign_roles, create_run, save_roles, score
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.probes.continuations import Continuations
from ssah_core.probes.probe_folder import run_probe
from ssah_core.probes.series import ProbePlan, Series

WORDS = Continuations(("Sorry, I can't.", "No, I won't do"), ("Here's how",), ("The sky is",))
PLAN = ProbePlan(WORDS, (2, 4))
ASKED = Questions(
    harmful=tuple(Question(f"make {n}", f"thing {n // 2}") for n in range(6)),
    harmless=tuple(Question(f"say {n}", f"word {n // 2}") for n in range(4)),
)


@contextmanager
def tiny(name):
    yield tiny_model(name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run of a tiny model, and a probe of three series, `p`."""
    folder = tmp_path_factory.mktemp("place")
    sets = [PromptSet(name, tuple(Prompt(f"{name} {n}", "a") for n in range(4))) for name in "xy"]
    scores = score(tiny_model(), safety=sets[0], utility=sets[1])
    run = create_run(folder / "runs" / "mine", tiny_model(), scores)
    save_roles(run, assign_roles(scores, 0.1, 0.1, 0.1))
    run_probe(folder / "studies" / "p", lines(folder), ASKED, PLAN, open_model=tiny)
    return folder


def lines(folder):
    run = str(folder / "runs" / "mine")
    return [Series("llama"), Series("gpt2"), Series("llama", run, ("ESU", "L0.attn.1"))]
