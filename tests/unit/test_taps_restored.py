"""Ablations leave nothing behind: what is left, closed, copied, interleaved or threaded finds the network as it was."""

import copy
import gc
import threading
import weakref
from contextvars import copy_context

import pytest
import torch
from tapped_models import drawn_ablation, every_family, forward, logits, some_tokens
from tiny_models import fresh_model, tiny_model, tiny_network

from ssah_core import Ablation, ablated, generate
from ssah_core.models import taps


def text_of(steps) -> str:
    return "".join(step.texts[0] for step in steps)


# Nothing ablated, and restoring


@every_family
def test_nothing_ablated_equals_nothing_installed_bitwise(family):
    token_ids = some_tokens()
    bare = forward(tiny_network(family), token_ids)
    model = tiny_model(family)
    untouched = Ablation.units(model.anatomy, [])
    assert torch.equal(forward(model.network, token_ids), bare)
    assert torch.equal(logits(model, token_ids, [untouched, None, untouched]), bare)


def test_removed_taps_leave_the_network_as_transformers_made_it():
    model, token_ids = fresh_model(), some_tokens()
    with_taps = forward(model.network, token_ids)
    model.taps.remove()
    assert not any(module._forward_pre_hooks for module in model.network.modules())
    assert torch.equal(forward(model.network, token_ids), with_taps)


def test_leaving_and_raising_restore_everything_bitwise():
    model, token_ids = tiny_model(), some_tokens()
    before = forward(model.network, token_ids)
    cut = drawn_ablation(model, 1)
    assert not torch.equal(logits(model, token_ids, cut), before)
    assert torch.equal(forward(model.network, token_ids), before)
    with pytest.raises(ZeroDivisionError), ablated(model, cut):
        forward(model.network, token_ids)
        raise ZeroDivisionError
    assert torch.equal(forward(model.network, token_ids), before)
    assert not taps._CURRENT.get()


def test_an_inner_ablation_replaces_the_outer_until_it_is_left():
    model, token_ids = tiny_model(), some_tokens()
    outer, inner = drawn_ablation(model, 1), drawn_ablation(model, 2)
    with ablated(model, outer):
        with ablated(model, inner):
            within = forward(model.network, token_ids)
        after = forward(model.network, token_ids)
    assert torch.equal(within, logits(model, token_ids, inner))
    assert torch.equal(after, logits(model, token_ids, outer))


def test_an_ablation_of_one_model_leaves_another_alone():
    one, other, token_ids = fresh_model(), tiny_model("llama", 1), some_tokens()
    before = forward(other.network, token_ids)
    with ablated(one, drawn_ablation(one, 1)):
        forward(one.network, token_ids)
        assert torch.equal(forward(other.network, token_ids), before)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bloom"])
def test_a_deep_copy_does_not_answer_to_the_originals_ablation(family):
    model, token_ids = tiny_model(family), some_tokens()
    twin, network = copy.deepcopy(model), copy.deepcopy(model.network)
    before = forward(model.network, token_ids)
    with ablated(model, drawn_ablation(model, 1)):
        forward(model.network, token_ids)
        assert torch.equal(forward(network, token_ids), before)
        assert torch.equal(forward(twin.network, token_ids), before)
    cut = drawn_ablation(twin, 2)
    assert torch.equal(logits(twin, token_ids, cut), logits(model, token_ids, cut))
    with ablated(twin, cut):
        forward(twin.network, token_ids)
        assert torch.equal(forward(model.network, token_ids), before)
    assert text_of(generate(twin, ["hi"], [cut], max_new_tokens=4)) == text_of(
        generate(model, ["hi"], [cut], max_new_tokens=4)
    )


def test_generators_interleaved_in_one_thread_leak_nothing():
    model, token_ids = tiny_model(), some_tokens()
    before = forward(model.network, token_ids)
    cuts = [drawn_ablation(model, seed) for seed in (1, 2)]
    alone = [text_of(generate(model, ["hello"], [cut], max_new_tokens=6)) for cut in cuts]
    assert alone[0] != alone[1]
    streams = [generate(model, ["hello"], [cut], max_new_tokens=6) for cut in cuts]
    texts = ["", ""]
    for _ in range(6):
        for which, stream in enumerate(streams):
            step = next(stream, None)
            texts[which] += step.texts[0] if step else ""
            assert not taps._CURRENT.get()
            assert torch.equal(forward(model.network, token_ids), before)
    assert texts == alone


def close_here(stream) -> None:
    stream.close()


def close_in_another_thread(stream) -> None:
    closer = threading.Thread(target=stream.close)
    closer.start()
    closer.join()


def close_in_another_context(stream) -> None:
    copy_context().run(stream.close)


@pytest.mark.parametrize("close", [close_here, close_in_another_thread, close_in_another_context])
def test_a_generator_closed_midway_leaks_nothing_and_ends_its_worker(close):
    model, token_ids = tiny_model(), some_tokens()
    before, threads = forward(model.network, token_ids), threading.active_count()
    stream = generate(model, ["hello"], [drawn_ablation(model, 1)], max_new_tokens=200)
    next(stream)
    close(stream)
    assert threading.active_count() == threads
    assert not taps._CURRENT.get()
    assert torch.equal(forward(model.network, token_ids), before)


def test_a_generator_left_to_the_garbage_collector_leaks_nothing_and_ends_its_worker():
    model, token_ids = tiny_model(), some_tokens()
    before, threads = forward(model.network, token_ids), threading.active_count()
    stream = generate(model, ["hello"], [drawn_ablation(model, 1)], max_new_tokens=200)
    next(stream)
    gone = weakref.ref(stream)
    cycle = [stream]
    cycle.append(cycle)
    del stream, cycle
    gc.collect()
    assert gone() is None
    assert threading.active_count() == threads
    assert torch.equal(forward(model.network, token_ids), before)


def test_an_ablation_around_the_reader_does_not_reach_the_replies():
    model = tiny_model()
    plain = text_of(generate(model, ["hello"], max_new_tokens=5))
    cut = drawn_ablation(model, 1)
    assert text_of(generate(model, ["hello"], [cut], max_new_tokens=5)) != plain
    with ablated(model, cut):
        assert text_of(generate(model, ["hello"], max_new_tokens=5)) == plain
        forward(model.network, some_tokens())


def test_six_threads_with_six_ablations_get_six_right_answers():
    model, token_ids = tiny_model(), some_tokens()
    cuts = [drawn_ablation(model, seed) for seed in range(6)]
    expected = [logits(model, token_ids, cut) for cut in cuts]
    replies = [text_of(generate(model, ["hello"], [cut], max_new_tokens=5)) for cut in cuts]
    assert len(set(replies)) > 3
    wrong, right = [], []
    start = threading.Barrier(6)

    def work(which: int) -> None:
        start.wait()
        for _ in range(8):
            same = torch.equal(logits(model, token_ids, cuts[which]), expected[which])
            (right if same else wrong).append(which)
        for _ in range(2):
            found = text_of(generate(model, ["hello"], [cuts[which]], max_new_tokens=5))
            (right if found == replies[which] else wrong).append(which)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(right) == 60
