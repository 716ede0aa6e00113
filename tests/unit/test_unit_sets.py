"""Sets of units to freeze or to train alone."""

import numpy as np
import pytest
from made_scores import made_anatomy, made_scores

from ssah_core.errors import AblationError, OptionError
from ssah_core.roles import assign_roles
from ssah_core.training.unit_sets import UnitSet


@pytest.fixture
def roles():
    return assign_roles(made_scores(made_anatomy(), 0), 0.1, 0.1, 0.2)


def test_a_set_holds_the_units_of_its_roles(roles):
    chosen = UnitSet.of(roles, ["esu", "RU"], run="runs/mine")
    assert np.array_equal(chosen.mask, roles.mask("ESU") | roles.mask("RU"))
    said = chosen.as_json()
    assert said["roles"] == ["ESU", "RU"]
    assert said["counts"] == {**roles.counts, "EUU": 0, "CU": 0}
    assert said["units"] == chosen.count == said["attn"] + said["mlp"]
    assert said["run"] == "runs/mine"


def test_the_strongest_cu_are_a_share_of_all_units_by_their_difference(roles):
    anatomy = roles.scores.anatomy
    chosen = UnitSet.of(roles, [], strongest_cu=0.1)
    assert chosen.count == int(0.1 * anatomy.units)
    assert not (chosen.mask & ~roles.mask("CU")).any()
    rest = roles.mask("CU") & ~chosen.mask
    assert roles.view.difference[chosen.mask].min() >= roles.view.difference[rest].max()


def test_more_cu_than_there_are_is_all_of_them(roles):
    assert np.array_equal(UnitSet.of(roles, [], strongest_cu=1).mask, roles.mask("CU"))


def test_random_units_are_as_many_of_the_same_kinds_and_say_what_they_are_like(roles):
    other = UnitSet.of(roles, ["ESU"])
    drawn = UnitSet.random_like(other, seed=1)
    assert drawn.count == other.count
    assert not np.array_equal(drawn.mask, other.mask)
    assert np.array_equal(drawn.mask, UnitSet.random_like(other, seed=1).mask)
    assert not np.array_equal(drawn.mask, UnitSet.random_like(other, seed=2).mask)
    assert drawn.as_json()["like"]["roles"] == ["ESU"]
    assert drawn.as_json()["random_seed"] == 1


def test_words_that_are_no_roles_and_shares_that_are_none_are_refused(roles):
    with pytest.raises(OptionError, match="'SU' is not a role"):
        UnitSet.of(roles, ["SU"])
    with pytest.raises(OptionError, match=r"share of CU is 1\.5"):
        UnitSet.of(roles, [], strongest_cu=1.5)
    with pytest.raises(AblationError, match="seed is -1"):
        UnitSet.random_like(UnitSet.of(roles, ["ESU"]), seed=-1)
