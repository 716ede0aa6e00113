"""A unit's slices are its own: what they change, and what they do not."""

import copy

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, HEADS, fresh_model, tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from ssah_core.errors import ModelError, OptionError
from ssah_core.models.families import FAMILIES, find_anatomy
from ssah_core.models.slices import unit_slices

TOKENS = torch.tensor([[5, 60, 7, 88, 9, 100]])
# A norm over all queries together makes every head depend on every other.
NORMED_TOGETHER = {"olmo2", "olmo3"}
every_family = pytest.mark.parametrize("family", sorted(FAMILIES))


def choose(anatomy, *units):
    chosen = np.zeros(anatomy.units, dtype=bool)
    chosen[list(units)] = True
    return chosen


def site_inputs(network, site) -> torch.Tensor:
    """What the units of a site say: [tokens, channels]."""
    seen = []
    handle = network.get_submodule(site.module).register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].clone())
    )
    with torch.inference_mode():
        network(input_ids=TOKENS)
    handle.remove()
    return seen[0].reshape(-1, site.channels)


def changed(network, slices):
    """The network with random numbers in some slices."""
    other = copy.deepcopy(network)
    torch.manual_seed(1)
    with torch.no_grad():
        for part in slices:
            weight = other.get_parameter(part.parameter)
            part.write(weight, torch.randn_like(part.read(weight)))
    return other


@every_family
def test_the_slices_of_a_unit_change_that_unit_alone_at_its_site(family):
    model = tiny_model(family)
    for site in model.anatomy.sites[:2]:
        if site.kind == "attn" and family in NORMED_TOGETHER:
            continue
        before = site_inputs(model.network, site)
        for unit in (0, site.units - 1):
            slices = unit_slices(
                model.network, model.anatomy, choose(model.anatomy, site.offset + unit)
            )
            read_ins = [part for part in slices if part.parameter != f"{site.module}.weight"]
            moved = (site_inputs(changed(model.network, read_ins), site) != before).any(0)
            units = moved.reshape(site.units, site.width).any(1)
            assert np.flatnonzero(units).tolist() == [unit]


@every_family
def test_a_site_depends_on_nothing_else_between_its_norm_and_its_write_out(family):
    """All of a site's slices together are all of its projections, so that no row is forgotten."""
    model = tiny_model(family)
    for site in model.anatomy.sites:
        chosen = choose(model.anatomy, *range(site.offset, site.offset + site.units))
        for part in unit_slices(model.network, model.anatomy, chosen):
            weight = model.network.get_parameter(part.parameter)
            assert part.index.tolist() == list(range(weight.shape[part.dim]))


@every_family
def test_slices_of_disjoint_sets_are_disjoint(family):
    model = tiny_model(family)
    units = np.random.default_rng(0).permutation(model.anatomy.units)
    one, other = (choose(model.anatomy, *part) for part in np.array_split(units, 2))
    known = {
        part.parameter: set(part.index.tolist())
        for part in unit_slices(model.network, model.anatomy, one)
    }
    for part in unit_slices(model.network, model.anatomy, other):
        assert not known.get(part.parameter, set()) & set(part.index.tolist())


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_shared_keys_and_values_belong_to_all_their_query_heads_together(family):
    model = tiny_model(family)
    name = "k_proj" if family == "llama" else "qkv_proj"

    def rows(*heads):
        found = unit_slices(model.network, model.anatomy, choose(model.anatomy, *heads))
        return sum(
            len(p.index) for p in found if p.parameter.endswith(f"0.self_attn.{name}.weight")
        )

    queries = 0 if family == "llama" else 8  # rows of a head's queries in the same projection
    shared = 8 if family == "llama" else 16
    assert rows(0) == queries
    assert rows(0, 2) == 2 * queries  # of two groups
    assert rows(0, 1) == 2 * queries + shared
    assert rows(*range(HEADS)) == HEADS * queries + 2 * shared


def test_bigcode_with_keys_of_its_own_for_every_head():
    words = {**CONFIGS["gpt_bigcode"], "multi_query": False}
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt_bigcode", **words)).eval()
    anatomy = find_anatomy(network)
    site, before = anatomy.sites[0], site_inputs(network, anatomy.sites[0])
    slices = unit_slices(network, anatomy, choose(anatomy, 1))
    read_ins = [part for part in slices if part.parameter != f"{site.module}.weight"]
    moved = (site_inputs(changed(network, read_ins), site) != before).any(0)
    assert np.flatnonzero(moved.reshape(HEADS, -1).any(1)).tolist() == [1]
    assert {len(part.index) for part in read_ins} == {3 * site.width}


def test_a_set_for_another_model_is_refused():
    model = tiny_model()
    with pytest.raises(OptionError, match="set is for 3 units and this model has"):
        unit_slices(model.network, model.anatomy, np.zeros(3, dtype=bool))


def test_a_layout_that_is_not_the_familys_is_refused_by_name():
    model = fresh_model()
    model.network.model.layers[1].mlp.gate_proj = torch.nn.Identity()
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.gate_proj of this 'llama' model"):
        unit_slices(model.network, model.anatomy, np.ones(model.anatomy.units, dtype=bool))
