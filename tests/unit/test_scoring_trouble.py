"""The streaming pass under trouble: out of memory, not finite, cancelled, shared, and prompts that do not fit."""

import threading

import numpy as np
import pytest
import torch
from prompts_to_score import SAFETY, TOKENS, UTILITY, assert_same_moments
from tiny_models import CONTEXT, fresh_model, tiny_model

from ssah_core import Ablation, Prompt, PromptSet, SsahError, generate, reply_all, score
from ssah_core.errors import Cancelled, ModelError, OptionError, PromptError
from ssah_core.models.loading import Model
from ssah_core.scoring import replies
from ssah_core.scoring.score import collect_moments

# Trouble


class MemoryRunsOut:
    """Fails chosen forwards at a module of the last block, when earlier sites are staged."""

    def __init__(self, model: Model, path: str, fails) -> None:
        self.calls, self._fails = 0, fails
        model.network.get_submodule(path).register_forward_hook(self._check)

    def _check(self, module, inputs, output) -> None:
        self.calls += 1
        if self._fails(self.calls, inputs[0]):
            raise torch.OutOfMemoryError("CUDA out of memory (simulated)")


LAST = "model.layers.1.mlp.down_proj"


@pytest.mark.parametrize("which", [1, 2, 3])
@pytest.mark.parametrize("path", ["model.layers.0.mlp.down_proj", LAST])
def test_a_batch_that_runs_out_of_memory_is_counted_once(which, path):
    model, pairs = fresh_model(), PromptSet("pairs", SAFETY.prompts * 2)
    expected = collect_moments(model, pairs, stage="test", token_budget=150)
    memory = MemoryRunsOut(model, path, lambda calls, x: calls == which)
    reports = []
    found = collect_moments(model, pairs, stage="t", token_budget=150, report=reports.append)
    assert memory.calls > which
    assert reports[-1].done == reports[-1].total == found.at("all").count
    for tokens in TOKENS:
        assert_same_moments(found.at(tokens), expected.at(tokens), rtol=1e-4)


def test_batches_shrink_until_they_fit_the_memory():
    model = fresh_model()
    expected = collect_moments(model, SAFETY, stage="test")
    sizes = []

    def too_large(calls, x):
        sizes.append(x.shape[0] * x.shape[1])
        return sizes[-1] > 80

    MemoryRunsOut(model, LAST, too_large)
    found = collect_moments(model, SAFETY, stage="test", token_budget=10_000)
    assert sizes[0] > 160
    assert_same_moments(found.at("all"), expected.at("all"), rtol=1e-4)


def test_one_example_too_large_for_the_memory_is_an_error_that_says_so():
    model = fresh_model()
    MemoryRunsOut(model, LAST, lambda calls, x: True)
    with pytest.raises(ModelError, match=r"single example of \d+ tokens; remove long examples"):
        collect_moments(model, SAFETY, stage="test")


def test_an_error_that_is_not_of_memory_is_not_retried():
    model, calls = fresh_model(), []

    def fail(module, inputs, output):
        calls.append(1)
        raise RuntimeError("shapes do not match")

    model.network.get_submodule(LAST).register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        collect_moments(model, SAFETY, stage="test")
    assert len(calls) == 1


