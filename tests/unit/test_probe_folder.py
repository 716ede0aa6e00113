"""A probe as a folder: several series on the same prompts, told, compared, taken away and made again."""

import gc
import json
import shlex
import weakref
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_model, tiny_network, tiny_tokenizer

from ssah_core import Prompt, PromptSet, assign_roles, create_run, open_run, save_roles, score
from ssah_core.archives import pack, unpack
from ssah_core.cli import main
from ssah_core.errors import Cancelled, OptionError, PromptError, RunError
from ssah_core.evaluation.metrics import by_subject
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.keeping import delete, find, list_kept, read_manifest
from ssah_core.manifest_words import in_words
from ssah_core.models.loading import load_model
from ssah_core.probe_figures import (
    distance_by_block,
    distance_by_length,
    nearer_shares,
    prompt_curves,
    short_label,
)
from ssah_core.probes import direction, series
from ssah_core.probes.continuations import INTENTS, Continuations
from ssah_core.probes.direction import Direction
from ssah_core.probes.probe_folder import open_probe, run_probe
from ssah_core.probes.probe_tables import KeptProbe, KeptSeries, parquet_of, prompt_table
from ssah_core.probes.series import ProbePlan, Series
from ssah_core.probes.summary import (
    LEANS,
    View,
    compare_probes,
    leaning,
    mean_by_block,
    mean_by_length,
    nearer,
    share,
    summary,
)
from ssah_core.reproduce import commands_of, python_of
from ssah_core.storage import sha256

WORDS = Continuations(("Sorry, I can't.", "No, I won't do"), ("Here's how",), ("The sky is",))
PLAN = ProbePlan(WORDS, (2, 4))
ASKED = Questions(
    harmful=tuple(Question(f"make {n}", f"thing {n // 2}") for n in range(6)),
    harmless=tuple(Question(f"say {n}", f"word {n // 2}") for n in range(4)),
)


