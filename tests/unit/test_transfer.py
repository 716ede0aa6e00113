"""Attribute transfer: every unit is counted once, by the first model's cut lines, beside chance."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_scores import made_anatomy, made_scores
from tiny_models import fresh_model, tiny_model, tiny_network, tiny_tokenizer

from ssah_core import assign_roles, assign_roles_by_thresholds, create_run, save_roles, score
from ssah_core.cli import main
from ssah_core.errors import Cancelled, ModelError, OptionError
from ssah_core.models.loading import load_model, wrap
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.roles import ROLES
from ssah_core.scoring.moments import Moments
from ssah_core.scoring.scores import TokenMoments
from ssah_core.stability import Blocks, measure_blocks
from ssah_core.training.transfer import (
    ORDER,
    Transfer,
    by_chance,
    markdown,
    moved_units,
    roles_again,
)

ANATOMY = made_anatomy()
VECTORS = st.lists(st.integers(0, 3), min_size=ANATOMY.units, max_size=ANATOMY.units).map(
    lambda codes: np.array(codes, dtype=np.uint8)
)
SHARES = st.tuples(*[st.floats(0, 0.33)] * 3)
SAFETY = PromptSet("bad", tuple(Prompt(f"do {n} now", "no" * (n % 3 + 1)) for n in range(9)))
UTILITY = PromptSet("good", tuple(Prompt(f"what is {n}", f"it is {n}") for n in range(9)))


def roles_of(model):
    return assign_roles(score(model, safety=SAFETY, utility=UTILITY), 0.15, 0.15, 0.2)


def changed_model(factor=3.0):
    """A model whose MLPs read a few of their inputs more strongly than the tiny one's."""

    def change(network):
        for layer in network.model.layers:
            layer.mlp.up_proj.weight.data[::5] *= factor

    return fresh_model(change=change)


@given(before=VECTORS, after=VECTORS)
def test_the_sums_are_the_counts_before_and_after_and_parts_sum_to_the_whole(before, after):
    transfer = Transfer.of(ANATOMY, before, after)
    whole = transfer.counts()
    assert whole.dtype == np.int64
    for place, role in enumerate(ORDER):
        assert whole[place].sum() == (before == ROLES.index(role)).sum()
        assert whole[:, place].sum() == (after == ROLES.index(role)).sum()
        for column, other in enumerate(ORDER):
            pair = (before == ROLES.index(role)) & (after == ROLES.index(other))
            assert whole[place, column] == pair.sum()
    assert np.array_equal(transfer.counts("mlp") + transfer.counts("attn"), whole)
    layers = [transfer.counts(layer=layer) for layer in range(ANATOMY.layers)]
    assert np.array_equal(sum(layers), whole)
    one = [transfer.counts(kind, 1) for kind in ("mlp", "attn")]
    assert np.array_equal(sum(one), layers[1])
    assert transfer.changed == pytest.approx((before != after).mean())
    assert transfer.by_layer["changed"].sum() == (before != after).sum()
    assert transfer.shares().sum() == pytest.approx(1)


@given(before=VECTORS, after=VECTORS)
def test_the_way_back_is_the_transpose(before, after):
    there, back = Transfer.of(ANATOMY, before, after), Transfer.of(ANATOMY, after, before)
    assert np.array_equal(there.by_site, back.by_site.transpose(0, 2, 1))


@given(seed=st.integers(0, 50), shares=SHARES)
def test_equal_roles_transfer_nothing(seed, shares):
    roles = assign_roles(made_scores(ANATOMY, seed), *shares)
    transfer = Transfer.between(roles, roles)
    assert np.array_equal(transfer.counts(), np.diag([roles.counts[role] for role in ORDER]))
    assert transfer.changed == 0
    assert moved_units(roles, roles).empty


@given(seed=st.integers(0, 50), site=st.integers(0, 5), power=st.integers(-4, 4))
def test_a_layer_whose_importances_all_grow_alike_moves_nothing(seed, site, power):
    """Cut lines lie on z-scores, which are taken within each layer and kind."""
    scores = made_scores(ANATOMY, seed)
    norms = scores.norms_squared.copy()
    norms[ANATOMY.channel_slices[site]] *= 2.0**power
    grown = dataclasses.replace(scores, norms_squared=norms)
    roles = assign_roles(scores, 0.1, 0.2, 0.15)
    again = assign_roles_by_thresholds(grown, roles.thresholds)
    assert Transfer.between(roles, again).changed == 0


