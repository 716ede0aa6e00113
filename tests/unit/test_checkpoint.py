"""Scoring that is stopped, killed or fails goes on from its checkpoint, to bitwise equal scores."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import fresh_model, tiny_model

from ssah_core import Prompt, PromptSet, SsahError, score, storage
from ssah_core.errors import Cancelled, RunError
from ssah_core.scoring import checkpoint as checkpoints
from ssah_core.scoring import replies
from ssah_core.scoring.moments import RunningMoments
from ssah_core.scoring.scores import TOKEN_CHOICES, Scores

SAFETY = PromptSet("safety", tuple(Prompt(f"do {n} " * n, f"no {n}") for n in range(1, 10)))
UTILITY = PromptSet("utility", tuple(Prompt(f"say {n}", f"{n} " * n) for n in range(1, 9)))
BARE = PromptSet("bare", tuple(Prompt(f"do {n} " * n) for n in range(1, 6)))
BUDGET = 80  # a batch holds one to three examples


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "deeper" / "partial"


@pytest.fixture(scope="module")
def whole() -> Scores:
    """The scores of a pass that nothing stops."""
    return scored()


def scored(checkpoint=None, model=None, **changes) -> Scores:
    options = {"safety": SAFETY, "utility": UTILITY, "token_budget": BUDGET, **changes}
    return score(model or tiny_model(), checkpoint=checkpoint, **options)


def assert_equal_bits(found: Scores, expected: Scores) -> None:
    for tokens in TOKEN_CHOICES:
        one, other = found.at(tokens), expected.at(tokens)
        for name in ("safety", "utility", "raw_safety", "raw_utility", "means"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
    assert found.token_count == expected.token_count
    assert found.safety_prompts == expected.safety_prompts
    assert found.utility_prompts == expected.utility_prompts


class StopAt:
    """Asks to stop at one of the times that it is asked."""

    def __init__(self, time: int) -> None:
        self.left = time

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


def save_always(monkeypatch) -> None:
    monkeypatch.setattr(checkpoints, "_SECONDS_BETWEEN_SAVES", 0.0)
    monkeypatch.setattr(checkpoints, "_SHARE_OF_TIME", 1e9)


def interrupt(monkeypatch, where: type, method: str, time: int, error: BaseException) -> None:
    """Raise an error at the n-th call of a method, before it does anything."""
    real, stop = getattr(where, method), StopAt(time)

    def call(*arguments):
        if stop():
            raise error
        return real(*arguments)

    monkeypatch.setattr(where, method, call)


# Going on


def test_a_scoring_stopped_after_any_batch_goes_on_to_equal_scores(folder, whole):
    batches = 0
    while True:
        batches += 1
        try:
            scored(folder, cancelled=StopAt(batches))
            break
        except Cancelled as error:
            assert str(error).startswith(f"Stopped; the work so far was kept in '{folder}'")
        assert_equal_bits(scored(folder), whole)
        assert not folder.exists()
    assert batches > 8


@pytest.mark.parametrize("every", [3, 4, 7])
def test_a_scoring_stopped_again_and_again_comes_to_the_same_end(folder, whole, every):
    for _ in range(30):
        try:
            found = scored(folder, cancelled=StopAt(every))
            break
        except Cancelled:
            assert checkpoints.has_checkpoint(folder)
    assert_equal_bits(found, whole)


def test_own_replies_go_on_after_the_last_batch_that_was_written(folder, monkeypatch):
    monkeypatch.setattr("ssah_core.scoring.score.REPLY_TOKENS", 6)
    monkeypatch.setattr(replies, "_TOKENS_AT_ONCE", 60)
    expected = scored(safety=BARE)
    assert len({prompt.response for prompt in expected.safety_prompts.prompts}) > 1
    resumed, written, real = set(), [], replies._replies_of

    def counted(model, prompts, *others):
        written.extend(prompts)
        return real(model, prompts, *others)

    monkeypatch.setattr(replies, "_replies_of", counted)
    for steps in range(3, 24, 2):
        reports = []
        with pytest.raises(Cancelled) as stop:
            scored(folder, safety=BARE, cancelled=StopAt(steps))
        kept = checkpoints.has_checkpoint(folder)
        assert ("was kept" in str(stop.value)) == kept
        assert ("nothing was written" in str(stop.value)) == (not kept)
        done = len(written)
        assert_equal_bits(scored(folder, safety=BARE, report=reports.append), expected)
        resumed.add(reports[0].done if kept else 0)
        assert len(written) - done == len(BARE) - (reports[0].done if kept else 0)
    assert {0, 1, 5} < resumed


def test_batches_that_shrank_for_lack_of_memory_stay_small(folder):
    def run(fails: bool, **options) -> Scores:
        model, calls = fresh_model(), []

        def check(module, inputs, output):
            calls.append(1)
            if fails and len(calls) == 2:
                raise torch.OutOfMemoryError("CUDA out of memory (simulated)")

        model.network.model.layers[1].mlp.register_forward_hook(check)
        return scored(model=model, token_budget=200, **options)

    expected = run(True)
    with pytest.raises(Cancelled):
        run(True, checkpoint=folder, cancelled=StopAt(2))
    assert_equal_bits(run(False, checkpoint=folder), expected)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug")])
@pytest.mark.parametrize("call", [1, 12, 18, 40, 70])
def test_a_batch_that_was_half_counted_does_not_count(folder, whole, monkeypatch, call, error):
    with monkeypatch.context() as patched:
        interrupt(patched, RunningMoments, "add", call, error)
        with pytest.raises(type(error)):
            scored(folder)
    assert checkpoints.has_checkpoint(folder) == (call > 8)  # 4 sites, 2 groups of tokens
    assert_equal_bits(scored(folder), whole)


def test_progress_goes_on_from_where_it_was(folder, whole):
    reports = []
    with pytest.raises(Cancelled):
        scored(folder, cancelled=StopAt(4))
    scored(folder, report=reports.append)
    own = [report for report in reports if report.stage == "scoring safety"]
    total = whole.safety.at("all").count
    assert own[0].done > total / 3
    assert own[0].seconds_left is None
    assert {report.total for report in own} == {own[-1].done} == {total}
    assert own[-1].seconds_left == 0


# What is written, and when


def test_nothing_is_written_by_a_scoring_of_a_moment(folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "write_file", lambda *arguments: pytest.fail("written"))
    scored(folder)
    assert not folder.parent.exists()


def test_a_process_killed_at_any_moment_leaves_what_goes_on(folder, whole, tmp_path, monkeypatch):
    def copied_before(real):
        def call(*arguments, **options):
            if folder.exists():
                shutil.copytree(folder, tmp_path / "moments" / str(len(list_of(moments))))
            return real(*arguments, **options)

        return call

    moments = tmp_path / "moments"
    moments.mkdir()
    with monkeypatch.context() as patched:
        save_always(patched)
        for name in ("write", "fsync", "replace", "unlink", "rmdir"):
            patched.setattr(storage.os, name, copied_before(getattr(os, name)))
        scored(folder, token_budget=200)
    expected = scored(token_budget=200)
    assert len(list_of(moments)) > 25
    for moment in list_of(moments):
        assert_equal_bits(scored(moment, token_budget=200), expected)
    assert list_of(moments) == []


def list_of(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


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


@pytest.mark.parametrize("allowed", range(20))
def test_a_full_disk_leaves_the_old_state_or_the_new(folder, whole, monkeypatch, allowed):
    with monkeypatch.context() as patched:
        save_always(patched)
        FailingWrites(patched, allowed)
        with pytest.raises(RunError, match="is full; free some space"):
            scored(folder)
    assert folder.exists() == checkpoints.has_checkpoint(folder) == (allowed >= 7)
    assert_equal_bits(scored(folder), whole)
    assert not folder.exists()


def test_a_disk_that_is_full_for_a_moment_costs_nothing(folder, whole, monkeypatch):
    with monkeypatch.context() as patched:
        save_always(patched)
        real, stop = storage.os.replace, StopAt(2)

        def replace(*paths):
            if stop():
                raise OSError(28, "No space left on device")
            real(*paths)

        patched.setattr(storage.os, "replace", replace)
        with pytest.raises(RunError, match="is full"):
            scored(folder)
    assert checkpoints.has_checkpoint(folder)
    assert_equal_bits(scored(folder), whole)


def test_what_others_put_into_the_folder_stays(folder):
    with pytest.raises(Cancelled):
        scored(folder, cancelled=StopAt(3))
    (folder / "letter.txt").write_text("dear")
    scored(folder)
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


def test_what_a_killed_write_left_goes_with_the_rest(folder):
    folder.mkdir(parents=True)
    (folder / ".checkpoint.json.abc_123").write_text("{")
    (folder / "checkpoint-safety-0123456789ab.safetensors").write_text("")
    scored(folder)
    assert not folder.exists()


def test_bad_input_leaves_no_folder(folder):
    for bad in ({"token_budget": 0}, {"utility": PromptSet("none", ())}):
        with pytest.raises(SsahError):
            scored(folder, **bad)
    assert not folder.parent.exists()


# What is refused


@pytest.fixture
def stopped(folder) -> Path:
    with pytest.raises(Cancelled):
        scored(folder, cancelled=StopAt(5))
    return folder


CHANGES = {
    "model": {"model": tiny_model("llama", 1)},
    "safety set": {"safety": PromptSet("safety", SAFETY.prompts[1:])},
    "utility set": {"utility": PromptSet("utility", UTILITY.prompts[::-1])},
    "token budget": {"token_budget": BUDGET + 1},
    "choice of too long examples": {"skip_too_long": True},
}


@pytest.mark.parametrize(("name", "change"), CHANGES.items(), ids=CHANGES.keys())
def test_the_checkpoint_of_another_scoring_is_refused_and_left_alone(stopped, name, change):
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    with pytest.raises(RunError, match=f"another scoring, with a different {name}; delete the fol"):
        scored(stopped, **change)
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before


def test_the_checkpoint_of_another_format_is_refused(stopped, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT", checkpoints.FORMAT + 1)
    with pytest.raises(RunError, match="with a different format; delete the folder"):
        scored(stopped)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "fill", "number"])
@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_damaged_checkpoint_is_said_in_one_sentence(stopped, damage, ending):
    file = next(stopped.glob(f"*.{ending}"))
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-len(content) // 3] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "number" and ending == "json":
        file.write_bytes(content.replace(b'"counted": [8', b'"counted": [7'))
        assert file.read_bytes() != content
    elif damage == "remove" and ending == "safetensors":
        file.unlink()
    else:
        file.write_bytes(b"[]")
    with pytest.raises(
        RunError, match=r"is damaged or cannot be read; delete the folder, or"
    ) as said:
        scored(stopped)
    assert "\n" not in str(said.value)


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "checkpoint-500").mkdir()
    with pytest.raises(RunError, match="holds something that is no checkpoint; choose another"):
        scored(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-500"]
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file; choose a folder"):
        scored(tmp_path / "file")