@contextmanager
def tiny(name):
    yield tiny_model(name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run of a tiny model, and a probe of three series, `p`."""
    folder = tmp_path_factory.mktemp("place")
    sets = [PromptSet(name, tuple(Prompt(f"{name} {n}", "a") for n in range(4))) for name in "xy"]
    scores = score(tiny_model(), safety=sets[0], utility=sets[1])
    run = create_run(folder / "runs" / "mine", tiny_model(), scores)
    save_roles(run, assign_roles(scores, 0.1, 0.1, 0.1))
    run_probe(folder / "studies" / "p", lines(folder), ASKED, PLAN, open_model=tiny)
    return folder


def lines(folder):
    run = str(folder / "runs" / "mine")
    return [Series("llama"), Series("gpt2"), Series("llama", run, ("ESU", "L0.attn.1"))]


def made_up(values, subjects, lengths=(2,)):
    """A probe whose distances are given: [intents, prompts], the same in two blocks."""
    shaped = np.repeat(np.float32(values)[:, :, None, None], 2, axis=3)
    found = Direction(lengths, "last", shaped, 2 * shaped)
    half = len(subjects) // 2
    groups = ["harmful"] * half + ["harmless"] * (len(subjects) - half)
    prompts = pd.DataFrame({"group": groups, "subject": subjects, "prompt": subjects})
    return KeptProbe({}, prompts, (KeptSeries("organism:base", {}, found),))


# What it comes to


@given(st.lists(st.tuples(*[st.floats(0, 2, width=32)] * 3), min_size=2, max_size=12))
def test_exchanging_the_words_exchanges_the_shares(values):
    rows = np.array(values).T
    one = made_up(rows, [str(n) for n in range(len(values))]).series[0].direction
    other = made_up(rows[[1, 0, 2]], [str(n) for n in range(len(values))]).series[0].direction
    assert np.array_equal(nearer(one, View()), nearer(other, View(), "malicious", "benign"))
    both = nearer(one, View()) & nearer(other, View())
    assert not both.any()


def test_a_share_counts_prompts_and_its_interval_goes_by_subject_where_subjects_repeat():
    hits = np.array([True, True, True, False])
    alone = share(hits, ["a", "b", "c", "d"])
    assert (alone.value, alone.n) == (0.75, 4)
    assert alone.low == pytest.approx(0.3006, abs=1e-3)  # Wilson's
    together = share(hits, ["a", "a", "a", "b"])
    assert (together.low, together.high) == (0.0, 1.0)


def test_mean_curves_have_the_intervals_of_their_columns(place):
    kept = open_probe(place / "studies" / "p")
    one, rows = kept.series[0], kept.rows("harmful")
    subjects = kept.prompts["subject"].iloc[rows].tolist()
    found = mean_by_block(kept, one, "harmful", "neutral", View("euclidean", 2))
    for block in range(2):
        values = one.direction.euclidean[2, rows, 0, block].astype(np.float64)
        alone = by_subject(values[None], subjects)
        got = (found.value[block], found.low[block], found.high[block])
        assert got == pytest.approx((alone.value, alone.low, alone.high))
    along = mean_by_length(kept, one, "harmful", "neutral", View("euclidean", block=1))
    assert along.value[0] == pytest.approx(found.value[1])
    assert len(along.value) == 2


def test_leaning_compares_prompts_and_does_not_see_what_all_words_share():
    benign = [0.1, 0.2, 0.3, 0.9, 0.9, 0.9]
    kept = made_up([benign, [0.5] * 6, [1.0] * 6], list("abcdef"))
    found = leaning(kept, kept.series[0], "harmful", View())
    assert (found.value, found.low, found.high, found.n) == (1.0, 1.0, 1.0, 3)
    shifted = made_up([benign, [2.0] * 6, [1.0] * 6], list("abcdef"))
    assert nearer(shifted.series[0].direction, View()).all()
    assert leaning(shifted, shifted.series[0], "harmful", View()).value == 1.0
    same = made_up([[0.5] * 6, [0.5] * 6, [1.0] * 6], list("abcdef"))
    assert leaning(same, same.series[0], "harmful", View()).value == 0.5


@settings(max_examples=15)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0])] * 3), min_size=4, max_size=9))
def test_leaning_is_the_share_of_pairs_with_ties_as_halves(values):
    rows = np.array(values).T
    kept = made_up(rows, [f"thing {n // 2}" for n in range(len(values))])
    leans, half = rows[1] - rows[0], len(values) // 2
    pairs = [(a > b) + 0.5 * (a == b) for a in leans[:half] for b in leans[half:]]
    found = leaning(kept, kept.series[0], "harmful", View())
    assert found.value == pytest.approx(np.mean(pairs))
    assert 0 <= found.low <= found.high <= 1


def test_the_summary_has_a_row_for_every_series_and_group(place):
    kept = open_probe(place / "studies" / "p")
    rows = summary(kept, View("euclidean", 2, 1))
    assert len(rows) == 3 * 2
    first = rows[0]["figures"]
    own = kept.series[0].direction.euclidean[:, :6, 0, 1]
    assert first["nearer benign than malicious"].value == pytest.approx((own[0] < own[1]).mean())
    assert first["distance to neutral"].value == pytest.approx(own[2].mean())
    assert [LEANS in row["figures"] for row in rows] == [True, False] * 3
    for view in (View(block=2), View(length=3)):
        with pytest.raises(OptionError, match="choose one"):
            summary(kept, view)


# The folder


def test_a_probe_comes_back_as_it_was_made(place, tmp_path):
    made = run_probe(tmp_path / "p", lines(place), ASKED, PLAN, open_model=tiny)
    kept = open_probe(tmp_path / "p")
    assert kept.prompts.equals(prompt_table(ASKED))
    assert [one.label for one in kept.series] == [
        "llama",
        "gpt2",
        "llama, ESU and L0.attn.1 of mine off",
    ]
    for one, other in zip(made.series, kept.series, strict=True):
        assert np.array_equal(one.direction.cosine, other.direction.cosine)
        assert np.array_equal(one.direction.euclidean, other.direction.euclidean)
    first, _, off = (one.direction.cosine for one in kept.series)
    assert not np.array_equal(first, off)
    said = " ".join(in_words(kept.manifest))
    assert "The reasoning direction of llama; gpt2;" in said
    assert "after 2, 4 tokens more" in said


def test_a_random_control_is_as_large_and_another_set(place, tmp_path):
    run = str(place / "runs" / "mine")
    both = [Series("llama", run, ("ESU",)), Series("llama", run, ("ESU",), 3)]
    kept = run_probe(tmp_path / "p", both, ASKED, PLAN, open_model=tiny)
    units = [one.about["units"] for one in kept.series]
    assert units[0] == units[1] == open_run(run).roles.counts["ESU"]
    assert not np.array_equal(*(one.direction.cosine for one in kept.series))


def test_what_cannot_be_is_said_before_a_model_is_opened(place, tmp_path):
    def never(name):
        raise AssertionError("a model was opened")

    run = str(place / "runs" / "mine")
    leaking = Questions((Question("x 1", "x"),), ASKED.harmless)
    bad = [
        ([], ASKED, OptionError, "nothing to probe"),
        ([Series("llama")], Questions((), ()), OptionError, "no prompt"),
        ([Series("llama", "nowhere", ("ESU",))], ASKED, RunError, "not a run folder"),
        ([Series("llama", run, ("ESU",))], leaking, PromptError, "the units were scored on"),
    ]
    for chosen, asked, error, said in bad:
        with pytest.raises(error, match=said):
            run_probe(tmp_path / "p", chosen, asked, PLAN, open_model=never)
    for options in (("llama", run), ("llama", None, ("ESU",)), ("llama", None, (), 3)):
        with pytest.raises(OptionError):
            Series(*options)
    with pytest.raises(RunError, match="already exists"):
        run_probe(place / "studies" / "p", [Series("llama")], ASKED, open_model=never)
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_another_model_is_one_sentence_and_leaves_no_probe(place, tmp_path):
    other = [Series("gpt2", str(place / "runs" / "mine"), ("ESU",))]
    with pytest.raises(RunError, match="whose weights differ"):
        run_probe(tmp_path / "p", other, ASKED, PLAN, open_model=tiny)
    assert not (tmp_path / "p").exists()


def test_a_probe_that_was_stopped_measures_nothing_twice(place, tmp_path, monkeypatch):
    calls = []

    def counted(*given, real=direction._of_prompts):
        calls.append(1)
        return real(*given)

    monkeypatch.setattr(direction, "_of_prompts", counted)
    monkeypatch.setattr(direction, "_MOST_TOKENS", 100)
    whole = run_probe(tmp_path / "whole", lines(place), ASKED, PLAN, open_model=tiny)
    needed, reports = len(calls), []
    calls.clear()
    with pytest.raises(Cancelled, match="the work so far was kept"):
        run_probe(
            tmp_path / "p",
            lines(place),
            ASKED,
            PLAN,
            open_model=tiny,
            cancelled=lambda: len(calls) > needed // 2,
            report=reports.append,
        )
    assert reports[0].stage == "probing llama"
    [item] = [item for item in list_kept(tmp_path, "probe") if not item.finished]
    assert (item.name, item.kind, item.model) == ("p", "probe", "llama")
    assert item.again.startswith("python -m ssah_core roles")
    assert "ssah_core probe --model llama --model gpt2 --run" in item.again
    assert [item for item in list_kept(tmp_path, "study") if not item.finished] == []
    kept = run_probe(tmp_path / "p", lines(place), ASKED, PLAN, open_model=tiny)
    assert len(calls) <= needed + 1  # the batch in which it was stopped is done again
    for one, other in zip(kept.series, whole.series, strict=True):
        assert np.array_equal(one.direction.cosine, other.direction.cosine)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_one_model_is_in_memory_at_a_time(tmp_path, monkeypatch):
    alive, most = weakref.WeakSet(), []

    def watched(name, **options):
        gc.collect()
        most.append(len(alive))
        model = load_model(name, **options)
        alive.add(model)
        return model

    monkeypatch.setattr(series, "load_model", watched)
    few = Questions(ASKED.harmful[:1], ASKED.harmless[:1])
    run_probe(tmp_path / "p", [Series(f"organism:{n}") for n in ("base", "planted")], few)
    assert most == [0, 0]


# Kept as runs and studies are


def test_a_probe_is_listed_packed_taken_in_and_deleted(place, tmp_path):
    studies = place / "studies"
    assert [item.name for item in list_kept(studies, "study", "probe")] == ["p"]
    assert list_kept(studies, "study") == []
    with pytest.raises(RunError, match="is a probe, and a study was expected"):
        find(studies, "p", "study")
    archive = pack(studies / "p")
    assert pack(studies / "p") == archive
    with pytest.raises(RunError, match="holds a probe, and a run was expected"):
        unpack(tmp_path, "q", archive, "run")
    unpack(tmp_path, "q", archive, "study", "probe")
    assert pack(tmp_path / "q") == archive
    delete(tmp_path, "q")
    assert list(tmp_path.iterdir()) == []


def spoil_order(table):
    return table.iloc[::-1]


def spoil_count(table):
    return table.iloc[:-1]


def spoil_number(table):
    return table.assign(cosine=np.float32(np.nan))


def spoil_sign(table):
    return table.assign(euclidean=-table["euclidean"])


@pytest.mark.parametrize("spoil", [spoil_order, spoil_count, spoil_number, spoil_sign])
def test_a_probe_whose_distances_do_not_fit_is_not_taken_in(place, tmp_path, spoil):
    folder = tmp_path / "from"
    unpack(tmp_path, "from", pack(place / "studies" / "p"), "probe")
    table = spoil(pd.read_parquet(folder / "distances.parquet"))
    (folder / "distances.parquet").write_bytes(parquet_of(table))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["distances.parquet"] = sha256((folder / "distances.parquet").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="damaged"):
        unpack(tmp_path, "to", pack(folder), "probe")
    assert not (tmp_path / "to").exists()


def test_a_damaged_or_foreign_folder_is_one_sentence(place, tmp_path):
    with pytest.raises(RunError, match="is no probe"):
        open_probe(place / "runs" / "mine")
    unpack(tmp_path, "q", pack(place / "studies" / "p"), "probe")
    (tmp_path / "q" / "prompts.parquet").write_bytes(b"other")
    with pytest.raises(RunError, match=r"prompts\.parquet is damaged"):
        open_probe(tmp_path / "q")


def test_two_probes_are_compared_figure_by_figure(place):
    kept = open_probe(place / "studies" / "p")
    less = KeptProbe(kept.manifest, kept.prompts, kept.series[:1])
    table = compare_probes(less, kept)
    both = table.dropna()
    assert set(both["series"]) == {"llama"}
    assert (both["difference"] == 0).all()
    assert table["one"].isna().sum() == 2 * len(both)


# The command, and the way back from a manifest


@pytest.fixture
def here(place, monkeypatch):
    """The commands' folder, with two saved models, a run of one, prompt files and a probe of all."""
    monkeypatch.chdir(place)
    if not (place / "model a").exists():
        for name, seed in (("model a", 0), ("model b", 1)):
            tiny_network("llama", seed).save_pretrained(place / name)
            tiny_tokenizer().save_pretrained(place / name)
        for name, verb in (("harmful", "make"), ("harmless", "say"), ("s", "do"), ("u", "tell")):
            rows = "".join(f"{verb} {n}\n" for n in range(5))
            (place / f"{name}.csv").write_text("prompt\n" + rows)
        assert main(shlex.split(SCORE)) == 0
        assert main(shlex.split("roles --run runs/a --esu 0.1 --euu 0.1 --ru 0.1")) == 0
        assert main(shlex.split(COMMAND + " --out studies/all")) == 0
    return place


SCORE = "score --model 'model a' --safety s.csv --utility u.csv --limit 2 --device cpu --out runs/a"
COMMAND = (
    "probe --model 'model a' --model 'model b' --run runs/a --ablate ESU,L1.mlp.3 --random-seed 5 "
    "--harmful harmful.csv --harmless harmless.csv --limit 3 --benign No. --benign Never. "
    "--lengths 2,3 --position mean --device cpu"
)


def same_distances(one, other):
    for a, b in zip(open_probe(one).series, open_probe(other).series, strict=True):
        assert a.label == b.label
        assert np.array_equal(a.direction.cosine, b.direction.cosine)


def test_the_manifest_gives_the_commands_and_the_python_that_make_it_again(here):
    manifest = read_manifest(here / "studies" / "all")
    for line in commands_of(manifest, "by command").splitlines():
        assert main(shlex.split(line)[3:]) == 0
    same_distances(here / "studies" / "all", here / "studies" / "by command")
    exec(python_of(manifest, "by python"), {})
    same_distances(here / "studies" / "all", here / "studies" / "by python")


def test_the_command_prints_the_summary(here, capsys):
    assert (
        main(shlex.split(COMMAND + " --distance euclidean --block 1 --out studies/x --json")) == 0
    )
    said = json.loads(capsys.readouterr().out)
    kept = open_probe(here / "studies" / "x")
    expected = summary(kept, View("euclidean", block=1))
    assert len(said["rows"]) == len(expected) == 4 * 2
    assert said["lengths"] == [2, 3]
    for row, known in zip(said["rows"], expected, strict=True):
        assert row["figures"] == {k: v.as_json() for k, v in known["figures"].items()}
    assert main(["runs", "list", "--studies"]) == 0
    assert "probe  model a" in capsys.readouterr().out
    assert main(["runs", "compare", "all", "x", "--studies"]) == 0
    assert "nearer benign than malicious" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "nothing to probe"),
        ("--model organism:base --lengths 2,8", "at most 6"),
        ("--model organism:base --lengths two", "no list of lengths"),
        ("--model organism:base --distance far", "distance='far' is not a choice"),
        ("--model organism:base --position first", "position='first' is not a choice"),
        ("--run organism:planted --ablate ABC", "ABC"),
        ("--model 'model a'", "no questions of its own"),
        ("--model nowhere --harmful harmful.csv --harmless harmless.csv", "There is no model"),
    ],
)
def test_what_the_command_cannot_do_is_one_sentence(here, options, said, capsys):
    assert main(shlex.split(f"probe {options} --limit 2 --out studies/never")) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not (here / "studies" / "never").exists()


