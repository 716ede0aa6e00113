"""Run folders: they reopen bitwise equal, appear whole or not at all, and know their model."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_model

from ssah_core import assign_roles, create_run, open_run, save_roles, score, storage
from ssah_core.errors import RunError
from ssah_core.prompts.reading import Prompt, PromptSet

SAFETY = PromptSet("safety", tuple(Prompt(f"do {n}", f"no {n}!") for n in range(6)))
UTILITY = PromptSet(
    "utility", tuple(Prompt(f"say {n}", f"{n} " * n) for n in range(1, 7)), ("one",)
)


@pytest.fixture(scope="module")
def scores():
    return score(tiny_model(), safety=SAFETY, utility=UTILITY)


@pytest.fixture
def run(tmp_path, scores):
    return create_run(tmp_path / "run", tiny_model(), scores, seconds=1.5)


def test_a_run_reopens_to_bitwise_equal_scores_and_roles(run, scores):
    roles = assign_roles(scores, 0.1, 0.2, 0.3, tokens="all", kinds="mlp")
    save_roles(run, roles)
    again = open_run(run.folder)
    for tokens in ("all", "prompt", "response"):
        one, other = scores.at(tokens), again.scores.at(tokens)
        for name in ("safety", "utility", "raw_safety", "raw_utility", "means"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
    assert np.array_equal(again.roles.vector, roles.vector)
    assert (again.roles.tokens, again.roles.kinds) == ("all", "mlp")
    assert again.roles.shares == roles.shares
    assert again.scores.safety_prompts == SAFETY
    assert again.scores.utility_prompts == UTILITY
    assert again.scores.anatomy == scores.anatomy


def test_the_manifest_says_how_the_run_came_to_be(run):
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest["model"]["fingerprint"] == "llama0"
    assert manifest["prompts"]["safety"]["hash"] == SAFETY.hash
    assert manifest["seconds"] == 1.5
    assert set(manifest["versions"]) == {"python", "torch", "transformers"}


def test_new_roles_take_the_place_of_the_old(run, scores):
    first = save_roles(run, assign_roles(scores, 0.1, 0.1, 0.1))
    second = save_roles(first, assign_roles(scores, 0.2, 0.1, 0.1))
    assert open_run(run.folder).roles.counts == second.roles.counts
    assert len(list(run.folder.glob("roles-*.parquet"))) == 1


def test_a_run_of_another_model_is_refused(run):
    run.check_model(tiny_model())
    with pytest.raises(RunError, match="score this model first"):
        run.check_model(tiny_model("llama", 1))
    with pytest.raises(RunError, match="score this model first"):
        run.check_model(tiny_model("bloom"))


def test_a_taken_folder_is_refused_and_left_alone(tmp_path, scores):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="choose another name"):
        create_run(tmp_path / "mine", tiny_model(), scores)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest"])
def test_a_damaged_run_is_said_in_one_sentence(run, damage):
    scores_file = run.folder / "scores.safetensors"
    content = bytearray(scores_file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        scores_file.write_bytes(content)
    elif damage == "cut":
        scores_file.write_bytes(content[:100])
    elif damage == "remove":
        scores_file.unlink()
    else:
        (run.folder / "manifest.json").write_text("{")
    with pytest.raises(RunError, match=r"damaged|not a run"):
        open_run(run.folder)


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_damaged_roles_leave_the_scores_open(run, scores, damage):
    file = save_roles(run, assign_roles(scores, 0.1, 0.1, 0.1)).folder.glob("roles-*")
    path = next(file)
    if damage == "flip":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    again = open_run(run.folder)
    assert again.roles is None
    assert np.array_equal(again.scores.at("all").safety, scores.at("all").safety)
    assert save_roles(again, assign_roles(again.scores, 0.2, 0.1, 0.1)).roles is not None
    assert open_run(run.folder).roles is not None


@pytest.mark.parametrize("name", ["", " ", "a\0b"])
def test_a_run_needs_a_name(name, scores):
    with pytest.raises(RunError, match="give a run folder"):
        open_run(name)
    with pytest.raises(RunError, match="choose one such as"):
        create_run(name, tiny_model(), scores)


def test_what_is_no_run_is_said(tmp_path):
    with pytest.raises(RunError, match="is not a run folder"):
        open_run(tmp_path)
    with pytest.raises(RunError, match="is not a run folder"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(RunError, match="no shipped run"):
        open_run("organism:nobody")


class FailingWrites:
    """Lets the first few writes, syncs and moves through, and fails all the later ones."""

    def __init__(self, monkeypatch, allowed: int) -> None:
        self.left = allowed
        for name in ("write", "fsync", "replace"):
            monkeypatch.setattr(storage.os, name, self._failing(getattr(os, name)))

    def _failing(self, real):
        def call(*arguments, **options):
            if self.left == 0:
                raise OSError(28, "No space left on device")
            self.left -= 1
            return real(*arguments, **options)

        return call


@pytest.mark.parametrize("allowed", range(12))
def test_a_new_run_appears_whole_or_not_at_all(tmp_path, scores, monkeypatch, allowed):
    folder = tmp_path / "runs" / "run"
    with monkeypatch.context() as patched:
        FailingWrites(patched, allowed)
        try:
            create_run(folder, tiny_model(), scores)
            failed = False
        except RunError as error:
            assert "full" in str(error)
            failed = True
    if folder.exists():
        assert open_run(folder).roles is None
        assert [path.name for path in folder.parent.iterdir()] == ["run"]
    else:
        assert failed
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("allowed", range(9))
def test_failed_writes_leave_the_old_roles_or_the_new(run, scores, monkeypatch, allowed):
    old = save_roles(run, assign_roles(scores, 0.1, 0.1, 0.1))
    new = assign_roles(scores, 0.3, 0.1, 0.1)
    with monkeypatch.context() as patched:
        FailingWrites(patched, allowed)
        try:
            save_roles(old, new)
        except RunError as error:
            assert "full" in str(error)
    counts = open_run(run.folder).roles.counts
    assert counts in (old.roles.counts, new.counts)


def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(RunError, match=r"cannot be written|already exists"):
        storage.check_free(blocker / "run")
    with pytest.raises(RunError, match="is a file; choose a folder"):
        storage.check_free(blocker)
    storage.check_free(Path(tmp_path / "new" / "deeper"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_the_shipped_runs_stay_as_they_are():
    shipped = open_run("organism:planted")
    before = {path.name: path.read_bytes() for path in shipped.folder.iterdir()}
    with pytest.raises(RunError, match="ships with the built-in model"):
        save_roles(shipped, assign_roles(shipped.scores, 0.1, 0.1, 0.1))
    assert {path.name: path.read_bytes() for path in shipped.folder.iterdir()} == before


@pytest.mark.parametrize("name", ["organism:planted", "bad\0name", "x" * 300])
def test_a_name_that_no_run_can_have_is_refused(name):
    with pytest.raises(RunError):
        storage.check_free(name)
