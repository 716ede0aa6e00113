"""Runs and studies by name: renamed, deleted, packed and unpacked, and nothing else is ever touched."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from tiny_models import tiny_model

from ssah_core import (
    Prompt,
    PromptSet,
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
from ssah_core.evaluation.study_folder import run_study
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
    with pytest.raises(RunError, match="Nothing is kept here as 'mine'"):
        rename(root, "mine", "x")


@pytest.mark.parametrize("round_", range(5))
def test_of_two_who_take_one_name_at_once_one_is_told_and_nothing_is_lost(root, round_):
    unpack(root, "other", pack(root / "mine"), "run")
    archive, start = pack(root / "mine"), threading.Barrier(3)

    def tried(action):
        start.wait()
        try:
            action()
        except RunError as error:
            return str(error)
        return None

    actions = [
        lambda: rename(root, "mine", "best"),
        lambda: rename(root, "other", "best"),
        lambda: unpack(root, "best", archive, "run"),
    ]
    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(tried, actions))
    assert said.count(None) == 1
    assert all("already exists" in text for text in said if text)
    assert open_run(root / "best").roles is not None
    left = {"mine", "other"} - {("mine", "other", "")[said.index(None)]}
    assert {path.name for path in root.iterdir()} == {"best", *left}


def test_saving_roles_into_a_run_that_was_deleted_is_one_sentence(root):
    run = open_run(root / "mine")
    delete(root, "mine")
    with pytest.raises(RunError, match="cannot be written"):
        save_roles(run, assign_roles(run.scores, 0.2, 0.1, 0.1))
    assert list(root.iterdir()) == []


def test_a_folder_that_is_no_run_is_never_deleted_or_renamed(root):
    (root / "letters").mkdir()
    (root / "letters" / "dear.txt").write_text("dear")
    for action in (lambda: delete(root, "letters"), lambda: rename(root, "letters", "x")):
        with pytest.raises(RunError, match="Nothing is kept here as 'letters'"):
            action()
    assert (root / "letters" / "dear.txt").read_text() == "dear"


def test_deleting_a_link_leaves_what_it_leads_to(root, tmp_path):
    (root / "mine").rename(tmp_path / "elsewhere")
    (root / "mine").symlink_to(tmp_path / "elsewhere")
    delete(root, "mine")
    assert list(root.iterdir()) == []
    assert open_run(tmp_path / "elsewhere").roles is not None


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, '{"model": 3}'])
def test_a_run_with_a_damaged_manifest_is_not_listed_and_can_be_deleted(root, content):
    (root / "mine" / "manifest.json").write_text(content)
    assert own(root) == []
    delete(root, "mine")
    assert list(root.iterdir()) == []


def test_the_command_compares_two(root, capsys):
    arguments = ["runs", "compare", "mine", "organism:planted", "--root", str(root)]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same_model"] is False
    assert main(["runs", "compare", "organism:base", "organism:planted"]) == 0
    assert "in both" in capsys.readouterr().out
    assert main(["runs", "compare", "mine", "gone", "--root", str(root)]) == 2
    assert "Nothing is kept here as 'gone'" in capsys.readouterr().err


@pytest.mark.parametrize("action", [["rename", "x"], ["delete"], ["import"]])
def test_the_command_leaves_shipped_runs_as_they_are(tmp_path, capsys, monkeypatch, action):
    monkeypatch.chdir(tmp_path)
    verb, *more = action
    before = ["x.zip"] if verb == "import" else []
    assert main(["runs", verb, *before, "organism:planted", *more]) == 2
    assert "stays as it is" in capsys.readouterr().err
    assert main(["runs", "export", "organism:planted", "planted.zip"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["planted.zip"]


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
    runs("import", str(tmp_path / "mine.zip"), "back")
    runs("rename", "back", "front")
    runs("delete", "mine")
    assert [item["name"] for item in runs("list")["items"]][3:] == ["front"]
    assert main(["runs", "delete", "mine", "--root", str(root)]) == 2
    assert "any more" in capsys.readouterr().err
    assert main(["runs", "list", "--root", str(root)]) == 0
    assert "front" in capsys.readouterr().out
    assert main(["runs", "show", "front", "--root", str(root)]) == 0
    assert "python -m ssah_core score" in capsys.readouterr().out


def test_an_import_without_a_name_says_that_the_name_is_missing(capsys):
    with pytest.raises(SystemExit):
        main(["runs", "import", "mine.zip"])
    assert "arguments are required: name;" in capsys.readouterr().err


def test_the_command_looks_where_the_environment_says(root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_study(tmp_path / "s" / "p", tiny_model(), open_run(root / "mine"), ASKED, Plan(0))

    def listed(*arguments):
        assert main(["runs", "list", *arguments, "--json"]) == 0
        names = [item["name"] for item in json.loads(capsys.readouterr().out)["items"]]
        return [name for name in names if not name.startswith("organism:")]

    assert (listed(), listed("--studies")) == (["mine"], [])
    monkeypatch.setenv("SSAH_RUNS", str(tmp_path / "s"))
    monkeypatch.setenv("SSAH_STUDIES", str(tmp_path / "s"))
    assert (listed(), listed("--studies")) == ([], ["p"])
    assert listed("--root", str(root)) == ["mine"]


def test_something_of_another_kind_is_named_with_the_way_to_it(root, tmp_path, capsys):
    run_study(root / "s", tiny_model(), open_run(root / "mine"), ASKED, Plan(0))
    assert main(["runs", "show", "s", "--root", str(root)]) == 2
    assert "is a study, and a run was expected" in (said := capsys.readouterr().err)
    assert "turn to the studies (on the command line: with --studies)." in said
    assert main(["runs", "show", "mine", "--root", str(root), "--studies"]) == 2
    assert "turn to the runs (on the command line: without --studies)." in capsys.readouterr().err


def test_a_fine_tuned_model_is_no_run(root, capsys):
    (root / "model").mkdir()
    manifest = {**keeping.read_manifest(root / "mine"), "kind": "fine-tuned model"}
    (root / "model" / "manifest.json").write_text(json.dumps(manifest))
    assert own(root) == ["mine"]
    assert main(["runs", "show", "model", "--root", str(root)]) == 2
    assert "is a fine-tuned model, and a run or a study" in capsys.readouterr().err


def test_no_cell_of_a_csv_is_a_formula():
    table = pd.DataFrame(
        {"=x": ["=1+1", "@a", "-b", "+c", "\td", "plain"], "n": [-1.5, 2, 3, 4, 5, 6]}
    )
    lines = csv_of(table).decode().splitlines()
    assert lines[0] == "'=x,n"
    assert lines[1] == "'=1+1,-1.5"
    assert all(line[0] in "'\"p" for line in lines)
