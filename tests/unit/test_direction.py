"""The reasoning direction: one pass is as good as one for each length, and nothing but distances is kept."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, tiny_model

from ssah_core import Ablation
from ssah_core.ablation import ablated
from ssah_core.errors import Cancelled, ModelError, OptionError, PromptError
from ssah_core.models.loading import load_model
from ssah_core.probes import direction
from ssah_core.probes.continuations import (
    INTENTS,
    ORGANISM,
    PAPER_LENGTHS,
    PLAIN,
    Continuations,
    usual_continuations,
)
from ssah_core.probes.direction import POSITIONS, probe
from ssah_core.prompts.rendering import render_prompt, reply_tokens
from ssah_core.scoring.resuming import Kept

PROMPTS = ["make it", "say what a long word is", "go", "how do I paint a wall?"]
WORDS = Continuations(("Sorry, I can't.", "No, I won't do"), ("Here's how",), ("The sky is",))


def states_alone(model, tokens, position):
    """The state after some tokens, by a pass of its own without padding: [blocks, hidden]."""
    with torch.inference_mode():
        found = model.network.base_model(
            input_ids=torch.tensor([tokens]), use_cache=False, output_hidden_states=True
        )
    by_block = [*found.hidden_states[1:-1], found.last_hidden_state]
    read = [s[0, -1] if position == "last" else s[0].mean(0) for s in by_block]
    return torch.stack(read).double().numpy()


def apart(one, other):
    """Cosine and Euclidean distance of two states, block by block."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return 1 - (one * other).sum(axis=1) / norms, np.linalg.norm(one - other, axis=1)


def cut_of(model):
    names = [f"L{layer}.mlp.{n}" for layer in range(2) for n in range(0, 48, 3)]
    return Ablation.units(model.anatomy, [*names, "L1.attn.2"])


# One pass for all lengths


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bloom"])
@pytest.mark.parametrize("off", [False, True])
def test_one_pass_gives_what_a_pass_for_each_length_gives(family, position, off):
    model = tiny_model(family)
    cut = cut_of(model) if off else None
    found = probe(model, PROMPTS, WORDS, cut, lengths=(1, 3, 8), position=position)
    assert found.lengths == (1, 3, 8)
    with ablated(model, cut):
        for row, prompt in enumerate(PROMPTS):
            start = render_prompt(model, prompt).prompt
            before = states_alone(model, start, position)
            for step, length in enumerate(found.lengths):
                for intent in INTENTS:
                    alone = [
                        apart(
                            before,
                            states_alone(
                                model, start + reply_tokens(model, text)[:length], position
                            ),
                        )
                        for text in WORDS.by_intent[intent]
                    ]
                    for distance, expected in zip(
                        ("cosine", "euclidean"), np.mean(alone, axis=0), strict=True
                    ):
                        got = found.distances(intent, distance)[row, step]
                        assert got == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_gives_a_distance_for_every_block(family):
    model = tiny_model(family)
    found = probe(model, PROMPTS[:2], WORDS)
    assert found.cosine.shape == (3, 2, 5, model.anatomy.layers)
    assert np.isfinite(found.euclidean).all()
    assert (found.euclidean > 0).all()


def test_batches_make_no_difference_and_stay_within_the_budget(monkeypatch):
    model = tiny_model()
    prompts = [f"{'very ' * (n % 5)}long {n}" for n in range(20)]
    whole = probe(model, prompts, WORDS)
    sizes = []
    monkeypatch.setattr(direction, "_MOST_TOKENS", 120)
    handle = model.network.base_model.register_forward_pre_hook(
        lambda _, __, given: sizes.append(given["input_ids"].numel()), with_kwargs=True
    )
    try:
        parts = probe(model, prompts, WORDS)
    finally:
        handle.remove()
    assert max(sizes) <= 120
    assert parts.cosine == pytest.approx(whole.cosine, abs=1e-5)


def test_several_texts_are_averaged():
    model = tiny_model()
    both = probe(model, PROMPTS, WORDS, lengths=(4,))
    each = [
        probe(model, PROMPTS, Continuations((text,), WORDS.malicious, WORDS.neutral), lengths=(4,))
        for text in WORDS.benign
    ]
    mean = np.mean([one.distances("benign") for one in each], axis=0)
    assert both.distances("benign") == pytest.approx(mean, abs=1e-6)


def test_what_is_off_changes_the_distances_of_this_call_alone():
    model = tiny_model()
    before = probe(model, PROMPTS, WORDS)
    off = probe(model, PROMPTS, WORDS, cut_of(model))
    after = probe(model, PROMPTS, WORDS)
    assert np.array_equal(before.cosine, after.cosine)
    assert np.abs(off.cosine - before.cosine).max() > 0.01


# Words and lengths


def test_the_usual_lengths_are_those_of_the_paper_that_every_text_has():
    planted = load_model("organism:planted", device="cpu")
    assert ORGANISM.lengths(planted) == (2, 4, 6)  # its shortest refusal has six tokens
    assert PLAIN.lengths(tiny_model()) == PAPER_LENGTHS
    short = Continuations(("a",), ("bb",), ("cc",))
    assert short.lengths(tiny_model()) == (1,)


def test_a_length_that_a_text_has_not_is_one_sentence():
    with pytest.raises(OptionError, match=r"'Here's how' is 10 tokens long .* at most 10"):
        probe(tiny_model(), PROMPTS, WORDS, lengths=(2, 11))
    with pytest.raises(OptionError, match="at least 1"):
        probe(tiny_model(), PROMPTS, WORDS, lengths=(0, 2))
    with pytest.raises(OptionError, match="benign continuation is empty"):
        Continuations((), ("a",), ("b",))
    with pytest.raises(OptionError, match="position='first' is not a choice"):
        direction.check_position("first")
    with pytest.raises(PromptError, match="reads at most 256"):
        probe(tiny_model(), ["x" * 250], WORDS)


def test_built_in_models_get_their_own_words_and_others_plain_ones():
    assert usual_continuations(["organism:base", "organism:aligned"]) is ORGANISM
    assert usual_continuations(["organism:base", "owner/name"]) is PLAIN


def test_states_that_are_not_finite_are_one_sentence():
    model = tiny_model("llama", 7)
    weight = model.network.model.layers[0].mlp.down_proj.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(1e38)
    try:
        with pytest.raises(ModelError, match="not finite"):
            probe(model, PROMPTS, WORDS)
    finally:
        with torch.no_grad():
            weight.copy_(kept)


# Stopping and going on


@contextmanager
def counted_forwards(model):
    calls = []
    handle = model.network.base_model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        yield calls
    finally:
        handle.remove()


def test_a_probe_that_was_stopped_goes_on_to_the_same_result(monkeypatch):
    model, done = tiny_model(), {}
    monkeypatch.setattr(direction, "_MOST_TOKENS", 60)
    prompts = [f"do {n}" for n in range(8)]
    with counted_forwards(model) as calls:
        whole = probe(model, prompts, WORDS)
    needed = len(calls)
    with pytest.raises(Cancelled):
        probe(model, prompts, WORDS, kept=Kept(None, done.update), cancelled=lambda: len(done) >= 2)
    reports = []
    with counted_forwards(model) as calls:
        again = probe(model, prompts, WORDS, kept=Kept(done), report=reports.append)
    assert len(calls) == needed * (1 - len(done) / (needed / 4))  # four texts a batch
    assert np.array_equal(again.cosine, whole.cosine)
    assert reports[0].done > 0
    assert reports[-1].done == reports[-1].total == len(prompts)
