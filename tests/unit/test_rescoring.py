"""Roles over the steps of a training: kept, read again, and the same after a stop or a kill."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_model

from ssah_core import assign_roles, score
from ssah_core.errors import Cancelled, OptionError, RunError
from ssah_core.models.loading import load_model
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.training.options import Evaluation, Lora, TrainingOptions
from ssah_core.training.rescoring import Rescoring, RoleLog, read_transfers
from ssah_core.training.trainer import finetune
from ssah_core.training.transfer import Transfer, roles_again
from ssah_core.training.unit_sets import UnitSet

PROMPTS = PromptSet("made", tuple(Prompt(f"Say {n}.", f"It is {n * 7}.") for n in range(12)))
SAFETY = PromptSet("bad", tuple(Prompt(f"do {n} now", "no" * (n % 3 + 1)) for n in range(9)))
UTILITY = PromptSet("good", tuple(Prompt(f"what is {n}", f"it is {n}") for n in range(9)))


def roles_of(model):
    return assign_roles(score(model, safety=SAFETY, utility=UTILITY), 0.15, 0.15, 0.2)


ROLES = roles_of(tiny_model())
EVERY_4 = Rescoring(ROLES, 4, "runs/first")
TEN = TrainingOptions(steps=10, batch_size=4, learning_rate=1e-2)


def table_in(folder):
    return pd.read_parquet(folder / "roles-by-step.parquet")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rescored") / "tuned"
    evaluation = Evaluation(lambda model: {"refused": 1.0}, every=3)
    return finetune(tiny_model(), PROMPTS, folder, TEN, evaluation=evaluation, rescoring=EVERY_4)


def test_roles_are_kept_at_the_start_now_and_then_and_at_the_end(tuned):
    measured = read_transfers(tuned.folder)
    assert [step for step, _ in measured] == [0, 4, 8, 10]
    assert measured[0][1].changed == 0  # nothing is trained yet
    assert measured[-1][1].changed > 0
    table = table_in(tuned.folder)
    assert table["unit"].tolist() == tiny_model().anatomy.names()
    assert np.array_equal(table["before"], ROLES.vector)
    changed = tuned.curve.dropna(subset="roles_changed")
    assert changed["step"].tolist() == [0, 4, 8, 10]
    assert changed["roles_changed"].tolist() == pytest.approx([one.changed for _, one in measured])
    assert tuned.curve.dropna(subset="refused")["step"].tolist() == [0, 3, 6, 9, 10]
    about = tuned.manifest["rescoring"]
    assert about["run"] == "runs/first"
    assert about["transfer"] == measured[-1][1].as_json()


def test_the_last_roles_are_those_of_the_model_in_the_folder(tuned):
    after = roles_again(ROLES, load_model(tuned.folder, device="cpu"))
    assert np.array_equal(table_in(tuned.folder)["10"], after.vector)
    assert np.array_equal(
        read_transfers(tuned.folder)[-1][1].by_site, Transfer.between(ROLES, after).by_site
    )


def test_scoring_again_does_not_change_what_is_learned(tuned, tmp_path):
    plain = finetune(tiny_model(), PROMPTS, tmp_path / "plain", TEN)
    a, b = (load_file(done.folder / "model.safetensors") for done in (tuned, plain))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert read_transfers(plain.folder) == []


def test_a_training_that_stops_early_has_the_roles_that_it_ends_with(tmp_path):
    figures = iter([4.0, 3.0, 3.5])
    evaluation = Evaluation(lambda model: {"validation_loss": next(figures)}, every=3, patience=1)
    done = finetune(
        tiny_model(), PROMPTS, tmp_path / "a", TEN, evaluation=evaluation, rescoring=EVERY_4
    )
    assert done.manifest["steps"] == 6
    assert [step for step, _ in read_transfers(done.folder)] == [0, 4, 6]


def test_a_stopped_training_goes_on_to_the_same_roles(tuned, tmp_path):
    calls = iter(range(100))
    for _ in range(3):
        with pytest.raises(Cancelled):
            finetune(
                tiny_model(),
                PROMPTS,
                tmp_path / "parts",
                TEN,
                rescoring=EVERY_4,
                cancelled=lambda: next(calls) % 3 == 2,
            )
    parts = finetune(tiny_model(), PROMPTS, tmp_path / "parts", TEN, rescoring=EVERY_4)
    assert table_in(parts.folder).equals(table_in(tuned.folder))
    assert parts.curve["roles_changed"].equals(tuned.curve["roles_changed"])


_CHILD = """
import os, signal, sys
sys.path[:0] = [{tests!r}, {root!r}]
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_rescoring import EVERY_4, PROMPTS, TEN
from tiny_models import tiny_model
from ssah_core.training.trainer import finetune

