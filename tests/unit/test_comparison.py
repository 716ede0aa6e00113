"""Token by token: probabilities under other ablations are those of the replies themselves."""

import copy

import numpy as np
import pytest
from tiny_models import tiny_model

from ssah_core import Ablation, generate
from ssah_core.comparison import (
    likeliest,
    same_tokens,
    token_probabilities,
    token_probabilities_of_pair,
)
from ssah_core.errors import PromptError


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma2"])
def test_a_replys_tokens_are_as_likely_as_when_they_were_written(family):
    model = tiny_model(family)
    cut = Ablation.units(model.anatomy, ["L0.mlp.1", "L1.attn.0"])
    steps = list(generate(model, ["hello"] * 2, [None, cut], max_new_tokens=5))
    first = steps[0].probabilities
    for row in (0, 1):
        reply = [step.tokens[row] for step in steps if step.tokens[row] is not None]
        read = token_probabilities(model, "hello", reply, [None, cut])
        assert read.probabilities.shape == (2, len(reply))
        np.testing.assert_allclose(read.probabilities[:, 0], first[:, reply[0]], atol=1e-5)
    assert not np.allclose(read.probabilities[0], read.probabilities[1])


def test_the_likeliest_tokens_come_first():
    model = tiny_model()
    step = next(iter(generate(model, ["hello"], max_new_tokens=1)))
    best = likeliest(model, step.probabilities[0], 4)
    values = [probability for _, probability in best]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(float(step.probabilities[0].max()))


def test_an_empty_reply_has_nothing_to_compare():
    with pytest.raises(PromptError, match="no token to compare"):
        token_probabilities(tiny_model(), "hello", [], [None])


def test_a_reply_is_read_by_two_models_as_by_each_alone():
    models = tiny_model("llama"), tiny_model("gpt2")
    cut = Ablation.units(models[1].anatomy, ["L0.mlp.1"])
    reply = [7, 8, 9]
    both = token_probabilities_of_pair(models, "hello", reply, (None, cut))
    alone = [
        token_probabilities(model, "hello", reply, [ablation]).probabilities[0]
        for model, ablation in zip(models, (None, cut), strict=True)
    ]
    np.testing.assert_array_equal(both.probabilities, alone)
    assert both.texts == tuple(models[0].text([token]) for token in reply)


def test_models_with_other_tokens_do_not_compare():
    one, other = (
        tiny_model("llama"),
        copy.deepcopy(tiny_model("gpt2")),
    )  # shared ones must not change
    assert same_tokens(one, other)
    other.tokenizer.add_tokens(["hello"])
    assert not same_tokens(one, other)
    with pytest.raises(PromptError, match="cut text into different tokens"):
        token_probabilities_of_pair((one, other), "hello", [7], (None, None))
