"""Perplexity, divergence and next tokens under ablations, against a computation text by text."""

import numpy as np
import pytest
import torch
from tiny_models import tiny_model

from ssah_core import Ablation
from ssah_core.ablation import ablated
from ssah_core.errors import Cancelled
from ssah_core.evaluation import language
from ssah_core.evaluation.language import predict
from ssah_core.prompts.rendering import render_example
from ssah_core.scoring.resuming import Kept

TEXTS = [(f"what is {n} " + "word " * n, f"it is {n} " + "so " * (n % 3)) for n in range(7)]


def cut_of(model):
    return Ablation.units(model.anatomy, ["L0.mlp.1", "L1.mlp.3", "L1.attn.0"])


def by_hand(model, cut, text):
    """Surprise, divergence and right tokens of one text, alone and unpadded."""
    example = render_example(model, *text)
    ids = torch.tensor([example.prompt + example.response])
    places = range(len(example.prompt) - 1, len(example) - 1)
    with torch.no_grad():
        before = model.network(input_ids=ids).logits[0].double().log_softmax(-1)
        with ablated(model, cut):
            now = model.network(input_ids=ids).logits[0].double().log_softmax(-1)
    surprise = -sum(float(now[p, ids[0, p + 1]]) for p in places)
    divergence = sum(float((before[p].exp() * (before[p] - now[p])).sum()) for p in places)
    right = sum(int(now[p].argmax()) == int(ids[0, p + 1]) for p in places)
    return len(example.response), surprise, divergence, right


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_figures_are_those_of_every_text_alone(family):
    model = tiny_model(family)
    cut = cut_of(model)
    found = predict(model, TEXTS, [None, cut])
    for row, ablation in enumerate([None, cut]):
        expected = np.array([by_hand(model, ablation, text) for text in TEXTS]).T
        assert list(found.tokens) == list(expected[0])
        assert found.surprise[row] == pytest.approx(expected[1], rel=1e-4)
        assert found.divergence[row] == pytest.approx(expected[2], rel=1e-2, abs=1e-5)
        assert list(found.right[row]) == list(expected[3])


def test_nothing_ablated_diverges_by_nothing_and_an_ablation_by_something():
    model = tiny_model()
    found = predict(model, TEXTS, [None, cut_of(model)])
    assert (found.divergence[0] == 0).all()
    assert (found.divergence[1] > 0).all()
    metrics = found.metrics([0], ["a"] * len(TEXTS))
    total = found.surprise[0].sum() / found.tokens.sum()
    assert metrics["perplexity"].value == pytest.approx(np.exp(total))
    assert metrics["kl"].value == 0


def test_batches_change_nothing_but_rounding(monkeypatch):
    model = tiny_model()
    whole = predict(model, TEXTS, [cut_of(model)])
    monkeypatch.setattr(language, "_MOST_TOKENS", 1)
    single = predict(model, TEXTS, [cut_of(model)])
    assert single.surprise == pytest.approx(whole.surprise, rel=1e-5)
    assert single.divergence == pytest.approx(whole.divergence, rel=1e-3, abs=1e-6)


def test_a_stopped_reading_goes_on_to_the_same_figures(monkeypatch):
    monkeypatch.setattr(language, "_MOST_TOKENS", 30)
    model = tiny_model()
    cuts = [None, cut_of(model)]
    whole = predict(model, TEXTS, cuts)
    written = {}
    calls = iter(range(1000))
    with pytest.raises(Cancelled):
        predict(
            model, TEXTS, cuts, kept=Kept(None, written.update), cancelled=lambda: next(calls) > 6
        )
    assert 0 < len(written) < len(TEXTS)
    again = predict(model, TEXTS, cuts, kept=Kept(dict(written)))
    assert (again.surprise == whole.surprise).all()
    assert (again.divergence == whole.divergence).all()
