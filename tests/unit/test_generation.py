"""Replies: what a row says depends on its chat, its ablation and its seed, and on nothing else."""

import numpy as np
import pytest
import torch
from tiny_models import fresh_model, tiny_model

from ssah_core import Ablation, Stops, generate, reply_all
from ssah_core.errors import AblationError, OptionError, PromptError
from ssah_core.prompts.rendering import render_prompt


def texts(steps, rows: int) -> list[str]:
    found = [""] * rows
    for step in steps:
        found = [text + gained for text, gained in zip(found, step.texts, strict=True)]
    return found


def tokens(steps, row: int = 0) -> list[int]:
    return [step.tokens[row] for step in steps if step.tokens[row] is not None]


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gpt_neox", "gemma2", "bloom"])
def test_a_greedy_reply_is_transformers_own(family):
    model = tiny_model(family)
    prompt = torch.tensor([render_prompt(model, "hello there").prompt])
    with torch.inference_mode():
        whole = model.network.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=10,
            do_sample=False,
            eos_token_id=1,
            pad_token_id=0,
        )
    ours = tokens(generate(model, ["hello there"], max_new_tokens=10))
    assert ours == whole[0, prompt.shape[1] :].tolist()


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bloom", "gemma2"])
def test_rows_of_different_lengths_reply_as_if_alone(family):
    model = tiny_model(family)
    cut = Ablation.units(model.anatomy, ["L0.mlp.1", "L1.attn.0"])
    chats, cuts = ["hi", "a much longer question than the first"], [cut, None]
    together = texts(generate(model, chats, cuts, max_new_tokens=8), 2)
    alone = [
        texts(generate(model, [chat], [one], max_new_tokens=8), 1)[0]
        for chat, one in zip(chats, cuts, strict=True)
    ]
    assert together == alone


def test_a_seed_decides_a_sampled_row_whatever_its_neighbours():
    model = tiny_model()
    options = {"max_new_tokens": 12, "temperature": 1.5, "top_p": 0.95}
    three = texts(generate(model, ["hello"] * 3, seeds=[7, 8, 7], **options), 3)
    alone = texts(generate(model, ["hello"], seeds=7, **options), 1)
    assert three[0] == three[2] == alone[0]
    assert three[0] != three[1]


def test_a_tiny_nucleus_is_greedy():
    model = tiny_model()
    greedy = texts(generate(model, ["hello"], max_new_tokens=8), 1)
    sampled = texts(generate(model, ["hello"], max_new_tokens=8, temperature=1, top_p=1e-6), 1)
    assert sampled == greedy


def test_sampling_follows_the_models_probabilities():
    model = tiny_model()
    rows = 200
    steps = list(
        generate(model, ["hello"] * rows, max_new_tokens=1, temperature=2.0, seeds=range(rows))
    )
    probabilities = steps[0].probabilities[0].astype(np.float64) ** 0.5
    probabilities /= probabilities.sum()
    best = int(probabilities.argmax())
    drawn = sum(token == best for token in steps[0].tokens) / rows
    error = 4 * np.sqrt(probabilities[best] * (1 - probabilities[best]) / rows)
    assert abs(drawn - probabilities[best]) < error


def test_the_first_steps_probabilities_are_the_models_own():
    model = tiny_model()
    cut = Ablation.units(model.anatomy, ["L0.mlp.1", "L1.mlp.0"])
    steps = list(generate(model, ["hello"] * 2, [None, cut], max_new_tokens=3, temperature=0.7))
    with torch.inference_mode():
        prompt = torch.tensor([render_prompt(model, "hello").prompt])
        expected = model.network(input_ids=prompt).logits[0, -1].softmax(-1).numpy()
    np.testing.assert_allclose(steps[0].probabilities[0], expected, atol=1e-5)
    np.testing.assert_allclose(steps[0].probabilities.sum(1), 1, atol=1e-4)
    assert np.abs(steps[0].probabilities[1] - expected).max() > 1e-4
    assert all(step.probabilities is None for step in steps[1:])


def test_one_row_can_be_stopped_while_the_other_goes_on():
    model = fresh_model()
    model.network.generation_config.eos_token_id = None
    stops = Stops(2)
    seen = []
    for step in generate(model, ["hello"] * 2, max_new_tokens=40, stops=stops, temperature=3):
        seen.append(step)
        if step.index == 3:
            stops.stop(0)
    gained = [sum(step.tokens[row] is not None for step in seen) for row in (0, 1)]
    assert 4 <= gained[0] < 40
    assert gained[1] > gained[0]


def test_all_rows_can_be_stopped_at_once():
    model = tiny_model()
    stops = Stops(2)
    count = 0
    for _ in generate(model, ["hello", "you"], max_new_tokens=200, stops=stops):
        count += 1
        stops.stop()
    assert count < 200


def test_a_checkpoints_own_generation_settings_do_not_leak_in():
    plain = tiny_model()
    changed = fresh_model()
    config = changed.network.generation_config
    config.do_sample, config.temperature, config.top_k, config.top_p = True, 5.0, 3, 0.5
    config.repetition_penalty, config.no_repeat_ngram_size, config.max_length = 3.0, 1, 5
    config.suppress_tokens = list(range(50, 120))
    expected = tokens(generate(plain, ["hello there"], max_new_tokens=12))
    assert tokens(generate(changed, ["hello there"], max_new_tokens=12)) == expected


def test_characters_are_shown_whole():
    model = tiny_model()
    for seed in range(5):
        steps = generate(model, ["é ü 漢"], max_new_tokens=60, temperature=1.5, seeds=seed)
        pieces = [step.texts[0] for step in steps]
        assert not any(piece.endswith("\ufffd") for piece in pieces)


def test_bad_input_is_said_at_the_call_and_not_at_the_first_step():
    model = tiny_model()
    other = Ablation.units(tiny_model("bloom").anatomy, ["L0.mlp.0"])
    with pytest.raises(PromptError, match="shorten the chat"):
        generate(model, ["word " * 100], max_new_tokens=10)
    with pytest.raises(OptionError, match="at least one chat"):
        generate(model, [])
    with pytest.raises(OptionError, match="one of each|give one"):
        generate(model, ["a", "b"], [None])
    with pytest.raises(OptionError, match="at least 1"):
        generate(model, ["a"], max_new_tokens=0)
    with pytest.raises(OptionError, match="temperature"):
        generate(model, ["a"], temperature=-1)
    with pytest.raises(OptionError, match="top_p"):
        generate(model, ["a"], top_p=0)
    with pytest.raises(AblationError, match="another model"):
        generate(model, ["a"], [other])


def test_many_replies_keep_their_order():
    model = tiny_model()
    chats = ["one", "a longer one", "the longest of all of these", "x"]
    alone = [reply_all(model, [chat], max_new_tokens=6)[0] for chat in chats]
    assert reply_all(model, chats, max_new_tokens=6) == alone
