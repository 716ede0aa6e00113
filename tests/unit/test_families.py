"""Anatomy: sites and units of every supported family, and what is said of the others."""

import copy

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, CONTEXT, HEADS, HIDDEN, LAYERS, MLP, fresh_model, tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from ssah_core.errors import ModelError
from ssah_core.models.families import FAMILIES, check_support, find_anatomy, input_width
from ssah_core.models.loading import Model

every_family = pytest.mark.parametrize("family", sorted(CONFIGS))


def test_every_supported_family_is_tested():
    assert set(CONFIGS) == set(FAMILIES)


@every_family
def test_the_anatomy_lists_every_head_and_mlp_channel_in_forward_order(family):
    model = tiny_model(family)
    channels = 4 * HIDDEN if family == "bloom" else MLP
    found = [
        (s.layer, s.kind, s.units, s.width, s.offset, s.channels, s.name)
        for s in model.anatomy.sites
    ]
    expected, offset = [], 0
    for layer in range(LAYERS):
        head = HIDDEN // HEADS
        expected.append((layer, "attn", HEADS, head, offset, HIDDEN, f"L{layer}.attn"))
        offset += HEADS
        expected.append((layer, "mlp", channels, 1, offset, channels, f"L{layer}.mlp"))
        offset += channels
    assert found == expected
    assert model.anatomy.units == offset
    assert model.anatomy.layers == LAYERS
    assert model.anatomy.channels == LAYERS * (HIDDEN + channels)
    for site in model.anatomy.sites:
        assert input_width(model.network.get_submodule(site.module)) == site.channels


@every_family
def test_the_sites_are_called_in_the_order_in_which_they_stand(family):
    model, order = tiny_model(family), []
    handles = [
        model.network.get_submodule(site.module).register_forward_pre_hook(
            lambda _, inputs, name=site.name: order.append(name)
        )
        for site in model.anatomy.sites
    ]
    with torch.inference_mode():
        model.network(input_ids=torch.tensor([[5, 6, 7]]))
    for handle in handles:
        handle.remove()
    by_layer = [[name for name in order if name.startswith(f"L{n}.")] for n in range(LAYERS)]
    # Some families run attention and MLP of a block side by side; blocks never mix.
    assert order == [name for names in by_layer for name in names]
    assert sorted(order) == sorted(site.name for site in model.anatomy.sites)


@every_family
def test_units_keep_their_names_and_places(family):
    anatomy = tiny_model(family).anatomy
    names = anatomy.names()
    assert len(set(names)) == anatomy.units
    assert [anatomy.index_of(name) for name in names] == list(range(anatomy.units))
    assert [anatomy.name_of(unit) for unit in range(anatomy.units)] == names
    both = anatomy.of_kind("attn") | anatomy.of_kind("mlp")
    assert both.all()
    assert not (anatomy.of_kind("attn") & anatomy.of_kind("mlp")).any()
    spread = anatomy.per_channel(np.arange(anatomy.units))
    for site, place in zip(anatomy.sites, anatomy.channel_slices, strict=True):
        own = np.arange(site.offset, site.offset + site.units)
        assert np.array_equal(spread[place], np.repeat(own, site.width))


@every_family
def test_the_context_is_the_models_own(family):
    assert tiny_model(family).context == (None if family == "bloom" else CONTEXT)


def attention_input(model: Model, network, token_ids: torch.Tensor) -> torch.Tensor:
    seen = []
    module = network.get_submodule(model.anatomy.sites[0].module)
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    with torch.inference_mode():
        network(input_ids=token_ids)
    handle.remove()
    return seen[0].reshape(-1, model.anatomy.sites[0].channels)


# Families whose queries have a projection of their own, not normalised over all heads together.
SEPARATE_QUERIES = {
    "cohere", "cohere2", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "gptj", "granite", "llama",
    "ministral", "mistral", "nemotron", "olmo", "opt", "phi", "qwen2", "qwen3", "smollm3", "stablelm",
    "starcoder2",
}  # fmt: skip


@pytest.mark.parametrize("family", sorted(SEPARATE_QUERIES))
def test_an_attention_unit_is_one_query_head(family):
    model, token_ids = tiny_model(family), torch.tensor([[5, 60, 7, 88, 9, 100]])
    before = attention_input(model, model.network, token_ids)
    width = model.anatomy.sites[0].width
    for head in range(HEADS):
        changed = copy.deepcopy(model.network)
        block = model.anatomy.sites[0].module.rpartition(".")[0]
        with torch.no_grad():
            queries = changed.get_submodule(f"{block}.q_proj").weight
            queries[head * width : (head + 1) * width].normal_(0, 3)
        moved = (attention_input(model, changed, token_ids) != before).any(0)
        units = moved.reshape(HEADS, width).any(1)
        assert units.tolist() == [unit == head for unit in range(HEADS)]


def test_a_head_may_be_wider_than_its_share_of_the_hidden_size():
    words = {**CONFIGS["llama"], "head_dim": 24}
    network = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **words))
    site = find_anatomy(network).sites[0]
    assert (site.units, site.width, site.channels) == (HEADS, 24, 96)


@pytest.mark.parametrize(
    ("family", "words", "reason"),
    [
        ("mixtral", {}, "'mixtral' are not supported: its experts .* fused parameter"),
        ("qwen3_moe", {}, "its experts"),
        ("gpt_oss", {}, "its experts"),
        ("mamba2", {}, "'mamba2' are not supported: it has no attention heads"),
        ("bert", {}, "'bert' are not supported: nobody has yet proven"),
        ("falcon", {}, "choose one of .*llama.*starcoder2"),
        ("t5", {}, "'t5' is an encoder-decoder; choose a decoder-only"),
        ("bloom", {"slow_but_exact": True}, "set slow_but_exact to false"),
    ],
)
def test_an_unsupported_family_is_told_what_is_missing(family, words, reason):
    with pytest.raises(ModelError, match=reason) as caught:
        check_support(AutoConfig.for_model(family, **words))
    assert "\n" not in str(caught.value)


def test_a_layout_that_is_not_the_familys_is_refused():
    def rename(network) -> None:
        mlp = network.model.layers[1].mlp
        mlp.down, mlp.down_proj = mlp.down_proj, None
        del mlp.down_proj

    with pytest.raises(ModelError, match=r"Block 1 of this 'llama' model has no mlp\.down_proj"):
        fresh_model(change=rename)


def test_heads_that_do_not_divide_the_projection_are_refused():
    def miscount(network) -> None:
        network.config.num_attention_heads = 5

    with pytest.raises(ModelError, match="32 inputs, which 5 heads do not divide"):
        fresh_model(change=miscount)


def test_a_projection_of_an_unknown_kind_is_refused():
    def quantise(network) -> None:
        network.model.layers[0].mlp.down_proj = torch.nn.Identity()

    with pytest.raises(
        ModelError, match=r"projection is a Identity, .* load the model unquantised"
    ):
        fresh_model(change=quantise)
