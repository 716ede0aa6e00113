"""What is frozen stays bitwise as it is, whatever the optimiser does; the rest is trained."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from tiny_models import VOCABULARY, tiny_model, tiny_network

from ssah_core.errors import OptionError
from ssah_core.models.slices import unit_slices
from ssah_core.training.freezing import trained_part

# Grouped queries; Conv1D, fused, tied; fused and grouped; biases; interleaved.
FAMILIES = ("llama", "gpt2", "phi3", "qwen2", "gpt_neox", "opt", "codegen")


def mask_of(anatomy, share, seed):
    chosen = np.random.default_rng(seed).random(anatomy.units) < share
    chosen[seed % anatomy.units] = True
    return chosen


def train(network, part, *, decay=0.1, accumulation=2, bf16=False, steps=3, momentum=True):
    """A few steps of AdamW with everything on that could move a frozen weight."""
    optimizer = torch.optim.AdamW(
        [parameter for _, parameter in part.parameters],
        lr=1e-2,
        weight_decay=decay,
        betas=(0.9, 0.99) if momentum else (0.0, 0.99),
    )
    part.follow(optimizer)
    torch.manual_seed(0)
    for _ in range(steps):
        for _ in range(accumulation):
            tokens = torch.randint(5, VOCABULARY, (2, 8))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                network(input_ids=tokens, labels=tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_([parameter for _, parameter in part.parameters], 1.0)
        optimizer.step()
        network.zero_grad()
    return optimizer


def copies(network):
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def moved(network, before):
    """For each weight, where its bits differ."""
    return {
        name: weight.detach().view(torch.int32) != before[name].view(torch.int32)
        for name, weight in network.named_parameters()
    }


@settings(max_examples=25)
@given(
    family=st.sampled_from(FAMILIES),
    share=st.sampled_from([0.02, 0.3, 0.8, 1.0]),
    seed=st.integers(0, 20),
    decay=st.sampled_from([0.0, 0.5]),
    accumulation=st.integers(1, 2),
    bf16=st.booleans(),
)
def test_frozen_slices_stay_bitwise_and_everything_else_moves(
    family, share, seed, decay, accumulation, bf16
):
    network, anatomy = tiny_network(family), tiny_model(family).anatomy
    chosen = mask_of(anatomy, share, seed)
    before = copies(network)
    with trained_part(network, anatomy, freeze=chosen) as part:
        digest = part.frozen_digest()
        train(network, part, decay=decay, accumulation=accumulation, bf16=bf16)
        assert part.frozen_digest() == digest
    changes = moved(network, before)
    for slice_ in unit_slices(network, anatomy, chosen):
        assert not slice_.read(changes[slice_.parameter]).any(), slice_.parameter
    weights = ("down_proj.weight", "c_proj.weight", "fc_out.weight", "fc2.weight", "4h_to_h.weight")
    written_out = [change for name, change in changes.items() if name.endswith(weights)]
    assert any(change.any() for change in written_out) or chosen.all()
    embeddings = next(name for name in changes if "embed" in name or "wte" in name)
    assert changes[embeddings].any()


@settings(max_examples=25)
@given(
    family=st.sampled_from(FAMILIES),
    share=st.sampled_from([0.02, 0.3, 0.8, 1.0]),
    seed=st.integers(0, 20),
    decay=st.sampled_from([0.0, 0.5]),
    accumulation=st.integers(1, 2),
    bf16=st.booleans(),
)
def test_training_a_set_alone_moves_its_slices_and_nothing_else(
    family, share, seed, decay, accumulation, bf16
):
    network, anatomy = tiny_network(family), tiny_model(family).anatomy
    chosen = mask_of(anatomy, share, seed)
    before = copies(network)
    with trained_part(network, anatomy, train_only=chosen) as part:
        digest = part.frozen_digest()
        train(network, part, decay=decay, accumulation=accumulation, bf16=bf16)
        assert part.frozen_digest() == digest
    changes = moved(network, before)
    for slice_ in unit_slices(network, anatomy, chosen):
        change = changes[slice_.parameter]
        if slice_.parameter.endswith(".weight"):
            assert slice_.read(change).float().mean() > 0.5, slice_.parameter
        slice_.clear(change)
    assert not any(change.any() for change in changes.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_training_all_units_alone_is_training_them_in_the_network(family):
    """The compact parameters learn what the weights themselves would have learned."""
    anatomy = tiny_model(family).anatomy
    everything = np.ones(anatomy.units, dtype=bool)
    compact, plain = tiny_network(family).train(False), tiny_network(family).train(False)
    with trained_part(compact, anatomy, train_only=everything) as part:
        train(compact, part)
    names = {part.parameter for part in unit_slices(plain, anatomy, everything)}
    for name, weight in plain.named_parameters():
        weight.requires_grad_(name in names)

    class Own:
        parameters = tuple((name, plain.get_parameter(name)) for name, _ in part.parameters)

        def follow(self, optimizer):
            pass

    train(plain, Own())
    for (name, ours), theirs in zip(compact.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_the_optimisers_state_is_as_small_as_the_trained_set():
    network, anatomy = tiny_network("llama"), tiny_model("llama").anatomy
    chosen = mask_of(anatomy, 0.0, 5) & False
    chosen[np.flatnonzero(anatomy.of_kind("mlp"))[:10]] = True
    with trained_part(network, anatomy, train_only=chosen) as part:
        optimizer = train(network, part)
        assert all(
            weight.grad is None for weight in network.parameters()
        )  # nothing lingers between steps
    held = sum(t.numel() for state in optimizer.state.values() for t in state.values() if t.dim())
    assert held == 2 * 10 * 3 * network.config.hidden_size


def test_without_a_set_training_is_plain():
    network, plain = tiny_network("llama"), tiny_network("llama")
    with trained_part(network, tiny_model("llama").anatomy) as part:
        train(network, part)

    class Own:
        parameters = tuple(plain.named_parameters())

        def follow(self, optimizer):
            pass

    train(plain, Own())
    assert not any(change.any() for change in moved(network, copies(plain)).values())


def test_afterwards_the_network_trains_as_ever():
    network, anatomy = tiny_network("llama"), tiny_model("llama").anatomy
    chosen = mask_of(anatomy, 0.3, 0)
    for words in ({"freeze": chosen}, {"train_only": chosen}):
        with trained_part(network, anatomy, **words):
            pass
        tokens = torch.randint(5, VOCABULARY, (2, 8))
        network.zero_grad()
        network(input_ids=tokens, labels=tokens).loss.backward()
        assert all(weight.grad.any() for weight in network.parameters())


def test_a_set_must_hold_units_and_there_is_one_at_most():
    network, anatomy = tiny_network("llama"), tiny_model("llama").anatomy
    some, none = mask_of(anatomy, 0.3, 0), np.zeros(anatomy.units, dtype=bool)
    with (
        pytest.raises(OptionError, match="either frozen or trained alone"),
        trained_part(network, anatomy, freeze=some, train_only=some),
    ):
        pass
    with (
        pytest.raises(OptionError, match="set of units is empty"),
        trained_part(network, anatomy, freeze=none),
    ):
        pass


def test_frozen_slices_count_in_no_norm_of_gradients():
    network, anatomy = tiny_network("phi3"), tiny_model("phi3").anatomy
    chosen = np.arange(anatomy.units) % 4 == 0
    with trained_part(network, anatomy, freeze=chosen):
        tokens = torch.randint(5, VOCABULARY, (2, 8))
        network(input_ids=tokens, labels=tokens).loss.backward()
        for slice_ in unit_slices(network, anatomy, chosen):
            gradient = network.get_parameter(slice_.parameter).grad
            assert not slice_.read(gradient).any()
            assert gradient.any()


def test_most_units_frozen_leave_a_small_optimiser():
    network, anatomy = tiny_network("llama"), tiny_model("llama").anatomy
    chosen = anatomy.of_kind("mlp")
    chosen[np.flatnonzero(chosen)[:4]] = False
    whole = {name for name, _ in network.named_parameters() if ".mlp." not in name}
    with trained_part(network, anatomy, freeze=chosen) as part:
        held = {name: parameter.numel() for name, parameter in part.parameters}
    first = {f"model.layers.0.mlp.{name}_proj.weight" for name in ("gate", "up", "down")}
    assert held.keys() == whole | first
    assert {held[name] for name in first} == {4 * network.config.hidden_size}
