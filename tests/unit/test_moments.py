"""Streaming moments against numpy's, in float64 over all tokens at once."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ssah_core.errors import OptionError
from ssah_core.scoring.moments import BlockSums, Moments, RunningMoments, shifted_sums

CHANNELS = 5


def of_samples(x: np.ndarray) -> Moments:
    return Moments(len(x), x.mean(0), ((x - x.mean(0)) ** 2).sum(0))


def streamed(x: torch.Tensor, borders: list[int]) -> Moments:
    """The moments of x fed in pieces, in an order of tokens of our own."""
    pieces = torch.arange(len(x)).tensor_split(borders)
    running = RunningMoments(x[pieces[0]].float().mean(0))
    for positions in pieces:
        running.add(shifted_sums(x, positions, running.shift))
    return running.moments()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    tokens=st.integers(2, 400),
    cuts=st.lists(st.floats(0.01, 1), max_size=5),
    ratio=st.sampled_from([0.0, 1.0, 1000.0, -1000.0]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_streamed_moments_are_those_of_all_tokens_at_once(seed, tokens, cuts, ratio, scale):
    x = np.random.default_rng(seed).normal(ratio, 1, (tokens, CHANNELS)) * scale
    x = torch.from_numpy(x).float()
    borders = sorted(max(1, int(cut * tokens)) for cut in cuts)
    found, exact = streamed(x, borders), x.double().numpy()
    assert found.count == tokens
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(found.variance(), exact.var(0, ddof=1), rtol=1e-4)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), sizes=st.tuples(*[st.integers(0, 30)] * 3))
def test_merging_parts_gives_the_moments_of_the_whole(seed, sizes):
    generator = np.random.default_rng(seed)
    parts = [generator.normal(generator.normal(scale=9), 1, (n, CHANNELS)) for n in sizes]
    whole = np.concatenate(parts)
    zero = Moments(0, np.zeros(CHANNELS), np.zeros(CHANNELS))
    moments = [of_samples(part) if len(part) else zero for part in parts]
    left = moments[0].merged(moments[1]).merged(moments[2])
    right = moments[0].merged(moments[1].merged(moments[2]))
    for found in (left, right):
        assert found.count == len(whole)
        if len(whole) > 1:
            np.testing.assert_allclose(found.mean, whole.mean(0), rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(found.variance(), whole.var(0, ddof=1), rtol=1e-9)


def test_only_the_chosen_tokens_count_and_the_activations_stay_as_they_are():
    x = torch.randn(10, CHANNELS)
    before = x.clone()
    positions = torch.tensor([1, 4, 7])
    sums = shifted_sums(x, positions, torch.zeros(CHANNELS))
    assert sums.count == 3
    torch.testing.assert_close(sums.first, x[[1, 4, 7]].sum(0))
    torch.testing.assert_close(sums.second, x[[1, 4, 7]].square().sum(0))
    assert torch.equal(x, before)


def test_half_precision_activations_are_summed_in_full_precision():
    x = (torch.randn(3000, CHANNELS) + 8).bfloat16()
    found = streamed(x, [1000, 2000])
    exact = x.double().numpy()
    np.testing.assert_allclose(found.variance(), exact.var(0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-6)


def test_equal_tokens_have_no_variance():
    x = torch.full((7, CHANNELS), 3.3)
    assert streamed(x, [2, 5]).variance().tolist() == [0.0] * CHANNELS


@pytest.mark.parametrize("count", [0, 1])
def test_a_variance_of_fewer_than_two_tokens_is_refused(count):
    moments = Moments(count, np.zeros(CHANNELS), np.zeros(CHANNELS))
    with pytest.raises(OptionError, match=f"two tokens and there are {count}; choose other tokens"):
        moments.variance()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    sizes=st.lists(st.integers(1, 20), min_size=2, max_size=5),
    weights=st.data(),
)
def test_weighted_blocks_have_the_variance_of_blocks_that_come_so_often(seed, sizes, weights):
    generator = np.random.default_rng(seed)
    parts = [generator.normal(generator.normal(scale=9), 1, (n, CHANNELS)) for n in sizes]
    times = weights.draw(st.tuples(*[st.integers(0, 3)] * len(sizes)))
    repeated = [part for part, often in zip(parts, times, strict=True) for _ in range(often)]
    sums = BlockSums.of([of_samples(part) for part in parts])
    assume(sum(map(len, repeated)) > 1)
    found = sums.variance(np.array([times], dtype=np.float64))[0]
    exact = np.concatenate(repeated).var(0, ddof=1)
    np.testing.assert_allclose(found, exact, rtol=1e-8, atol=1e-8)


def test_blocks_of_too_few_tokens_have_no_sums():
    with pytest.raises(OptionError, match="two tokens"):
        BlockSums.of([of_samples(np.ones((1, CHANNELS)))])
