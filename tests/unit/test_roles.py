"""Roles: shares, order, ties, thresholds and ranks, against a reference written unit by unit."""

import dataclasses
import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_scores import made_anatomy, made_scores

from ssah_core import Thresholds, assign_roles, assign_roles_by_thresholds
from ssah_core.errors import OptionError
from ssah_core.roles import ROLES, check_role, names_of

ANATOMY = made_anatomy()
TOKENS = ("all", "prompt", "response")
# Shares as people write them: at most three decimals, together at most 1.
shares = st.lists(st.integers(0, 1000), min_size=3, max_size=3).map(
    lambda parts: [part / 1000 if sum(parts) <= 1000 else part // 3 / 1000 for part in parts]
)


def exact_count(share: float, units: int) -> int:
    return math.floor(Decimal(str(share)) * units)


def reference_roles(scores, esu, euu, ru, tokens, kinds) -> list[str]:
    """METHOD 1.3, read aloud: RU first, then ESU, then EUU, then the rest."""
    view = scores.at(tokens)
    units = scores.anatomy.units
    roles = ["CU"] * units
    free = [n for n in range(units) if kinds == "both" or f".{kinds}." in scores.anatomy.name_of(n)]
    for role, share, key in (
        ("RU", ru, lambda n: view.safety[n] + view.utility[n]),
        ("ESU", esu, lambda n: -(view.safety[n] - view.utility[n])),
        ("EUU", euu, lambda n: -(view.utility[n] - view.safety[n])),
    ):
        for unit in sorted(free, key=lambda n: (key(n), n))[: exact_count(share, units)]:
            roles[unit] = role
            free.remove(unit)
    return roles


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    share=shares,
    levels=st.sampled_from([None, 2, 4]),
    tokens=st.sampled_from(TOKENS),
    kinds=st.sampled_from(["both", "mlp", "attn"]),
)
def test_roles_are_those_of_the_method(seed, share, levels, tokens, kinds):
    scores = made_scores(ANATOMY, seed, levels=levels)
    wanted = sum(exact_count(one, ANATOMY.units) for one in share)
    if wanted > ANATOMY.of_kind(kinds).sum():
        with pytest.raises(OptionError, match=f"kind '{kinds}'; lower the shares"):
            assign_roles(scores, *share, tokens=tokens, kinds=kinds)
        return
    roles = assign_roles(scores, *share, tokens=tokens, kinds=kinds)
    expected = reference_roles(scores, *share, tokens, kinds)
    assert [ROLES[code] for code in roles.vector] == expected
    assert roles.counts == {role: expected.count(role) for role in ROLES}


@settings(max_examples=200)
@given(thousandths=st.integers(0, 1000), heads=st.integers(1, 40), channels=st.integers(1, 400))
@example(thousandths=290, heads=4, channels=96)  # 0.29 * 100 is 28.999999999999996
def test_a_share_counts_the_floor_of_its_units(thousandths, heads, channels):
    anatomy = made_anatomy(1, heads, channels)
    scores = made_scores(anatomy, 0)
    share = thousandths / 1000
    for name, triple in (("ESU", (share, 0, 0)), ("EUU", (0, share, 0)), ("RU", (0, 0, share))):
        counts = assign_roles(scores, *triple).counts
        assert counts[name] == exact_count(share, anatomy.units)


def test_ties_go_by_index():
    scores = made_scores(ANATOMY, 0, levels=1)  # every unit alike
    roles = assign_roles(scores, 0.2, 0.2, 0.2)
    count = int(0.2 * ANATOMY.units)
    expected = ["RU"] * count + ["ESU"] * count + ["EUU"] * count
    expected += ["CU"] * (ANATOMY.units - 3 * count)
    assert [ROLES[code] for code in roles.vector] == expected


@pytest.mark.parametrize("kinds", ["mlp", "attn"])
def test_units_of_the_other_kind_stay_complex(kinds):
    roles = assign_roles(made_scores(ANATOMY, 1), 0.05, 0.05, 0.05, kinds=kinds)
    other = ~ANATOMY.of_kind(kinds)
    assert other.any()
    assert (roles.vector[other] == ROLES.index("CU")).all()
    assert roles.counts["ESU"] == int(0.05 * ANATOMY.units)


def test_which_tokens_count_changes_the_roles():
    scores = made_scores(ANATOMY, 2)
    vectors = {assign_roles(scores, 0.2, 0.2, 0.2, tokens=t).vector.tobytes() for t in TOKENS}
    assert len(vectors) == 3


# Thresholds


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    share=shares,
    tokens=st.sampled_from(TOKENS),
    kinds=st.sampled_from(["both", "mlp", "attn"]),
)
def test_thresholds_give_back_the_roles_that_they_came_from(seed, share, tokens, kinds):
    scores = made_scores(ANATOMY, seed)
    part = ANATOMY.of_kind(kinds).mean()
    roles = assign_roles(scores, *(one * part for one in share), tokens=tokens, kinds=kinds)
    again = assign_roles_by_thresholds(scores, roles.thresholds, tokens=tokens, kinds=kinds)
    assert np.array_equal(again.vector, roles.vector)
    assert again.shares is None