def die_at(progress):
    if progress.done == 9:
        os.kill(os.getpid(), signal.SIGKILL)

finetune(tiny_model(), PROMPTS, Path({out!r}), TEN, rescoring=EVERY_4, report=die_at,
         seconds_between_saves={seconds})
"""


@pytest.mark.parametrize("seconds", [0, 1000])  # a checkpoint after every step, or none
def test_a_killed_training_has_the_same_roles_in_the_end(seconds, tuned, tmp_path):
    here, out = Path(__file__).parent, tmp_path / "killed"
    code = _CHILD.format(
        tests=str(here.parent), root=str(here.parents[1]), out=str(out), seconds=seconds
    )
    environment = {**os.environ, "PYTHONPATH": str(here)}
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    work = tmp_path / ".killed.partial"
    assert sorted(RoleLog(work).read()) == [0, 4, 8]
    finetune(tiny_model(), PROMPTS, out, TEN, rescoring=EVERY_4)
    assert table_in(out).equals(table_in(tuned.folder))
    assert not work.exists()


def test_what_was_measured_after_the_checkpoint_is_forgotten(tmp_path):
    log = RoleLog(tmp_path)
    for step in (0, 4, 8, 12):
        log.keep(step, np.full(3, step % 4, dtype=np.uint8))
    log.forget_after(8)
    assert sorted(log.read()) == [0, 4, 8]
    log.forget_after(-1)
    assert log.read() == {}


def test_another_rescoring_does_not_go_on_from_kept_work(tmp_path):
    with pytest.raises(Cancelled):
        finetune(
            tiny_model(), PROMPTS, tmp_path / "a", TEN, rescoring=EVERY_4, cancelled=lambda: True
        )
    other = Rescoring(ROLES, 5, "runs/first")
    with pytest.raises(RunError, match="a training with other rescoring"):
        finetune(tiny_model(), PROMPTS, tmp_path / "a", TEN, rescoring=other)


def test_a_frozen_part_is_scored_again_with_the_rest(tmp_path):
    model = tiny_model("gpt2")
    roles = roles_of(model)
    mask = np.random.default_rng(0).random(model.anatomy.units) < 0.3
    chosen = UnitSet(model.anatomy, mask, {"run": "none"})
    options = TrainingOptions(steps=6, batch_size=4, learning_rate=1e-2, weight_decay=0.1)
    done = finetune(
        model,
        PROMPTS,
        tmp_path / "a",
        options,
        train_only=chosen,
        rescoring=Rescoring(roles, 3),
    )
    after = roles_again(roles, load_model(done.folder, device="cpu"))
    assert np.array_equal(table_in(done.folder)["6"], after.vector)


@pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed; it is optional"
)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_adapters_are_scored_as_they_will_be_merged_and_learn_the_same(family, tmp_path):
    model = tiny_model(family)
    roles = roles_of(model)
    options = TrainingOptions(steps=6, batch_size=4, learning_rate=3e-2, lora=Lora(4))
    rescoring = Rescoring(roles, 2)
    done = finetune(model, PROMPTS, tmp_path / "a", options, rescoring=rescoring)
    after = roles_again(roles, load_model(done.folder, device="cpu"))
    assert np.array_equal(table_in(done.folder)["6"], after.vector)
    assert Transfer.between(roles, after).changed > 0
    finetune(model, PROMPTS, tmp_path / "b", options)
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_what_cannot_be_scored_again_is_said(tmp_path):
    with pytest.raises(OptionError, match="Rescoring every 0 steps"):
        Rescoring(ROLES, 0)
    with pytest.raises(OptionError, match="a model of another anatomy"):
        finetune(tiny_model("gpt2"), PROMPTS, tmp_path / "a", TEN, rescoring=EVERY_4)
    with pytest.raises(RunError, match="not the folder of a fine-tuned model"):
        read_transfers(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_table_is_said(tmp_path):
    done = finetune(tiny_model(), PROMPTS, tmp_path / "a", TEN, rescoring=EVERY_4)
    file = done.folder / "roles-by-step.parquet"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(RunError, match="damaged; train the model again"):
        read_transfers(done.folder)
    (done.folder / "manifest.json").write_text("{")
    with pytest.raises(RunError, match=r"The manifest .* is damaged"):
        read_transfers(done.folder)
