"""A probe as a folder: several series on the same prompts, told, compared, taken away and made again."""

import gc
import json
import shlex
import weakref

import numpy as np
import pandas as pd
import pytest
import tiny_probe
from tiny_models import tiny_network, tiny_tokenizer
from tiny_probe import ASKED, PLAN, lines, tiny

from ssah_core import open_run
from ssah_core.archives import pack, unpack
from ssah_core.cli import main
from ssah_core.errors import Cancelled, OptionError, PromptError, RunError
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.keeping import delete, find, list_kept, read_manifest
from ssah_core.manifest_words import in_words
from ssah_core.models.loading import load_model
from ssah_core.probes import direction, series
from ssah_core.probes.probe_folder import open_probe, run_probe
from ssah_core.probes.probe_tables import KeptProbe, parquet_of, prompt_table
from ssah_core.probes.series import Series
from ssah_core.probes.summary import View, compare_probes, summary
from ssah_core.reproduce import commands_of, python_of
from ssah_core.storage import sha256

place = tiny_probe.place  # the fixture


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
        ("--model organism:base --ablate ESU", "give the --run"),
        ("--model organism:base --random-seed 0", "give the --run"),
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
