"""Scores and a run of a tiny model, and questions to ask it: what the tests of studies share."""

import pytest
from tiny_models import tiny_model

from ssah_core import Prompt, PromptSet, assign_roles, create_run, save_roles, score
from ssah_core.evaluation.questions import Question, Questions

SAFETY = PromptSet("safety", tuple(Prompt(f"do {n}", "no") for n in range(5)))
UTILITY = PromptSet("utility", tuple(Prompt(f"what is {n}", f"it is {n}") for n in range(5)))
ASKED = Questions(
    harmful=tuple(Question(f"make {n}", f"thing {n % 2}", "yes") for n in range(4)),
    harmless=tuple(Question(f"say {n}", f"word {n}", f"{n}") for n in range(3)),
    look_alikes=(Question("kill time", "time"),),
)


@pytest.fixture(scope="module")
def scores():
    return score(tiny_model(), safety=SAFETY, utility=UTILITY)


@pytest.fixture
def run(tmp_path, scores):
    made = create_run(tmp_path / "run", tiny_model(), scores)
    return save_roles(made, assign_roles(scores, 0.1, 0.1, 0.1))
