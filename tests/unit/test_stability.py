"""How sure roles are: recombined blocks are the whole, and resamples treat ties and shares as roles do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_scores import made_anatomy, made_scores
from tiny_models import tiny_model

from ssah_core import assign_roles, score
from ssah_core.errors import Cancelled, OptionError
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.roles import ROLES
from ssah_core.scoring.scores import TokenMoments
from ssah_core.stability import Blocks, bootstrap, convergence, measure_blocks

FAMILIES = ["llama", "gpt2", "phi3"]


def prompts(name: str, count: int = 9) -> PromptSet:
    words = ["red", "blue", "stone", "box", "tree", "loud", "clock"]
    return PromptSet(
        name,
        tuple(
            Prompt(
                f"{name} {words[n % 7]} {words[(3 * n) % 7]}" + " and" * (n % 4),
                f"{words[-n % 7]} yes",
            )
            for n in range(count)
        ),
    )


def blocks_of(seed: int, anatomy, count: int = 6) -> Blocks:
    """Blocks with moments of their own: those of made scores."""
    some = [made_scores(anatomy, 100 * seed + n) for n in range(count)]
    return Blocks(tuple(one.safety for one in some), tuple(one.utility for one in some))


def joined(parts: tuple[TokenMoments, ...]) -> TokenMoments:
    whole = parts[0]
    for part in parts[1:]:
        whole = TokenMoments(whole.prompt.merged(part.prompt), whole.response.merged(part.response))
    return whole


@pytest.mark.parametrize("family", FAMILIES)
def test_the_blocks_together_are_the_scored_whole(family):
    model = tiny_model(family)
    scores = score(model, safety=prompts("harm"), utility=prompts("use"))
    blocks = measure_blocks(model, scores, blocks=4)
    assert len(blocks.safety) == len(blocks.utility) == 4
    for parts, whole in ((blocks.safety, scores.safety), (blocks.utility, scores.utility)):
        together = joined(parts)
        for group in ("prompt", "response"):
            found, expected = getattr(together, group), getattr(whole, group)
            assert found.count == expected.count
            np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(
                found.squared_deviations, expected.squared_deviations, rtol=1e-3, atol=1e-6
            )


@given(
    seed=st.integers(0, 50),
    tokens=st.sampled_from(["all", "prompt", "response"]),
    kinds=st.sampled_from(["both", "mlp"]),
)
def test_every_block_once_gives_the_roles_of_the_merged_moments(seed, tokens, kinds):
    """With one block there is one resample: the whole itself."""
    anatomy = made_anatomy()
    blocks = blocks_of(seed, anatomy, count=5)
    scores = made_scores(anatomy, seed)
    scores = type(scores)(
        **{
            name: getattr(scores, name)
            for name in ("model", "fingerprint", "anatomy", "norms_squared")
        },
        safety=joined(blocks.safety),
        utility=joined(blocks.utility),
        safety_prompts=scores.safety_prompts,
        utility_prompts=scores.utility_prompts,
    )
    roles = assign_roles(scores, 0.2, 0.1, 0.15, tokens=tokens, kinds=kinds)
    whole = Blocks((joined(blocks.safety),), (joined(blocks.utility),))
    found = bootstrap(roles, whole, resamples=3)
    assert (found.sure == 1).all()
    assert (found.overlaps == 1).all()


@given(seed=st.integers(0, 30), levels=st.sampled_from([1, 2, 3]))
def test_ties_go_by_index_as_in_the_roles(seed, levels):
    anatomy = made_anatomy()
    scores = made_scores(anatomy, seed, levels=levels)
    roles = assign_roles(scores, 0.2, 0.15, 0.2)
    found = bootstrap(roles, Blocks((scores.safety,), (scores.utility,)), resamples=2)
    assert (found.sure == 1).all()


def test_votes_are_shares_that_sum_to_one_and_every_resample_has_the_same_counts():
    anatomy = made_anatomy()
    roles = assign_roles(made_scores(anatomy, 1), 0.2, 0.1, 0.15)
    found = bootstrap(roles, blocks_of(1, anatomy), resamples=50)
    np.testing.assert_allclose(found.votes.sum(axis=0), 1, rtol=1e-6)
    for code, role in enumerate(ROLES):
        assert found.votes[code].sum() == pytest.approx(roles.counts[role], rel=1e-5)
    assert 0 < found.sure.mean() < 1
    assert (found.by_role["low"] <= found.by_role["jaccard"]).all()
    assert (found.by_role["jaccard"] <= found.by_role["high"]).all()


def test_the_same_seed_gives_the_same_and_another_seed_another():
    anatomy = made_anatomy()
    roles = assign_roles(made_scores(anatomy, 1), 0.2, 0.1, 0.15)
    first, same, other = (
        bootstrap(roles, blocks_of(1, anatomy), resamples=20, seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.votes, same.votes)
    assert not np.array_equal(first.votes, other.votes)


def test_more_prompts_bring_the_roles_nearer_to_those_of_all():
    model = tiny_model()
    scores = score(model, safety=prompts("harm", 40), utility=prompts("use", 40))
    roles = assign_roles(scores, 0.2, 0.1, 0.15)
    table = convergence(roles, measure_blocks(model, scores), draws=20)
    beside_all = table[table["beside"] == "all"].groupby("prompts")["jaccard"].mean()
    assert beside_all.iloc[-1] > beside_all.iloc[0]
    others = table[table["beside"] == "others"]
    assert others["prompts"].max() == 0.5


@pytest.mark.parametrize(("count", "blocks"), [(1, 4), (5, 1)])
def test_what_cannot_be_resampled_is_said(count, blocks):
    model = tiny_model()
    scores = score(model, safety=prompts("harm", count), utility=prompts("use", count))
    with pytest.raises(OptionError, match="at least two"):
        measure_blocks(model, scores, blocks=blocks)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"resamples": 1}, "give 2 to"), ({"resamples": 10**12}, "resamples"), ({"seed": -1}, "seed")],
)
def test_numbers_that_cannot_be_are_an_error(options, said):
    anatomy = made_anatomy()
    roles = assign_roles(made_scores(anatomy, 1), 0.2, 0.1, 0.15)
    with pytest.raises(OptionError, match=said):
        bootstrap(roles, blocks_of(1, anatomy), **options)


def test_resampling_can_be_stopped():
    anatomy = made_anatomy()
    roles = assign_roles(made_scores(anatomy, 1), 0.2, 0.1, 0.15)
    for work in (bootstrap, convergence):
        with pytest.raises(Cancelled):
            work(roles, blocks_of(1, anatomy), cancelled=lambda: True)