def test_the_same_model_scored_again_has_the_same_roles_to_the_bit():
    roles = roles_of(tiny_model())
    again = roles_again(roles, tiny_model())
    assert np.array_equal(again.view.safety, roles.view.safety)
    assert np.array_equal(again.view.utility, roles.view.utility)
    assert np.array_equal(again.vector, roles.vector)


def test_a_changed_model_is_classified_by_the_first_ones_cut_lines():
    before = roles_of(tiny_model())
    after = roles_again(before, changed_model())
    assert after.scores.safety_prompts == before.scores.safety_prompts
    cuts, view = before.thresholds, after.view
    for unit, code in enumerate(after.vector):
        if view.total[unit] <= np.float32(cuts.ru):
            expected = "RU"
        elif view.difference[unit] >= np.float32(cuts.esu):
            expected = "ESU"
        elif -view.difference[unit] >= np.float32(cuts.euu):
            expected = "EUU"
        else:
            expected = "CU"
        assert ROLES[code] == expected
    assert after.counts != before.counts  # shares would have kept them
    moved = moved_units(before, after)
    assert len(moved) == (before.vector != after.vector).sum() > 0
    for row in moved.to_dict("records"):
        unit = before.scores.anatomy.index_of(row["unit"])
        assert row["from"] == ROLES[before.vector[unit]]
        assert row["to"] == ROLES[after.vector[unit]]
        assert row["safety_before"] == before.view.safety[unit]
        assert row["raw_utility_after"] == after.view.raw_utility[unit]


def test_models_that_cannot_be_compared_are_an_error():
    before = roles_of(tiny_model())
    with pytest.raises(ModelError, match="has other units"):
        roles_again(before, tiny_model("gpt2"))
    plain = wrap(
        tiny_network("llama"), tiny_tokenizer(chat_template=False), name="plain", fingerprint="p"
    )
    with pytest.raises(ModelError, match="the same tokenizer and chat template"):
        roles_again(before, plain)
    with pytest.raises(Cancelled):
        roles_again(before, tiny_model(), cancelled=lambda: True)


def test_the_table_is_the_papers():
    shares = np.array(
        [[7.38, 0, 0.05, 7.43], [0, 0.44, 0, 0.86], [0.01, 0, 12.14, 1.12], [0.05, 0, 1.32, 69.2]]
    )
    assert markdown(shares / 100).splitlines() == [
        "| before \\ after | RU | ESU | EUU | CU | sum |",
        "|---|---|---|---|---|---|",
        "| RU | 7.38 | 0.00 | 0.05 | 7.43 | 14.86 |",
        "| ESU | 0.00 | 0.44 | 0.00 | 0.86 | 1.30 |",
        "| EUU | 0.01 | 0.00 | 12.14 | 1.12 | 13.27 |",
        "| CU | 0.05 | 0.00 | 1.32 | 69.20 | 70.57 |",
        "| sum | 7.44 | 0.44 | 13.51 | 78.61 | 100.00 |",
    ]


def blocks_of(seed, count):
    some = [made_scores(ANATOMY, 100 * seed + n) for n in range(count)]
    return Blocks(tuple(one.safety for one in some), tuple(one.utility for one in some))


def drawn(parts, times):
    """The moments of blocks that come so many times each."""
    nothing = Moments(0, np.zeros(ANATOMY.channels), np.zeros(ANATOMY.channels))
    whole = TokenMoments(nothing, nothing)
    for part, count in zip(parts, times, strict=True):
        for _ in range(count):
            whole = TokenMoments(
                whole.prompt.merged(part.prompt), whole.response.merged(part.response)
            )
    return whole


@pytest.mark.parametrize("kinds", ["both", "mlp"])
def test_what_moves_by_chance_is_what_scoring_the_drawn_prompts_would_give(kinds):
    """Of two blocks there are three draws, so that all nine resamples can be scored one by one."""
    blocks, scores = blocks_of(1, 2), made_scores(ANATOMY, 1)
    scores = dataclasses.replace(
        scores, safety=drawn(blocks.safety, (1, 1)), utility=drawn(blocks.utility, (1, 1))
    )
    roles = assign_roles(scores, 0.2, 0.15, 0.2, kinds=kinds)
    draws = [(2, 0), (1, 1), (0, 2)]
    possible = []
    for safety in draws:
        for utility in draws:
            other = dataclasses.replace(
                scores,
                safety=drawn(blocks.safety, safety),
                utility=drawn(blocks.utility, utility),
            )
            after = assign_roles_by_thresholds(other, roles.thresholds, kinds=kinds)
            possible.append(Transfer.between(roles, after).by_site)
    found = by_chance(roles, blocks, resamples=60)
    seen = {
        tuple(place for place, one in enumerate(possible) if np.array_equal(one, sites))
        for sites in found.by_site
    }
    assert len(seen) > 5
    assert () not in seen


