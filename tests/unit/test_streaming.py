"""Replies as they come: a row or a reply is stopped, closed or read on at any step, and characters stay whole."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reply_steps import FAMILIES, all_tokens, endless_model, saying, texts, tokens
from tiny_models import fresh_model, tiny_model, tiny_tokenizer

from ssah_core import Ablation, Stops, generate
from ssah_core.generation import _RowText
from ssah_core.models.loading import Model

# Stopping


def count_forwards(model: Model) -> list[None]:
    """Grows by one with every forward."""
    forwards: list[None] = []
    model.network.register_forward_pre_hook(lambda module, inputs: forwards.append(None))
    return forwards


def test_a_stopped_row_gains_nothing_more_while_the_other_goes_on():
    model = endless_model()
    whole = all_tokens(generate(model, ["hello", "you"], max_new_tokens=12), 2)
    stops = Stops(2)
    stream = generate(model, ["hello", "you"], max_new_tokens=12, stops=stops)
    seen = [next(stream) for _ in range(3)]
    stops.stop(0)
    seen += list(stream)
    assert tokens(seen, 0) == whole[0][:3]
    assert tokens(seen, 1) == whole[1]
    assert seen[3].ended == (True, False)


def test_no_forward_runs_once_all_rows_are_stopped():
    model = endless_model()
    forwards, stops = count_forwards(model), Stops(2)
    stream = generate(model, ["hello", "you"], max_new_tokens=100, stops=stops)
    seen = [next(stream) for _ in range(3)]
    stops.stop()
    assert list(stream) == []
    assert len(seen) == len(forwards) == 3


def test_a_closed_reply_runs_no_more_forwards():
    model = endless_model()
    forwards = count_forwards(model)
    stream = generate(model, ["hello"], max_new_tokens=100)
    next(stream), next(stream)
    stream.close()
    assert len(forwards) == 2


def test_a_reply_can_be_read_on_in_another_thread():
    model = tiny_model()
    cut = Ablation.units(model.anatomy, ["L0.mlp.1", "L1.attn.0"])
    whole = tokens(generate(model, ["hello"], [cut], max_new_tokens=6))
    stream = generate(model, ["hello"], [cut], max_new_tokens=6)
    seen = [next(stream), next(stream)]
    reader = threading.Thread(target=lambda: seen.extend(stream))
    reader.start()
    reader.join()
    assert tokens(seen) == whole


def test_whatever_the_forward_raises_reaches_the_reader():
    model = fresh_model()

    def fail(module, inputs):
        raise ZeroDivisionError("on purpose")

    model.network.lm_head.register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        list(generate(model, ["hello"], max_new_tokens=3))


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_end_early_change_nothing_for_those_that_go_on(family):
    model = tiny_model(family)
    cut = Ablation.units(model.anatomy, ["L0.mlp.1", "L1.attn.0"])
    chats, cuts = ["hi", "a much longer question", "good day"], [cut, None, cut]
    alone = [
        tokens(generate(model, [chat], [one], max_new_tokens=8))
        for chat, one in zip(chats, cuts, strict=True)
    ]
    stops, seen = Stops(3), []
    for step in generate(model, chats, cuts, max_new_tokens=8, stops=stops):
        seen.append(step)
        if step.index == 1:
            stops.stop(1)
    assert tokens(seen, 0) == alone[0]
    assert tokens(seen, 1) == alone[1][:2]
    assert tokens(seen, 2) == alone[2]


def test_a_row_stopped_before_it_began_has_no_probabilities():
    stops = Stops(2)
    stops.stop(0)
    step = next(iter(generate(tiny_model(), ["a", "b"], max_new_tokens=2, stops=stops)))
    assert step.tokens[0] is None
    assert np.isnan(step.probabilities[0]).all()
    assert step.probabilities[1].sum() == pytest.approx(1, abs=1e-5)


# Text


@settings(max_examples=30)
@given(text=st.text(st.characters(codec="utf-8"), max_size=8))
def test_characters_that_span_tokens_are_shown_whole(text):
    model = tiny_model()
    row = _RowText(model)
    encoded = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = [row.gain(token) for token in encoded]
    assert "".join(pieces) == text.rstrip("\ufffd")
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_a_streamed_reply_shows_no_broken_character():
    wanted = "é 漢字 👩‍🚀!"
    script = tiny_tokenizer()(wanted, add_special_tokens=False)["input_ids"]
    model = saying(fresh_model(), script)
    pieces = [step.texts[0] for step in generate(model, ["hello"], max_new_tokens=len(script))]
    assert "".join(pieces) == wanted
    assert not any("\ufffd" in piece for piece in pieces)
    assert len(pieces) > len(wanted)


def test_a_reply_that_ends_within_a_character_leaves_the_broken_part_out():
    script = tiny_tokenizer()("a漢", add_special_tokens=False)["input_ids"][:-1]
    model = saying(fresh_model(), script)
    assert texts(generate(model, ["hello"], max_new_tokens=len(script)), 1) == ["a"]
