"""The estimate counts what a scoring will read."""

import pytest
from tiny_models import tiny_model

from ssah_core import Prompt, PromptSet, score
from ssah_core.errors import PromptError
from ssah_core.scoring.estimate import estimate

ANSWERED = PromptSet("answered", tuple(Prompt(f"hello {n}", "a b c") for n in range(40)))
ASKED = PromptSet("asked", tuple(Prompt(f"hello {n}") for n in range(3)))


def test_an_estimate_counts_the_tokens_that_are_read():
    model = tiny_model()
    found = estimate(model, safety=ANSWERED, utility=ANSWERED)
    assert found.tokens == score(model, safety=ANSWERED, utility=ANSWERED).token_count
    assert found.replies == 0
    assert found.seconds > 0


def test_replies_that_are_to_be_written_count_too():
    found = estimate(tiny_model(), safety=ASKED, utility=ANSWERED)
    assert found.replies == 3


def test_prompts_that_do_not_fit_are_refused_as_in_scoring():
    long = PromptSet("long", (Prompt("long " * 900, "a"),))
    with pytest.raises(PromptError, match="longer than"):
        estimate(tiny_model(), safety=long, utility=ANSWERED)
