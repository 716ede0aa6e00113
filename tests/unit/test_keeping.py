"""Runs and studies by name: renamed, deleted, packed and unpacked, and nothing else is ever touched."""

import io
import json
import zipfile

import pandas as pd
import pytest
from tiny_models import tiny_model

from ssah_core import (
    Prompt,
    PromptSet,
    archives,
    assign_roles,
    create_run,
    keeping,
    open_run,
    save_roles,
    score,
)
from ssah_core.archives import pack, unpack
from ssah_core.cli import main
from ssah_core.errors import RunError
from ssah_core.evaluation.plan import Plan
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.evaluation.study_folder import open_study, run_study
from ssah_core.keeping import delete, list_kept, rename
from ssah_core.reproduce import commands_of
from ssah_core.tables import csv_of

SAFETY = PromptSet("harmful file.csv", tuple(Prompt(f"do {n}", "no") for n in range(4)))
UTILITY = PromptSet("utility.jsonl", tuple(Prompt(f"what is {n}", f"it is {n}") for n in range(4)))
ASKED = Questions((Question("make 1", "1"),), (Question("say 1", "1"),))


@pytest.fixture(scope="module")
def scores():
    return score(tiny_model(), safety=SAFETY, utility=UTILITY)


@pytest.fixture
def root(tmp_path, scores):
    """A folder with one run, `mine`."""
    run = create_run(tmp_path / "runs" / "mine", tiny_model(), scores)
    save_roles(run, assign_roles(scores, 0.1, 0.1, 0.1))
    return tmp_path / "runs"


