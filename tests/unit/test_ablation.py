"""Ablations: built from roles, names or chance, and compiled row by row."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_scores import made_anatomy, made_scores
from tiny_models import tiny_model

from ssah_core import Ablation, ablated, assign_roles
from ssah_core.ablation import check_fill, compile_rows
from ssah_core.errors import AblationError

ANATOMY = made_anatomy(layers=4, heads=4, channels=40)


def some_roles(seed: int = 0, **options):
    return assign_roles(made_scores(ANATOMY, seed), 0.1, 0.15, 0.2, **options)


def drawn(seed: int, *, factors=(0.0,), kinds: str = "both") -> Ablation:
    generator = np.random.default_rng(seed)
    vector = np.ones(ANATOMY.units, dtype=np.float32)
    pool = np.flatnonzero(ANATOMY.of_kind(kinds))
    chosen = generator.choice(pool, generator.integers(1, len(pool)), replace=False)
    vector[chosen] = generator.choice(factors, len(chosen))
    means = generator.normal(size=ANATOMY.channels).astype(np.float32)
    return Ablation(ANATOMY, vector, means, f"drawn {seed}")


# From roles


def test_a_roles_units_are_removed_and_no_others():
    roles = some_roles()
    cut = Ablation.of(roles, "ESU")
    assert np.array_equal(cut.factors == 0, roles.mask("ESU"))
    assert np.array_equal(cut.factors == 1, ~roles.mask("ESU"))
    assert cut.count == roles.counts["ESU"]
    assert cut.means is None
    assert cut.label == "ESU"


def test_several_roles_are_removed_together():
    roles = some_roles()
    cut = Ablation.of(roles, ["ESU", "RU"], factor=0.5)
    assert np.array_equal(cut.factors == 0.5, roles.mask("ESU") | roles.mask("RU"))
    assert cut.label == "ESU and RU"


@pytest.mark.parametrize("part", [0, 0.1, 0.29, 0.4, 1])
def test_the_strongest_part_of_a_role_is_the_head_of_its_ranks(part):
    roles = some_roles()
    cut = Ablation.of(roles, "EUU", strongest=part)
    order = roles.ranked("EUU")
    expected = order[: int(round(part * 100) * len(order) // 100)]
    assert sorted(np.flatnonzero(cut.changed)) == sorted(expected)
    assert np.array_equal(cut.changed, cut.factors == 0)


def test_mean_fill_takes_the_utility_means_of_the_roles_tokens():
    for tokens in ("all", "prompt", "response"):
        roles = some_roles(tokens=tokens)
        cut = Ablation.of(roles, "ESU", fill="mean")
        expected = roles.scores.utility.at(tokens).mean.astype(np.float32)
        np.testing.assert_array_equal(cut.means, expected)


# By name


def test_roles_can_be_limited_to_layers_and_single_units_added_or_spared():
    roles = assign_roles(made_scores(made_anatomy(), 3), 0.3, 0.1, 0.1)
    anatomy = roles.scores.anatomy
    whole, part = Ablation.of(roles, "ESU"), Ablation.of(roles, "ESU", layers=[1, 2])
    inside = anatomy.in_layers([1, 2])
    np.testing.assert_array_equal(part.changed, whole.changed & inside)
    assert part.label == "ESU of layers 1 to 2"
    one = anatomy.name_of(int(np.flatnonzero(part.changed)[0]))
    edited = Ablation.of(roles, "ESU", layers=[1, 2], also=["L0.mlp.0"], spare=[one])
    assert edited.count == part.count
    assert edited.factors[anatomy.index_of("L0.mlp.0")] == 0
    assert edited.factors[anatomy.index_of(one)] == 1
    assert Ablation.of(roles, [], also=["L0.mlp.0"]).count == 1
    with pytest.raises(AblationError, match="no layer 3: this model has layers 0 to 2"):
        Ablation.of(roles, "ESU", layers=[3])


def test_named_units_are_removed():
    cut = Ablation.units(ANATOMY, ["L3.mlp.17", " L0.attn.2 "], factor=0.25)
    changed = np.flatnonzero(cut.changed)
    assert [ANATOMY.name_of(int(n)) for n in changed] == ["L0.attn.2", "L3.mlp.17"]
    assert cut.factors[changed].tolist() == [0.25, 0.25]


def test_one_name_alone_is_one_unit():
    anatomy = tiny_model().anatomy
    assert Ablation.units(anatomy, "L0.mlp.1").count == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("L3.mlp", "'L3.mlp' is not a unit name; write one like"),
        ("mlp.3", "is not a unit name"),
        ("L3.down.3", "is not a unit name"),
        ("L-1.mlp.3", "is not a unit name"),
        ("L" + "1" * 5000 + ".mlp.0", "is not a unit name"),
        ("L4.mlp.0", "this model has layers 0 to 3"),
        ("L0.mlp.40", "L0.mlp has units 0 to 39"),
        ("L0.attn.4", "L0.attn has units 0 to 3"),
    ],
)
def test_a_name_of_no_unit_is_refused_with_what_there_is(name, message):
    with pytest.raises(AblationError, match=message):
        Ablation.units(ANATOMY, ["L0.mlp.1", name])


@pytest.mark.parametrize("index", [-1, ANATOMY.units])
def test_an_index_of_no_unit_has_no_name(index):
    with pytest.raises(AblationError, match=f"units 0 to {ANATOMY.units - 1}"):
        ANATOMY.name_of(index)


# Factors and fills


@pytest.mark.parametrize("factor", [-0.1, 2.1, float("nan"), float("inf")])
def test_a_factor_outside_0_to_2_is_refused(factor):
    with pytest.raises(AblationError, match="outside 0 to 2"):
        Ablation.units(ANATOMY, ["L0.mlp.1"], factor=factor)
    with pytest.raises(AblationError, match="outside 0 to 2"):
        Ablation.of(some_roles(), "ESU", factor=factor)


def test_a_part_outside_0_to_1_is_refused():
    for part in (-0.1, 1.5, float("nan")):
        with pytest.raises(AblationError, match="from 0 to 1"):
            Ablation.of(some_roles(), "ESU", strongest=part)


def test_words_that_are_no_choice_are_refused():
    with pytest.raises(AblationError, match="zero or mean"):
        check_fill("median")


@pytest.mark.parametrize("anatomy", [made_anatomy(4, 4, 41), made_anatomy(5, 4, 40)])
def test_vectors_of_another_anatomy_are_refused(anatomy):
    one = drawn(0)
    with pytest.raises(AblationError, match=f"{ANATOMY.units} factors for {anatomy.units} units"):
        Ablation(anatomy, one.factors, None, "wrong")
    with pytest.raises(AblationError, match=f"means for {anatomy.channels} channels"):
        Ablation.units(anatomy, ["L0.mlp.1"], means=one.means)


# Random controls


@settings(max_examples=25)
@given(seed=st.integers(0, 2**16), kinds=st.sampled_from(["both", "mlp", "attn"]))
def test_a_size_matched_control_has_as_many_units_of_the_same_kinds(seed, kinds):
    other = drawn(seed, kinds=kinds)
    control = Ablation.random_like(other, seed=seed)
    touched = {ANATOMY.name_of(int(n)).split(".")[1] for n in np.flatnonzero(other.changed)}
    found = {ANATOMY.name_of(int(n)).split(".")[1] for n in np.flatnonzero(control.changed)}
    assert control.count == other.count
    assert found <= touched
    assert control.means is other.means


@settings(max_examples=25)
@given(seed=st.integers(0, 2**16))
def test_a_layer_matched_control_has_as_many_units_at_every_site(seed):
    other = drawn(seed)
    control = Ablation.random_like(other, seed=seed, match="layer")
    for site in ANATOMY.sites:
        assert control.changed[site.slice].sum() == other.changed[site.slice].sum()
    assert control.means is other.means


@pytest.mark.parametrize("match", ["size", "layer"])
def test_a_control_takes_the_factors_of_what_it_controls(match):
    other = drawn(3, factors=(0.0, 0.5, 2.0))
    control = Ablation.random_like(other, seed=0, match=match)
    assert sorted(control.factors) == sorted(other.factors)
    # Removed and doubled units average to "left alone", and a control must not be that.
    both = np.ones(ANATOMY.units, dtype=np.float32)
    both[:2] = (0, 2)
    both = Ablation(ANATOMY, both, None, "one removed, one doubled")
    assert Ablation.random_like(both, seed=0, match=match).count == 2


@pytest.mark.parametrize("match", ["size", "layer"])
def test_a_controls_seed_decides_it(match):
    other = Ablation.of(some_roles(), "ESU")
    same = [Ablation.random_like(other, seed=7, match=match).factors for _ in range(2)]
    assert np.array_equal(*same)
    different = {
        Ablation.random_like(other, seed=seed, match=match).factors.tobytes() for seed in range(8)
    }
    assert len(different) == 8


def test_a_control_of_nothing_is_nothing():
    nothing = Ablation.units(ANATOMY, [])
    for match in ("size", "layer"):
        assert Ablation.random_like(nothing, seed=0, match=match).count == 0


# Rows


def test_rows_that_change_nothing_compile_to_nothing():
    model = tiny_model()
    untouched = Ablation.units(model.anatomy, [])
    assert compile_rows(model, [None, untouched]) is None


def test_only_touched_sites_are_in_the_instruction():
    model = tiny_model()
    cuts = [Ablation.units(model.anatomy, ["L0.attn.1"]), None]
    scale = compile_rows(model, cuts)
    assert set(scale.factors) == {0}
    assert scale.fills == {}
    width = model.anatomy.sites[0].width
    expected = torch.ones(2, 1, model.anatomy.sites[0].channels)
    expected[0, 0, width : 2 * width] = 0
    assert torch.equal(scale.factors[0], expected)


def test_an_ablation_of_another_anatomy_is_refused():
    model = tiny_model()
    with pytest.raises(AblationError, match="made for another model"):
        compile_rows(model, [None, drawn(0)])
    with pytest.raises(AblationError, match="made for another model"), ablated(model, drawn(0)):
        pass
