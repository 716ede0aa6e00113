"""Fine-tuning: what it changes, what it leaves, and how it goes on where it was."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import fresh_model, tiny_model

from ssah_core.errors import Cancelled, OptionError, PromptError, RunError
from ssah_core.generation import reply_all
from ssah_core.models.loading import load_model
from ssah_core.models.slices import unit_slices
from ssah_core.models.sources import ORGANISMS
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.training.examples import IGNORED, collate, render_set
from ssah_core.training.options import Evaluation, TrainingOptions
from ssah_core.training.trainer import finetune, finetune_in_place, open_finetuned
from ssah_core.training.unit_sets import UnitSet

PROMPTS = PromptSet("made", tuple(Prompt(f"Say {n}.", f"It is {n * 7}.") for n in range(12)))
QUICK = TrainingOptions(
    epochs=2, batch_size=2, accumulation=2, learning_rate=1e-2, weight_decay=0.1, seed=3
)  # 3 steps an epoch


def some_units(model, share=0.3):
    mask = np.random.default_rng(0).random(model.anatomy.units) < share
    return UnitSet(model.anatomy, mask, {"run": "none"})


def weights_in(folder):
    return load_file(folder / "model.safetensors")


def bits(weight):
    return weight.contiguous().view(torch.uint8)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_a_frozen_set_is_bitwise_the_same_in_the_folder(family, tmp_path):
    model, chosen = tiny_model(family), some_units(tiny_model(family))
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    done = finetune(model, PROMPTS, tmp_path / "tuned", QUICK, freeze=chosen)
    after = weights_in(tmp_path / "tuned")
    for part in unit_slices(model.network, model.anatomy, chosen.mask):
        name = part.parameter if part.parameter in after else part.parameter.partition(".")[2]
        old = before[part.parameter]
        assert torch.equal(bits(part.read(old)), bits(part.read(after[name])))
        assert not torch.equal(old, after[name])
    assert done.manifest["frozen"]["units"] == chosen.count
    assert pd.read_parquet(tmp_path / "tuned" / "units.parquet")["unit"].tolist() == [
        model.anatomy.name_of(unit) for unit in np.flatnonzero(chosen.mask).tolist()
    ]
    for name, value in model.network.state_dict().items():  # the caller's model is as it was
        assert torch.equal(value, before[name])
    assert model.taps is not None
    assert not model.network.training


@pytest.mark.parametrize("bf16", [False, True])
def test_a_set_trained_alone_leaves_all_else_as_the_model_was_loaded(bf16, tmp_path):
    """Loaded in bfloat16, trained in float32, saved in bfloat16: the rest keeps its bits."""
    model = fresh_model("phi3", change=lambda network: network.to(torch.bfloat16))
    chosen = some_units(model)
    options = TrainingOptions(steps=2, batch_size=4, learning_rate=1e-2, bf16=bf16)
    finetune(model, PROMPTS, tmp_path / "tuned", options, train_only=chosen)
    after = weights_in(tmp_path / "tuned")
    slices = {
        part.parameter: part for part in unit_slices(model.network, model.anatomy, chosen.mask)
    }
    for name, old in model.network.named_parameters():
        new = after[name]
        assert new.dtype == torch.bfloat16
        if name in slices:
            assert not torch.equal(slices[name].read(old), slices[name].read(new))
            old, new = old.detach().clone(), new.clone()
            slices[name].clear(old), slices[name].clear(new)
        assert torch.equal(bits(old.detach()), bits(new))


def test_the_folder_opens_as_a_model_that_has_learned(tmp_path):
    options = TrainingOptions(steps=60, batch_size=12, learning_rate=1e-2)
    done = finetune(tiny_model(), PROMPTS, tmp_path / "tuned", options)
    assert done.curve["loss"].iloc[-1] < 0.3 * done.curve["loss"].iloc[0]
    tuned = load_model(tmp_path / "tuned", device="cpu")
    assert reply_all(tuned, ["Say 3."], max_new_tokens=20) == ["It is 21."]
    assert {path.name for path in tmp_path.iterdir()} == {"tuned"}
    assert not list((tmp_path / "tuned").glob("*.bin")) + list((tmp_path / "tuned").glob("*.pt"))


def test_only_tokens_of_the_response_have_a_loss():
    rows = render_set(tiny_model(), PROMPTS)
    batch = collate([rows[0], rows[11]])
    for place, row in enumerate((rows[0], rows[11])):
        labels = batch["labels"][place]
        end = len(row)
        assert labels[: len(row.prompt)].eq(IGNORED).all()
        assert tuple(labels[len(row.prompt) : end].tolist()) == row.response
        assert labels[end:].eq(IGNORED).all()
        assert batch["attention_mask"][place].sum() == end


def test_the_manifest_says_how_the_model_came_to_be(tmp_path):
    model = tiny_model()
    done = finetune(model, PROMPTS, tmp_path / "tuned", QUICK, train_only=some_units(model))
    manifest = done.manifest
    assert manifest["model"]["fingerprint"] == model.fingerprint
    assert manifest["prompts"]["hash"] == PROMPTS.hash
    assert manifest["options"]["seed"] == 3
    assert manifest["frozen"] is None
    assert manifest["trained_only"]["run"] == "none"
    assert manifest["steps"] == 6
    assert not manifest["stopped_early"]
    assert done.curve["step"].tolist() == [1, 2, 3, 4, 5, 6]
    opened = open_finetuned(tmp_path / "tuned")
    assert opened.curve.equals(done.curve)
    assert opened.manifest == json.loads(json.dumps(manifest))


def test_a_folder_that_is_no_trained_model_is_said(tmp_path):
    with pytest.raises(RunError, match="not the folder of a fine-tuned model"):
        open_finetuned(tmp_path)
    with pytest.raises(RunError, match="its manifest is of something else"):
        open_finetuned(ORGANISMS / "runs" / "planted")


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        options = TrainingOptions(epochs=1, batch_size=2, learning_rate=1e-2, seed=seed)
        finetune(tiny_model("gpt2"), PROMPTS, tmp_path / name, options)  # with dropout
    a, b, c = (weights_in(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert any(not torch.equal(a[key], c[key]) for key in a)


def counting(figures):
    """A measurement that gives one figure after the other."""
    waiting = iter(figures)
    return lambda model: {"validation_loss": next(waiting)}


def test_figures_are_measured_at_the_start_now_and_then_and_at_the_end(tmp_path):
    evaluation = Evaluation(counting([4, 3, 2, 1]), every=4)
    options = TrainingOptions(steps=10, batch_size=2)
    done = finetune(tiny_model(), PROMPTS, tmp_path / "tuned", options, evaluation=evaluation)
    measured = done.curve.dropna(subset="validation_loss")
    assert measured["step"].tolist() == [0, 4, 8, 10]
    assert measured["validation_loss"].tolist() == [4, 3, 2, 1]
    assert done.manifest["final"]["validation_loss"] == 1


def test_measuring_does_not_change_what_is_learned(tmp_path):
    def draw(model):
        assert not model.network.training
        torch.rand(100)
        return {"refused": float(len(reply_all(model, ["Hi"], max_new_tokens=2)))}

    finetune(tiny_model("gpt2"), PROMPTS, tmp_path / "a", QUICK)
    finetune(tiny_model("gpt2"), PROMPTS, tmp_path / "b", QUICK, evaluation=Evaluation(draw, 1))
    a, b = weights_in(tmp_path / "a"), weights_in(tmp_path / "b")
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_training_stops_early_once_the_figure_has_stalled(tmp_path):
    evaluation = Evaluation(counting([4, 3, 3.5, 3, 2, 1]), every=1, patience=2)
    options = TrainingOptions(steps=10, batch_size=2)
    done = finetune(tiny_model(), PROMPTS, tmp_path / "tuned", options, evaluation=evaluation)
    assert done.manifest["stopped_early"]
    assert done.manifest["steps"] == 3


def test_patience_needs_the_figure_that_it_watches(tmp_path):
    evaluation = Evaluation(lambda model: {"refused": 1.0}, every=1, patience=2)
    with pytest.raises(OptionError, match=r"watches 'validation_loss', .* choose one of refused"):
        finetune(tiny_model(), PROMPTS, tmp_path / "tuned", QUICK, evaluation=evaluation)


def test_a_stopped_training_goes_on_to_the_same_weights_and_curve(tmp_path):
    model = tiny_model("gpt2")
    chosen = some_units(model)
    whole = finetune(
        model, PROMPTS, tmp_path / "whole", QUICK, freeze=chosen, evaluation=Evaluation(_norm, 2)
    )
    for stop in (1, 4, 5):
        calls = iter(range(1, 100))
        with pytest.raises(Cancelled, match="goes on from there"):
            finetune(
                model,
                PROMPTS,
                tmp_path / "parts",
                QUICK,
                freeze=chosen,
                evaluation=Evaluation(_norm, 2),
                cancelled=lambda calls=calls, stop=stop: next(calls) >= max(1, stop // 2),
            )
    parts = finetune(
        model, PROMPTS, tmp_path / "parts", QUICK, freeze=chosen, evaluation=Evaluation(_norm, 2)
    )
    a, b = weights_in(tmp_path / "whole"), weights_in(tmp_path / "parts")
    assert all(torch.equal(bits(a[key]), bits(b[key])) for key in a)
    assert whole.curve.equals(parts.curve)
    assert not (tmp_path / ".parts.partial").exists()


def _norm(model):
    return {"norm": float(sum(p.detach().square().sum() for p in model.network.parameters()))}


_CHILD = """
import os, signal, sys
sys.path[:0] = [{tests!r}, {root!r}]
import torch
torch.set_num_threads(1)
from dataclasses import replace
from pathlib import Path
from test_training import PROMPTS, QUICK, some_units
from tiny_models import tiny_model
from ssah_core.training.trainer import finetune