def test_thresholds_read_scores_and_not_counts():
    scores = made_scores(ANATOMY, 3)
    view = scores.at("all")
    cuts = Thresholds(esu=1.0, euu=1.5, ru=-1.0)
    roles = assign_roles_by_thresholds(scores, cuts, tokens="all")
    for unit, code in enumerate(roles.vector):
        difference, total = view.safety[unit] - view.utility[unit], view.total[unit]
        expected = "CU"
        if difference >= 1.0:
            expected = "ESU"
        if -difference >= 1.5:
            expected = "EUU"
        if total <= -1.0:
            expected = "RU"
        assert ROLES[code] == expected
    assert all(roles.counts.values())


def test_a_unit_above_both_cuts_takes_the_role_that_it_passes_by_more():
    scores = made_scores(ANATOMY, 4)
    cuts = Thresholds(esu=-9.0, euu=-9.0, ru=-np.inf)  # everything passes both
    roles = assign_roles_by_thresholds(scores, cuts)
    assert np.array_equal(roles.mask("ESU"), roles.view.difference >= 0)
    assert np.array_equal(roles.mask("EUU"), roles.view.difference < 0)


def test_no_threshold_of_infinity_is_ever_passed():
    roles = assign_roles(made_scores(ANATOMY, 5), 0, 0, 0)
    assert roles.thresholds == Thresholds(np.inf, np.inf, -np.inf)
    again = assign_roles_by_thresholds(roles.scores, roles.thresholds)
    assert again.counts["CU"] == ANATOMY.units


# Ranks and counts


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16), levels=st.sampled_from([None, 3]))
def test_ranks_put_the_strongest_first(seed, levels):
    roles = assign_roles(made_scores(ANATOMY, seed, levels=levels), 0.2, 0.2, 0.2)
    view = roles.view
    strength = {
        "ESU": view.safety - view.utility,
        "CU": view.safety - view.utility,
        "EUU": view.utility - view.safety,
        "RU": -(view.safety + view.utility),
    }
    for role in ROLES:
        units = [n for n in range(ANATOMY.units) if ROLES[roles.vector[n]] == role]
        expected = sorted(units, key=lambda n: (-strength[role][n], n))
        assert roles.ranked(role).tolist() == expected
        assert np.flatnonzero(roles.mask(role)).tolist() == units


def test_counts_by_layer_and_kind_add_up():
    roles = assign_roles(made_scores(ANATOMY, 6), 0.2, 0.2, 0.2)
    table = roles.by_layer
    assert table[list(ROLES)].sum().to_dict() == roles.counts
    assert table[["layer", "kind"]].to_numpy().tolist() == [
        [site.layer, site.kind] for site in ANATOMY.sites
    ]
    for row, site in zip(table.itertuples(), ANATOMY.sites, strict=True):
        assert sum(ROLES[code] == "ESU" for code in roles.vector[site.slice]) == row.ESU


def test_units_are_named_by_layer_kind_and_index():
    roles = assign_roles(made_scores(ANATOMY, 7), 0.1, 0.1, 0.1)
    names = names_of(roles, roles.ranked("ESU"))
    assert [ANATOMY.index_of(name) for name in names] == roles.ranked("ESU").tolist()


# Bad input


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_share_outside_0_to_1_is_refused(share, place):
    triple = [0.1, 0.1, 0.1]
    triple[place] = share
    with pytest.raises(OptionError, match=f"{('ESU', 'EUU', 'RU')[place]} is .* from 0 to 1"):
        assign_roles(made_scores(ANATOMY, 0), *triple)


def test_shares_that_sum_above_1_are_refused():
    scores = made_scores(ANATOMY, 0)
    with pytest.raises(OptionError, match=r"sum to more than 1 \(ESU 0.5 \+ EUU 0.4 \+ RU 0.2\)"):
        assign_roles(scores, 0.5, 0.4, 0.2)
    assert assign_roles(scores, 0.7, 0.2, 0.1).counts["CU"] <= 3


def test_a_word_that_is_no_role_is_refused():
    with pytest.raises(OptionError, match="'XYZ' is not a role; choose one of ESU, EUU, CU, RU"):
        check_role("XYZ")


def test_a_threshold_that_is_no_number_is_refused():
    roles = assign_roles(made_scores(ANATOMY, 0), 0.1, 0.1, 0.1)
    for name in ("esu", "euu", "ru"):
        broken = dataclasses.replace(roles.thresholds, **{name: np.nan})
        with pytest.raises(OptionError, match="threshold is not a number"):
            assign_roles_by_thresholds(roles.scores, broken)