# Figures


def test_every_series_has_a_panel_and_all_have_one_scale(place):
    kept = open_probe(place / "studies" / "p")
    for figure in (
        distance_by_block(kept, "harmful", View()),
        distance_by_length(kept, "harmless", View("euclidean", block=1)),
    ):
        drawn = [trace for trace in figure.data if trace.mode == "lines+markers"]
        assert len(drawn) == len(kept.series) * len(INTENTS)
        assert sum(bool(trace.showlegend) for trace in drawn) == len(INTENTS)
        axes = {trace.yaxis for trace in drawn}
        assert len(axes) == len(kept.series)
        scales = {figure.layout[f"yaxis{axis[1:]}"].matches or axis for axis in axes}
        assert len(scales) == 1
    values = mean_by_block(kept, kept.series[1], "harmful", "malicious", View()).value
    assert np.allclose(distance_by_block(kept, "harmful", View()).data[9].y, values)


def test_shares_are_drawn_with_their_intervals_and_one_prompt_with_its_distances(place):
    kept = open_probe(place / "studies" / "p")
    rows = summary(kept, View())
    figure = nearer_shares(rows)
    assert [trace.name for trace in figure.data] == ["harmful", "harmless"]
    measured = rows[0]["figures"]["nearer benign than malicious"]
    assert figure.data[0].x[0] == pytest.approx(100 * measured.value)
    assert figure.data[0].error_x.array[0] == pytest.approx(100 * (measured.high - measured.value))
    one = prompt_curves(kept.series[0], 3, View(length=2))
    assert np.allclose(one.data[1].y, kept.series[0].direction.cosine[1, 3, 0])


def test_labels_are_short_and_inert():
    assert short_label("organism:planted, ESU off") == "planted, ESU off"
    assert short_label("/a/b/my model, ESU off") == "my model, ESU off"
    kept = made_up([[0.1, 0.2]] * 3, ["a", "b"])
    odd = KeptSeries("<b>x</b>", {}, kept.series[0].direction)
    figure = distance_by_block(KeptProbe({}, kept.prompts, (odd,)), "harmful", View())
    assert figure.layout.annotations[0].text == "b&gt;"
    assert "<b>" not in figure.layout.annotations[0].text