def own(root):
    """The runs that are listed, but for those that ship with the built-in models."""
    return [item.name for item in list_kept(root, "run") if not item.shipped]


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def zipped(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def test_a_run_comes_back_from_its_archive_bit_for_bit(root):
    archive = pack(root / "mine")
    assert pack(root / "mine") == archive
    unpack(root, "again", archive, "run")
    assert files_of(root / "again") == files_of(root / "mine")
    assert open_run(root / "again").roles is not None


def test_a_study_comes_back_from_its_archive(root, tmp_path):
    studies = tmp_path / "studies"
    run_study(studies / "s", tiny_model(), open_run(root / "mine"), ASKED, Plan(1, reply_tokens=2))
    unpack(studies, "t", pack(studies / "s"), "study")
    assert open_study(studies / "t").rows == open_study(studies / "s").rows
    with pytest.raises(RunError, match="holds a study, and a run was expected"):
        unpack(root, "t", pack(studies / "s"), "run")
    assert [item.kind for item in list_kept(studies, "study")] == ["study"] * 2
    assert own(studies) == []


def linked(files):
    info = zipfile.ZipInfo("roles-0123456789ab.parquet")
    info.external_attr = 0o120777 << 16
    content = io.BytesIO(zipped(files))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    return content.getvalue()


def changed(files):
    return {**files, "scores.safetensors": files["scores.safetensors"][:-1] + b"x"}


HOSTILE = {
    "a path upwards": lambda files: zipped({**files, "../out.json": b"{}"}),
    "an absolute path": lambda files: zipped({**files, "/tmp/out.json": b"{}"}),
    "a folder": lambda files: zipped({**files, "deeper/out.json": b"{}"}),
    "a program": lambda files: zipped({**files, "run.py": b"print()"}),
    "a hidden file": lambda files: zipped({**files, ".json": b"{}"}),
    "a file that no manifest names": lambda files: zipped({**files, "more.json": b"{}"}),
    "a link": linked,
    "damaged scores": lambda files: zipped(changed(files)),
    "a missing file": lambda files: zipped({k: v for k, v in files.items() if k[0] != "s"}),
    "no manifest": lambda files: zipped({"scores.safetensors": b""}),
    "no zip": lambda files: b"PK but not really",
    "half a zip": lambda files: zipped(files)[:-200],
    "a list for a manifest": lambda files: zipped({**files, "manifest.json": b"[]"}),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_archive_is_one_sentence_and_leaves_nothing(root, attack):
    before = sorted(path.name for path in root.iterdir())
    archive = HOSTILE[attack](files_of(root / "mine"))
    with pytest.raises(RunError) as caught:
        unpack(root, "new", archive, "run")
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in root.iterdir()) == before
    assert not (root.parent / "out.json").exists()


def test_an_archive_that_swells_is_stopped_by_what_it_really_holds(root, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 10_000)
    archive = zipped({"manifest.json": b" " * 1_000_000})
    assert len(archive) < 10_000
    with pytest.raises(RunError, match="larger than 1 GB"):
        unpack(root, "new", archive, "run")


def test_names_never_reach_out_of_the_folder(root):
    for name in ("../out", "/tmp/out", ".hidden", "", "a/b", "organism:planted"):
        for action in (
            lambda name=name: rename(root, "mine", name),
            lambda name=name: delete(root, name),
            lambda name=name: unpack(root, name, pack(root / "mine"), "run"),
        ):
            with pytest.raises(RunError):
                action()
    assert own(root) == ["mine"]


def test_a_run_gets_another_name_unless_it_is_taken(root):
    unpack(root, "other", pack(root / "mine"), "run")
    with pytest.raises(RunError, match="already exists"):
        rename(root, "mine", "other")
    rename(root, "mine", "a better name")
    assert set(own(root)) == {"a better name", "other"}
    with pytest.raises(RunError, match="no run or study"):
        rename(root, "mine", "x")


def test_a_deleted_run_is_gone_and_so_is_stopped_work(root):
    (root / ".half.partial").mkdir()
    (root / ".half.partial" / "checkpoint.json").write_text("{}")
    assert own(root) == ["mine", "half"]
    assert [item.finished for item in list_kept(root, "run")][-2:] == [True, False]
    delete(root, "half", finished=False)
    delete(root, "mine")
    assert list(root.iterdir()) == []
    with pytest.raises(RunError, match="any more"):
        delete(root, "mine")


def test_a_manifest_gives_the_commands_that_made_it(root, tmp_path):
    said = commands_of(keeping.read_manifest(root / "mine"), "mine")
    assert "--safety 'harmful file.csv'" in said
    assert "roles --run runs/mine --esu 0.1 --euu 0.1 --ru 0.1 --tokens prompt --kinds both" in said
    plan = Plan(1, ("zero", "mean"), (0.05,), "Be kind.", 2)
    run_study(tmp_path / "s", tiny_model(), open_run(root / "mine"), ASKED, plan)
    said = commands_of(keeping.read_manifest(tmp_path / "s"), "s")
    for part in ("--controls 1", "--fills zero,mean", "--shares 0.05", "--system 'Be kind.'"):
        assert part in said


def test_the_command_lists_renames_packs_and_deletes(root, tmp_path, capsys):
    def runs(*arguments):
        assert main(["runs", *arguments, "--root", str(root), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert [item["name"] for item in runs("list")["items"]][3:] == ["mine"]
    assert "score --model" in runs("show", "mine")["commands"]
    runs("export", "mine", str(tmp_path / "mine.zip"))
    runs("import", "back", str(tmp_path / "mine.zip"))
    runs("rename", "back", "front")
    runs("delete", "mine")
    assert [item["name"] for item in runs("list")["items"]][3:] == ["front"]
    assert main(["runs", "delete", "mine", "--root", str(root)]) == 2
    assert "any more" in capsys.readouterr().err
    assert main(["runs", "list", "--root", str(root)]) == 0
    assert "front" in capsys.readouterr().out
    assert main(["runs", "show", "front", "--root", str(root)]) == 0
    assert "python -m ssah_core score" in capsys.readouterr().out


def test_no_cell_of_a_csv_is_a_formula():
    table = pd.DataFrame(
        {"=x": ["=1+1", "@a", "-b", "+c", "\td", "plain"], "n": [-1.5, 2, 3, 4, 5, 6]}
    )
    lines = csv_of(table).decode().splitlines()
    assert lines[0] == "'=x,n"
    assert lines[1] == "'=1+1,-1.5"
    assert all(line[0] in "'\"p" for line in lines)
