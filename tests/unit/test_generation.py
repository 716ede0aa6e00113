"""Replies: what a row says depends on its chat, its ablation and its seed, and on nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reply_steps import FAMILIES, all_tokens, endless_model, saying, texts, tokens
from tiny_models import CONTEXT, fresh_model, tiny_model

from ssah_core import Ablation, Stops, generate, reply_all
from ssah_core.errors import AblationError, OptionError, PromptError
from ssah_core.generation import reply_each
from ssah_core.prompts.rendering import render_prompt

# Greedy


@pytest.mark.parametrize("family", FAMILIES)
def test_a_greedy_reply_is_transformers_own(family):
    model = tiny_model(family)
    prompt = torch.tensor([render_prompt(model, "hello there").prompt])
    with torch.inference_mode():
        whole = model.network.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=8,
            do_sample=False,
            eos_token_id=model.tokenizer.eos_token_id,
            pad_token_id=0,
        )
    ours = tokens(generate(model, ["hello there"], max_new_tokens=8))
    assert ours == whole[0, prompt.shape[1] :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_different_lengths_reply_as_if_alone(family):
    model = tiny_model(family)
    cut = Ablation.units(model.anatomy, ["L0.mlp.1", "L1.attn.0"])
    chats, cuts = ["hi", "a much longer question than the first"], [cut, None]
    together = all_tokens(generate(model, chats, cuts, max_new_tokens=6), 2)
    alone = [
        tokens(generate(model, [chat], [one], max_new_tokens=6))
        for chat, one in zip(chats, cuts, strict=True)
    ]
    assert together == alone


def test_a_reply_ends_at_the_end_token_and_its_neighbours_go_on():
    model = fresh_model()
    end = model.tokenizer.eos_token_id
    script = iter([(100, 100), (end, 101), (102,), (end,)])  # a row that has ended costs no more

    def force(module, inputs, output):
        output[:, -1] = -100.0
        for row, token in enumerate(next(script)):
            output[row, -1, token] = 100.0
        return output

    model.network.lm_head.register_forward_hook(force)
    steps = list(generate(model, ["hello", "you"], max_new_tokens=10))
    assert [step.tokens for step in steps] == [(100, 100), (end, 101), (None, 102), (None, end)]
    assert [step.ended for step in steps] == [
        (False, False),
        (True, False),
        (True, False),
        (True, True),
    ]
    assert steps[1].texts[0] == steps[3].texts[1] == ""


def test_many_replies_keep_their_order():
    model = tiny_model()
    cut = Ablation.units(model.anatomy, ["L0.mlp.1", "L1.attn.0"])
    chats = ["one", "a longer one", "the longest of all of these", "x"]
    alone = [texts(generate(model, [chat], [cut], max_new_tokens=6), 1)[0] for chat in chats]
    together = reply_all(model, chats, cut, max_new_tokens=6)
    assert [text.replace("\ufffd", "") for text in together] == [
        text.replace("\ufffd", "") for text in alone
    ]


def test_many_ablations_in_one_batch_reply_as_each_alone():
    model = tiny_model()
    cuts = [None, *(Ablation.units(model.anatomy, [f"L0.mlp.{n}", "L1.attn.0"]) for n in range(3))]
    chats = ["one", "a longer one", "the longest of all of these", "x"]
    alone = [
        reply_all(model, [chat], cut, max_new_tokens=6)[0]
        for chat, cut in zip(chats, cuts, strict=True)
    ]
    assert reply_each(model, chats, cuts, max_new_tokens=6) == alone
    with pytest.raises(OptionError, match="one for each chat"):
        reply_each(model, chats, cuts[:2], max_new_tokens=6)


# Sampling


@settings(max_examples=4)
@given(
    seed=st.integers(0, 2**31),
    neighbours=st.lists(st.integers(0, 2**31), min_size=1, max_size=3),
    place=st.integers(0, 3),
    temperature=st.sampled_from([0.7, 1.0, 3.0]),
    top_p=st.sampled_from([0.5, 0.95, 1.0]),
)
def test_a_seed_decides_a_sampled_row_whatever_its_neighbours(
    seed, neighbours, place, temperature, top_p
):
    model = endless_model()
    options = {"max_new_tokens": 8, "temperature": temperature, "top_p": top_p}
    place = min(place, len(neighbours))
    row_seeds = [*neighbours[:place], seed, *neighbours[place:]]
    chats = [f"hello {'o' * n}" for n in range(len(neighbours))]
    chats.insert(place, "good day")
    together = all_tokens(generate(model, chats, seeds=row_seeds, **options), len(chats))
    assert together[place] == tokens(generate(model, ["good day"], seeds=seed, **options))


def test_another_seed_draws_another_reply():
    model = endless_model()
    rows = all_tokens(
        generate(model, ["hello"] * 4, seeds=[7, 8, 7, 9], temperature=1.5, max_new_tokens=12), 4
    )
    assert rows[0] == rows[2]
    assert len({tuple(row) for row in rows}) == 3


@pytest.mark.parametrize("options", [{"temperature": 1.0, "top_p": 1e-6}, {"temperature": 1e-42}])
def test_a_tiny_nucleus_or_temperature_is_greedy(options):
    model = endless_model()
    greedy = tokens(generate(model, ["hello"], max_new_tokens=10))
    assert tokens(generate(model, ["hello"], max_new_tokens=10, **options)) == greedy


@pytest.mark.parametrize("top_p", [1.0, 0.6])
def test_sampling_follows_the_models_probabilities_within_the_nucleus(top_p):
    model, rows, temperature = tiny_model(), 400, 2.0
    steps = list(
        generate(
            model,
            ["hello"] * rows,
            max_new_tokens=1,
            temperature=temperature,
            top_p=top_p,
            seeds=range(rows),
        )
    )
    weights = steps[0].probabilities[0].astype(np.float64) ** (1 / temperature)
    order = np.argsort(-weights)
    before = np.cumsum(weights[order] / weights.sum()) - weights[order] / weights.sum()
    nucleus = order[before < top_p]
    expected = weights[nucleus] / weights[nucleus].sum()
    drawn = np.array(steps[0].tokens)
    assert set(drawn.tolist()) <= set(nucleus.tolist())
    for token, probability in zip(nucleus[:3], expected[:3], strict=True):
        error = 4 * np.sqrt(probability * (1 - probability) / rows)
        assert abs((drawn == token).mean() - probability) < error


def test_the_first_steps_probabilities_are_the_models_own():
    model = tiny_model()
    cut = Ablation.units(model.anatomy, ["L0.mlp.1", "L1.mlp.0"])
    steps = list(
        generate(model, ["hello"] * 2, [None, cut], max_new_tokens=3, temperature=0.7, top_p=0.5)
    )
    with torch.inference_mode():
        prompt = torch.tensor([render_prompt(model, "hello").prompt])
        expected = model.network(input_ids=prompt).logits[0, -1].softmax(-1).numpy()
    np.testing.assert_allclose(steps[0].probabilities[0], expected, atol=1e-6)
    np.testing.assert_allclose(steps[0].probabilities.sum(1), 1, atol=1e-5)
    assert np.abs(steps[0].probabilities[1] - expected).max() > 1e-4
    assert all(step.probabilities is None for step in steps[1:])


# A checkpoint's own generation settings


def test_a_checkpoints_own_generation_settings_do_not_leak_in():
    expected = tokens(generate(tiny_model(), ["hello there"], max_new_tokens=12))
    changed = fresh_model()
    config = changed.network.generation_config
    config.update(
        do_sample=True,
        temperature=5.0,
        top_k=3,
        top_p=0.5,
        min_p=0.2,
        repetition_penalty=3.0,
        no_repeat_ngram_size=1,
        max_length=5,
        min_length=200,
        num_beams=3,
        num_return_sequences=2,
        suppress_tokens=list(range(50, 120)),
        begin_suppress_tokens=list(range(120, 200)),
        forced_eos_token_id=7,
        renormalize_logits=True,
        output_hidden_states=True,
        output_scores=True,
        return_dict_in_generate=True,
        use_cache=False,
        cache_implementation="static",
        prompt_lookup_num_tokens=3,
        stop_strings=["a", "e"],
        max_time=1e-6,
        penalty_alpha=0.6,
        watermarking_config={"bias": 50.0},
        guidance_scale=3.0,
    )
    assert tokens(generate(changed, ["hello there"], max_new_tokens=12)) == expected
    drawn = {"temperature": 1.5, "top_p": 0.9, "seeds": 3, "max_new_tokens": 8}
    ours = tokens(generate(tiny_model(), ["hello there"], **drawn))
    assert tokens(generate(changed, ["hello there"], **drawn)) == ours


def test_a_models_second_end_token_ends_a_reply_too():
    model = saying(fresh_model(), [100, 101, 42, 103])
    model.network.generation_config.eos_token_id = [1, 42]
    steps = list(generate(model, ["hello"], max_new_tokens=4))
    assert tokens(steps) == [100, 101, 42]
    assert steps[-1].ended == (True,)
    assert steps[-1].texts == ("",)


# Bad input


def test_bad_input_is_said_at_the_call_and_not_at_the_first_step():
    model = tiny_model()
    other = Ablation.units(tiny_model("bloom").anatomy, ["L0.mlp.0"])
    with pytest.raises(OptionError, match="at least one chat"):
        generate(model, [])
    with pytest.raises(OptionError, match="give one of each"):
        generate(model, ["a", "b"], [None], max_new_tokens=4)
    with pytest.raises(OptionError, match="give one of each"):
        generate(model, ["a", "b"], seeds=[1, 2, 3], max_new_tokens=4)
    with pytest.raises(OptionError, match="64 bits"):
        generate(model, ["a"], seeds=2**70, max_new_tokens=4)
    with pytest.raises(OptionError, match="ask for at least 1"):
        generate(model, ["a"], max_new_tokens=0)
    for temperature in (-1.0, float("nan")):
        with pytest.raises(OptionError, match="temperature"):
            generate(model, ["a"], temperature=temperature, max_new_tokens=4)
    for top_p in (0.0, -0.5, 1.5, float("nan")):
        with pytest.raises(OptionError, match="top_p"):
            generate(model, ["a"], top_p=top_p, max_new_tokens=4)
    with pytest.raises(OptionError, match=r"make them with Stops\(2\)"):
        generate(model, ["a", "b"], stops=Stops(1), max_new_tokens=4)
    with pytest.raises(AblationError, match="another model"):
        generate(model, ["a"], [other], max_new_tokens=4)


def test_a_chat_that_does_not_fit_the_context_is_refused_at_the_call():
    model = tiny_model()
    used = len(render_prompt(model, "word"))
    last = list(generate(endless_model(), ["word"], max_new_tokens=CONTEXT - used))
    assert len(last) == CONTEXT - used
    with pytest.raises(PromptError, match=f"reads at most {CONTEXT}; shorten the chat"):
        generate(model, ["word"], max_new_tokens=CONTEXT - used + 1)
    with pytest.raises(PromptError, match="shorten the chat"):
        reply_all(model, ["word", "word " * 60], max_new_tokens=4)