def die_at(progress):
    if progress.done == {step}:
        os.kill(os.getpid(), signal.SIGKILL)

model = tiny_model("gpt2")
finetune(model, PROMPTS, Path({out!r}), QUICK, {mode}=some_units(model), seconds_between_saves=0,
         report=die_at)
"""


@pytest.mark.parametrize("mode", ["freeze", "train_only"])
def test_a_killed_training_ends_in_bitwise_the_same_weights(mode, tmp_path):
    here = Path(__file__).parent
    for step in (2, 5, 0):
        code = _CHILD.format(
            tests=str(here.parent),
            root=str(here.parents[1]),
            step=step,
            out=str(tmp_path / "killed"),
            mode=mode,
        )
        environment = {**os.environ, "PYTHONPATH": str(here)}
        child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
        assert child.returncode == (-signal.SIGKILL if step else 0), child.stderr.decode()
        assert (tmp_path / ".killed.partial" / f"checkpoint-{step - 1}").exists() == bool(step)
    model = tiny_model("gpt2")
    finetune(model, PROMPTS, tmp_path / "whole", QUICK, **{mode: some_units(model)})
    whole, killed = weights_in(tmp_path / "whole"), weights_in(tmp_path / "killed")
    assert all(torch.equal(bits(whole[key]), bits(killed[key])) for key in whole)


def test_a_checkpoint_that_was_half_written_is_not_gone_on_from(tmp_path):
    with pytest.raises(Cancelled):
        finetune(tiny_model(), PROMPTS, tmp_path / "tuned", QUICK, cancelled=lambda: True)
    (tmp_path / ".tuned.partial" / "checkpoint-4").mkdir()
    done = finetune(tiny_model(), PROMPTS, tmp_path / "tuned", QUICK)
    assert done.curve["step"].tolist() == [1, 2, 3, 4, 5, 6]


def test_another_training_does_not_go_on_from_kept_work(tmp_path):
    with pytest.raises(Cancelled):
        finetune(tiny_model(), PROMPTS, tmp_path / "tuned", QUICK, cancelled=lambda: True)
    other = TrainingOptions(epochs=3)
    with pytest.raises(RunError, match="work of a training with other options; ask for the same"):
        finetune(tiny_model(), PROMPTS, tmp_path / "tuned", other)
    with pytest.raises(RunError, match="with other frozen"):
        finetune(tiny_model(), PROMPTS, tmp_path / "tuned", QUICK, freeze=some_units(tiny_model()))


def test_training_in_place_leaves_the_model_trained_and_usable(tmp_path):
    model = fresh_model()
    finetune_in_place(
        model, PROMPTS, tmp_path / "tuned", TrainingOptions(steps=2, learning_rate=1e-2, bf16=True)
    )
    saved = weights_in(tmp_path / "tuned")
    assert torch.equal(model.network.lm_head.weight, saved["lm_head.weight"])
    assert "forward" not in vars(model.network)  # autocast's wrapper is off again
    assert len(reply_all(model, ["Hi"], max_new_tokens=3)) == 1


def test_nothing_is_printed(tmp_path, capfd):
    finetune(tiny_model(), PROMPTS, tmp_path / "tuned", QUICK)
    assert capfd.readouterr().out == ""


def test_prompts_without_responses_are_refused(tmp_path):
    prompts = PromptSet("made", (Prompt("a", "b"), Prompt("c")))
    with pytest.raises(PromptError, match="1 of the 2 prompts of 'made' have no response"):
        finetune(tiny_model(), prompts, tmp_path / "tuned", QUICK)
    assert not list(tmp_path.iterdir())


def test_a_diverged_training_says_what_to_do(tmp_path):
    options = TrainingOptions(steps=20, learning_rate=1e30, clip=1e30)
    with pytest.raises(
        OptionError, match=r"has diverged: the loss at step .* lower the learning rate"
    ):
        finetune(tiny_model(), PROMPTS, tmp_path / "tuned", options)
    assert not list(tmp_path.iterdir())  # no later attempt would go another way


def test_a_training_that_diverges_in_its_last_step_says_so_too(tmp_path):
    options = TrainingOptions(steps=1, learning_rate=1e38, clip=1e30, warmup=0.0)
    with pytest.raises(OptionError, match=r"has diverged: a value of .* lower the learning rate"):
        finetune(tiny_model(), PROMPTS, tmp_path / "tuned", options)
    assert not list(tmp_path.iterdir())


def test_examples_that_are_too_long_are_left_out_where_that_is_asked(tmp_path):
    model = tiny_model()
    long = Prompt("say", "a" * (model.context + 1))
    prompts = PromptSet("mixed", (*PROMPTS.prompts, long))
    with pytest.raises(PromptError, match="--skip-too-long"):
        finetune(model, prompts, tmp_path / "tuned", QUICK)
    assert not list(tmp_path.iterdir())
    options = replace(QUICK, skip_too_long=True)
    tuned = finetune(model, prompts, tmp_path / "tuned", options)
    assert tuned.manifest["prompts"]["prompts"] == len(PROMPTS)
    plain = finetune(model, PROMPTS, tmp_path / "plain", QUICK)
    assert list(tuned.curve["loss"].dropna()) == list(plain.curve["loss"].dropna())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"epochs": 0}, "number of epochs is 0"),
        ({"steps": 0}, "number of steps is 0"),
        ({"batch_size": 0}, "batch size is 0"),
        ({"learning_rate": float("nan")}, "learning rate is nan"),
        ({"warmup": 1.0}, "warm-up is 1.0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_options_that_cannot_be_are_refused(words, reason):
    with pytest.raises(OptionError, match=reason):
        TrainingOptions(**words)
