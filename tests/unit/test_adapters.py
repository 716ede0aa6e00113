"""Adapters leave frozen units bitwise as they are, and merge into an ordinary model."""

import importlib.util

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import VOCABULARY, fresh_model, tiny_model, tiny_network

from ssah_core.errors import Cancelled, OptionError
from ssah_core.models.loading import load_model
from ssah_core.models.slices import unit_slices
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.training.adapters import adapted_part
from ssah_core.training.options import Lora, TrainingOptions
from ssah_core.training.trainer import finetune
from ssah_core.training.unit_sets import UnitSet

PROMPTS = PromptSet("made", tuple(Prompt(f"Say {n}.", f"It is {n * 7}.") for n in range(12)))
QUICK = TrainingOptions(steps=4, batch_size=4, learning_rate=1e-2, weight_decay=0.3, lora=Lora(4))
with_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed; it is optional"
)


def a_third(anatomy):
    return np.arange(anatomy.units) % 3 == 0


def bits(weight):
    return weight.detach().contiguous().view(torch.uint8)


@with_peft
@pytest.mark.parametrize("mode", ["freeze", "train_only"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3", "opt", "gpt_neox"])
def test_the_change_is_exactly_zero_where_weights_are_frozen(family, mode):
    """Before merging, too: what is measured while training is what the merged model does."""
    network, anatomy = tiny_network(family), tiny_model(family).anatomy
    with torch.no_grad():
        for weight in network.parameters():
            weight.flatten()[::7] = -0.0  # adding a zero would flip these bits
    old = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    chosen = a_third(anatomy)
    slices = {part.parameter: part for part in unit_slices(network, anatomy, chosen)}
    tokens = torch.randint(5, VOCABULARY, (2, 8))
    with adapted_part(network, anatomy, Lora(4), seed=0, **{mode: chosen}) as part:
        optimizer = torch.optim.AdamW([p for _, p in part.parameters], lr=1e-2, weight_decay=0.3)
        for _ in range(3):
            network(input_ids=tokens, labels=tokens).loss.backward()
            optimizer.step()
            network.zero_grad()
        with torch.no_grad():
            trained = network(input_ids=tokens).logits
    assert [name for name, _ in network.named_parameters()] == list(old)  # the adapters are gone
    adapted = every_projection(network, anatomy) if mode == "freeze" else set()
    for name, weight in network.named_parameters():
        change = (bits(weight) != bits(old[name])).reshape(*weight.shape, -1).any(-1)
        if name not in slices or name.endswith(".bias"):
            may_move = torch.full_like(change, name in adapted)
        else:
            may_move = torch.zeros_like(change)
            slices[name].write(may_move, torch.ones_like(slices[name].read(may_move)))
            may_move = ~may_move if mode == "freeze" else may_move
            assert change.any()
        assert not (change & ~may_move).any(), name
    with torch.no_grad():
        torch.testing.assert_close(network(input_ids=tokens).logits, trained, atol=1e-4, rtol=1e-4)


def every_projection(network, anatomy):
    everything = np.ones(anatomy.units, dtype=bool)
    return {
        part.parameter
        for part in unit_slices(network, anatomy, everything)
        if part.parameter.endswith(".weight")
    }


@with_peft
def test_a_stopped_training_of_adapters_goes_on_to_the_same_weights(tmp_path):
    model = tiny_model("gpt2")
    chosen = UnitSet(model.anatomy, a_third(model.anatomy), {})
    whole = finetune(model, PROMPTS, tmp_path / "whole", QUICK, freeze=chosen)
    calls = iter([False, True])
    with pytest.raises(Cancelled):
        finetune(
            model, PROMPTS, tmp_path / "parts", QUICK, freeze=chosen, cancelled=lambda: next(calls)
        )
    parts = finetune(model, PROMPTS, tmp_path / "parts", QUICK, freeze=chosen)
    one, other = (load_file(d.folder / "model.safetensors") for d in (whole, parts))
    assert all(torch.equal(bits(one[name]), bits(other[name])) for name in one)
    assert parts.manifest["options"]["lora"] == {"rank": 4, "alpha": 16.0}


@with_peft
def test_the_folder_is_an_ordinary_model_that_has_learned(tmp_path):
    options = TrainingOptions(steps=40, batch_size=12, learning_rate=2e-2, lora=Lora(8))
    done = finetune(tiny_model(), PROMPTS, tmp_path / "tuned", options)
    assert done.curve["loss"].iloc[-1] < 0.8 * done.curve["loss"].iloc[0]
    tuned = load_model(tmp_path / "tuned", device="cpu")
    assert [n for n, _ in tuned.network.named_parameters()] == [
        n for n, _ in tiny_model().network.named_parameters()
    ]
    assert tuned.taps is not None


@with_peft
def test_adapters_with_nothing_to_learn_are_refused():
    model = fresh_model()
    everything = np.ones(model.anatomy.units, dtype=bool)
    with (
        pytest.raises(OptionError, match="Every unit is frozen"),
        adapted_part(model.network, model.anatomy, Lora(), seed=0, freeze=everything),
    ):
        pass


def test_without_peft_its_absence_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match="pip install peft, or leave out --lora"):
        finetune(tiny_model(), PROMPTS, tmp_path / "tuned", QUICK)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "reason"), [((0,), "rank .* is 0"), ((4, 0.0), "alpha is 0")])
def test_ranks_that_cannot_be_are_refused(words, reason):
    with pytest.raises(OptionError, match=reason):
        Lora(*words)