def test_the_mean_by_chance_keeps_the_counts_before_and_lies_within_its_interval():
    roles = assign_roles(made_scores(ANATOMY, 1), 0.2, 0.1, 0.15)
    chance = by_chance(roles, blocks_of(1, 6), resamples=50)
    for place, role in enumerate(ORDER):
        assert chance.mean.counts()[place].sum() == pytest.approx(roles.counts[role])
    assert chance.mean.changed == pytest.approx(chance.changed.mean())
    assert 0 < chance.mean.changed < 1
    low, high = chance.between
    assert (low <= high).all()
    assert np.array_equal(chance.by_site, by_chance(roles, blocks_of(1, 6), resamples=50).by_site)
    json.dumps(chance.as_json(), allow_nan=False)
    with pytest.raises(OptionError, match="resamples"):
        by_chance(roles, blocks_of(1, 6), resamples=0)
    with pytest.raises(Cancelled):
        by_chance(roles, blocks_of(1, 6), cancelled=lambda: True)


def test_blocks_of_a_real_model_give_a_chance_that_moves_some_units():
    roles = roles_of(tiny_model())
    chance = by_chance(roles, measure_blocks(tiny_model(), roles.scores), resamples=20)
    assert 0 < chance.mean.changed < 0.6


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, its run with roles, and a model that was trained from it."""
    folder = tmp_path_factory.mktemp("transfer")
    for name, model in (("first", tiny_model()), ("trained", changed_model())):
        model.network.save_pretrained(folder / name)
        tiny_tokenizer().save_pretrained(folder / name)
    first = load_model(folder / "first", device="cpu")
    roles = roles_of(first)
    save_roles(create_run(folder / "run", first, roles.scores), roles)
    create_run(folder / "bare", first, roles.scores)
    return folder


def words(place, *more, run="run", model="trained"):
    return [
        "transfer", "--run", str(place / run), "--model", str(place / model), "--device", "cpu",
        "--resamples", "10", *more,
    ]  # fmt: skip


def test_the_command_says_what_moved_beside_chance(place, tmp_path, capsys):
    out = tmp_path / "moved.json"
    assert main(words(place, "--json", "--out", str(out))) == 0
    said = json.loads(capsys.readouterr().out)
    before = roles_of(load_model(place / "first", device="cpu"))
    after = roles_again(before, load_model(place / "trained", device="cpu"))
    assert said["transfer"] == Transfer.between(before, after).as_json()
    assert said["roles_after"] == after.counts
    assert said["by_chance"]["resamples"] == 10
    kept = json.loads(out.read_text())
    moved = kept.pop("moved")
    assert kept == said
    assert [row["unit"] for row in moved] == moved_units(before, after)["unit"].tolist()


def test_the_command_prints_both_tables(place, capsys):
    assert main(words(place)) == 0
    shown = capsys.readouterr().out
    assert shown.count("| before \\ after | RU | ESU | EUU | CU | sum |") == 2
    assert "By chance, with nothing trained, over 10 resamples of the prompts" in shown


def test_chance_can_be_left_out_and_the_first_model_is_not_needed_then(place, capsys):
    assert main(words(place, "--resamples", "0", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["by_chance"] is None


def test_a_run_of_another_model_than_was_trained_is_noted(place, capsys, tmp_path):
    trained = shutil.copytree(place / "trained", tmp_path / "tuned")
    about = {
        "kind": "fine-tuned model",
        "model": {"name": "another", "fingerprint": "of another"},
        "prompts": {"prompts": 3},
        "frozen": None,
        "trained_only": None,
    }
    (trained / "manifest.json").write_text(json.dumps(about))
    assert main(words(place, "--resamples", "0", model=str(trained))) == 0
    assert "This model was trained from another, and the run is of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "names", "said"),
    [
        ([], {"run": "bare"}, "has no roles"),
        ([], {"run": "nowhere"}, "not a run folder"),
        ([], {"model": "nowhere"}, "nowhere"),
        (["--first", "organism:base"], {}, "weights differ"),
        (["--resamples", "-1"], {}, "resamples"),
        (["--out", "."], {}, "already exists"),
    ],
)
def test_what_cannot_be_is_one_sentence(place, capsys, more, names, said):
    assert main(words(place, *more, **names)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err.strip().splitlines()[-1]