def break_at_tilde(model: Model, layer: int, value: float) -> None:
    """Activations of the MLP of a layer become `value` at the tokens of a tilde."""
    [tilde] = model.tokenizer("~", add_special_tokens=False)["input_ids"]
    place = {}
    model.network.model.embed_tokens.register_forward_pre_hook(
        lambda _, inputs: place.update(mask=inputs[0] == tilde)
    )
    model.network.model.layers[layer].mlp.up_proj.register_forward_hook(
        lambda module, inputs, output: output.masked_fill(place["mask"][..., None], value)
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("budget", [None, 60])
def test_values_that_are_not_finite_are_named_by_example_and_site(value, layer, budget):
    model = fresh_model()
    prompts = PromptSet("mixed", (*SAFETY.prompts, Prompt("a ~ here", "no"), *UTILITY.prompts))
    break_at_tilde(model, layer, value)
    with pytest.raises(ModelError, match=rf"Example 6 of 'mixed' .* at L{layer}\.mlp that are not"):
        collect_moments(model, prompts, stage="test", token_budget=budget)


def test_a_projection_that_is_not_called_while_scoring_is_named():
    model = fresh_model()
    model.network.model.layers[1].mlp.forward = lambda x: x
    with pytest.raises(ModelError, match=r"Nothing was seen at L1\.mlp"):
        collect_moments(model, SAFETY, stage="test")


# Progress, cancelling, prompt sets


def test_progress_rises_to_its_total_with_an_estimate():
    reports = []
    model = tiny_model()
    scores = score(model, safety=SAFETY, utility=UTILITY, token_budget=60, report=reports.append)
    stages = list(dict.fromkeys(report.stage for report in reports))
    assert stages == ["scoring safety", "scoring utility"]
    for stage, moments in zip(stages, (scores.safety, scores.utility), strict=True):
        own = [report for report in reports if report.stage == stage]
        done = [report.done for report in own]
        assert len(own) > 1
        assert done == sorted(set(done))
        assert {report.total for report in own} == {moments.at("all").count} == {done[-1]}
        assert all(report.seconds_left >= 0 for report in own)
        assert own[-1].seconds_left == 0


def test_a_cancelled_scoring_ends_within_a_batch():
    model = fresh_model()
    memory = MemoryRunsOut(model, LAST, lambda calls, x: False)
    with pytest.raises(Cancelled):
        score(
            model,
            safety=SAFETY,
            utility=UTILITY,
            token_budget=50,
            cancelled=lambda: memory.calls >= 2,
        )
    assert memory.calls == 2


def test_cancelling_reaches_the_models_own_replies_too():
    model = fresh_model()
    memory = MemoryRunsOut(model, LAST, lambda calls, x: False)
    bare = PromptSet("bare", (Prompt("Hello"), Prompt("How are you?")))
    with pytest.raises(Cancelled):
        score(model, safety=bare, utility=UTILITY, cancelled=lambda: memory.calls >= 3)
    assert memory.calls < 30


def test_prompts_without_a_response_get_the_models_own_greedy_reply(monkeypatch):
    monkeypatch.setattr("ssah_core.scoring.score.REPLY_TOKENS", 7)
    model = tiny_model()
    mixed = (Prompt("Hello"), Prompt("Good day", "kept"), Prompt("How are you?"))
    scores = score(model, safety=PromptSet("mixed", mixed), utility=UTILITY)
    own = reply_all(model, ["Hello", "How are you?"], max_new_tokens=7)
    assert own[0] != own[1]
    found = scores.safety_prompts.prompts
    assert found == (
        Prompt("Hello", own[0], own_reply=True),
        Prompt("Good day", "kept"),
        Prompt("How are you?", own[1], own_reply=True),
    )
    written = PromptSet("written", found)
    again = collect_moments(model, written, stage="test")
    assert_same_moments(scores.safety.at("all"), again.at("all"), rtol=1e-6)
    assert scores.utility_prompts == UTILITY


def test_own_replies_do_not_depend_on_the_batch(monkeypatch):
    model = tiny_model()
    chats = ["Hello", "How are you?", "a", "Tell me something long, please"]
    together = replies.greedy_replies(model, chats, max_new_tokens=6)
    monkeypatch.setattr(replies, "_TOKENS_AT_ONCE", 1)
    assert replies.greedy_replies(model, chats, max_new_tokens=6) == together


def test_examples_longer_than_the_context_are_counted_and_named():
    model = tiny_model()
    long = Prompt("long " * 60, "yes")
    prompts = PromptSet("long", (SAFETY.prompts[0], long, SAFETY.prompts[1], long))
    message = f"2 of the 4 examples of 'long' are longer than the {CONTEXT} .*rows 2, 4; .* Shorten"
    with pytest.raises(PromptError, match=message):
        score(model, safety=SAFETY, utility=prompts)
    scores = score(model, safety=SAFETY, utility=prompts, skip_too_long=True)
    assert scores.utility_prompts.prompts == SAFETY.prompts[:2]
    assert "2 of 4 examples are too long" in scores.utility_prompts.notices[-1]


def test_a_token_budget_of_nothing_is_refused():
    with pytest.raises(OptionError, match="at least 1"):
        score(tiny_model(), safety=SAFETY, utility=UTILITY, token_budget=0)


def test_an_empty_prompt_set_is_refused():
    with pytest.raises(PromptError, match="'none' is empty"):
        score(tiny_model(), safety=PromptSet("none", ()), utility=UTILITY)


def test_a_site_of_no_spread_scores_zero():
    model = fresh_model()
    with torch.no_grad():  # every MLP unit of block 1 alike: no variance at all
        model.network.model.layers[1].mlp.up_proj.weight.zero_()
    view = score(model, safety=SAFETY, utility=UTILITY).at("all")
    dead, alive = model.anatomy.sites[3], model.anatomy.sites[1]
    assert (view.safety[dead.slice] == 0).all()
    assert view.safety[alive.slice].std() == pytest.approx(1, abs=1e-5)
    assert view.safety[alive.slice].mean() == pytest.approx(0, abs=1e-5)


def test_scoring_is_the_same_whoever_else_uses_the_model():
    model = tiny_model()
    expected = score(model, safety=SAFETY, utility=UTILITY).at("all")
    cut = Ablation.units(model.anatomy, ["L0.mlp.1", "L0.attn.1"])
    stop = threading.Event()

    def chat() -> None:
        while not stop.is_set():
            list(generate(model, ["hello"], [cut], max_new_tokens=4))

    thread = threading.Thread(target=chat)
    thread.start()
    try:
        for _ in range(3):
            found = score(model, safety=SAFETY, utility=UTILITY).at("all")
            assert np.array_equal(found.raw_safety, expected.raw_safety)
    finally:
        stop.set()
        thread.join()


def test_every_error_is_one_line():
    model = tiny_model()
    for bad in (PromptSet("none", ()), PromptSet("long", (Prompt("long " * 60, "yes"),))):
        with pytest.raises(SsahError) as caught:
            score(model, safety=bad, utility=UTILITY)
        assert "\n" not in str(caught.value)
