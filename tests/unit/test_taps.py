"""The laws of taps and ablations, on every supported family; nothing is called ablated that is not."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tapped_models import drawn_ablation, every_family, forward, logits, some_tokens
from tiny_models import fresh_model, tiny_model
from torch import nn

from ssah_core import Ablation, ablated, generate
from ssah_core.errors import AblationError, ModelError
from ssah_core.models.families import scale_column
from ssah_core.models.loading import Model
from ssah_core.models.taps import Taps, probe

seeds = st.integers(0, 2**16)
factors = st.sampled_from([0.3, 0.0, 0.77, 1.6, 2.0])


def with_scaled_weights(model: Model, ablation: Ablation) -> nn.Module:
    """A copy of the network whose weights are scaled instead of its activations."""
    network = copy.deepcopy(model.network)
    for site in model.anatomy.sites:
        projection = network.get_submodule(site.module)
        for unit, factor in enumerate(ablation.factors[site.slice].tolist()):
            if factor != 1:
                scale_column(projection, slice(unit * site.width, (unit + 1) * site.width), factor)
    return network


def assert_equal_to_1e_5(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = max(1.0, float(expected.abs().max()))
    assert float((found - expected).abs().max()) <= 1e-5 * scale


# Masked equals scaled weights


@every_family
@settings(max_examples=3)
@given(seed=seeds)
def test_masked_equals_zeroed_weights_bitwise(family, seed):
    model, token_ids = tiny_model(family), some_tokens(seed=seed)
    cut = drawn_ablation(model, seed)
    zeroed = with_scaled_weights(model, cut)
    masked = logits(model, token_ids, cut)
    assert torch.equal(masked, forward(zeroed, token_ids))
    assert not torch.equal(masked, logits(model, token_ids))
    assert_equal_to_1e_5(masked[:1], forward(zeroed, token_ids[:1]))  # another batch shape


@every_family
@settings(max_examples=2)
@given(seed=seeds, factor=factors)
def test_scaled_units_equal_scaled_weights(family, seed, factor):
    model, token_ids = tiny_model(family), some_tokens(seed=seed)
    cut = drawn_ablation(model, seed, factor)
    expected = forward(with_scaled_weights(model, cut), token_ids)
    assert_equal_to_1e_5(logits(model, token_ids, cut), expected)


@every_family
@settings(max_examples=2)
@given(seed=seeds, factor=factors)
def test_mean_fill_adds_the_missing_part_of_the_mean_to_the_projections_output(
    family, seed, factor
):
    model, token_ids = tiny_model(family), some_tokens(seed=seed)
    cut = drawn_ablation(model, seed, factor)
    means = np.random.default_rng(seed).normal(size=model.anatomy.channels).astype(np.float32)
    filled = Ablation(model.anatomy, cut.factors, means, "filled")
    expected = with_scaled_weights(model, cut)
    # The weights of the original network: the copy's are scaled.
    added = torch.from_numpy((1 - model.anatomy.per_channel(cut.factors)) * means)
    for site, place in zip(model.anatomy.sites, model.anatomy.channel_slices, strict=True):
        original = model.network.get_submodule(site.module)
        matrix = original.weight if isinstance(original, nn.Linear) else original.weight.T
        offset = added[place] @ matrix.detach().T
        expected.get_submodule(site.module).register_forward_hook(
            lambda module, inputs, output, offset=offset: output + offset
        )
    assert_equal_to_1e_5(logits(model, token_ids, filled), forward(expected, token_ids))


# Rows


@every_family
@settings(max_examples=2)
@given(seed=seeds)
def test_rows_of_one_batch_do_not_see_each_others_ablation(family, seed):
    model, token_ids = tiny_model(family), some_tokens(rows=4, seed=seed)
    means = np.random.default_rng(seed).normal(size=model.anatomy.channels).astype(np.float32)
    other = drawn_ablation(model, seed + 1, 0.5)
    filled = Ablation(model.anatomy, other.factors, means, "filled")
    cuts = [drawn_ablation(model, seed), None, filled, None]
    mixed = logits(model, token_ids, cuts)
    for row, cut in enumerate(cuts):
        assert torch.equal(mixed[row], logits(model, token_ids, [cut] * 4)[row])
        assert_equal_to_1e_5(mixed[row], logits(model, token_ids[row : row + 1], cut)[0])


@every_family
def test_one_ablation_for_all_rows_is_that_ablation_for_each(family):
    model, token_ids = tiny_model(family), some_tokens()
    cut = drawn_ablation(model, 3)
    assert torch.equal(logits(model, token_ids, cut), logits(model, token_ids, [cut] * 3))


def test_a_batch_of_another_size_than_the_ablations_is_an_error():
    model = tiny_model()
    cut = drawn_ablation(model, 1)
    with pytest.raises(AblationError, match="3 rows, but 2 ablations"):
        logits(model, some_tokens(rows=3), [cut, None])


# Nothing is called ablated that is not


def skip_the_projection(model: Model) -> None:
    mlp = model.network.model.layers[1].mlp
    mlp.forward = lambda x: mlp.up_proj(x)[..., : x.shape[-1]]


def replace_the_projection(model: Model) -> None:
    mlp = model.network.model.layers[1].mlp
    fresh = nn.Linear(mlp.down_proj.in_features, mlp.down_proj.out_features, bias=False)
    fresh.weight = mlp.down_proj.weight
    mlp.down_proj = fresh


def remove_the_hook(model: Model) -> None:
    model.network.model.layers[1].mlp.down_proj._forward_pre_hooks.clear()


broken = pytest.mark.parametrize(
    "break_it", [skip_the_projection, replace_the_projection, remove_the_hook]
)


@broken
def test_a_reply_is_refused_where_a_masked_sites_tap_does_not_fire(break_it):
    model = fresh_model()
    cut = Ablation.units(model.anatomy, ["L0.mlp.2", "L1.mlp.3"])
    break_it(model)
    with pytest.raises(AblationError, match=r"did not act at L1\.mlp:"):
        list(generate(model, ["hello", "you"], [None, cut], max_new_tokens=3))
    shown = generate(
        model, ["hello"], [Ablation.units(model.anatomy, ["L0.mlp.2"])], max_new_tokens=4
    )
    assert next(shown).tokens[0] is not None  # the sites that still work still serve
    shown.close()


@broken
def test_a_forward_is_refused_where_a_masked_sites_tap_does_not_fire(break_it):
    model = fresh_model()
    break_it(model)
    cut = Ablation.units(model.anatomy, ["L0.mlp.2", "L1.mlp.3"])
    with pytest.raises(AblationError, match=r"did not act at L1\.mlp:"):
        logits(model, some_tokens(), cut)


def test_a_reply_is_refused_at_the_step_in_which_a_tap_falls_silent():
    model = fresh_model()
    cut = Ablation.units(model.anatomy, ["L1.mlp.3"])
    projection = model.network.model.layers[1].mlp.down_proj
    calls = []

    def fall_silent_after_three_steps(module, inputs, output):
        calls.append(1)
        if len(calls) == 3:
            module._forward_pre_hooks.clear()

    projection.register_forward_hook(fall_silent_after_three_steps)
    shown = []
    with pytest.raises(AblationError, match="did not act"):
        for step in generate(model, ["hello"], [cut], max_new_tokens=10):
            shown.append(step.index)
    assert shown == [0, 1, 2]


def test_an_ablated_block_in_which_nothing_ran_is_an_error():
    model = tiny_model()
    with (
        pytest.raises(AblationError, match="did not act"),
        ablated(model, drawn_ablation(model, 1)),
    ):
        pass


# The trial forward


def test_a_network_whose_projection_is_never_called_is_refused():
    def bypass(network) -> None:
        network.model.layers[1].mlp.forward = lambda x: x

    with pytest.raises(
        ModelError, match=r"L1\.mlp \(model\.layers\.1\.mlp\.down_proj\) saw nothing"
    ):
        fresh_model(change=bypass)


def test_a_network_that_calls_a_projection_twice_is_refused():
    def call_twice(network) -> None:
        mlp = network.model.layers[0].mlp
        once = mlp.forward
        mlp.forward = lambda x: once(x) + once(x)

    with pytest.raises(ModelError, match=r"L0\.mlp .*saw \[48, 48\]"):
        fresh_model(change=call_twice)


def test_a_refused_network_keeps_no_taps():
    seen = []

    def bypass(network) -> None:
        network.model.layers[1].mlp.forward = lambda x: x
        seen.append(network)

    with pytest.raises(ModelError):
        fresh_model(change=bypass)
    assert not any(module._forward_pre_hooks for module in seen[0].modules())


def test_a_network_of_not_finite_logits_is_refused():
    model = fresh_model()
    model.network.lm_head.weight.data[7] = torch.inf
    with pytest.raises(ModelError, match="not finite"):
        probe(model.network, Taps(model.network, model.anatomy), model.anatomy)
