"""lm-eval's tasks under an ablation, on the organism's own questions, offline."""

import copy
import importlib.util
import json

import numpy as np
import pytest
import torch
from organism_task import NAME, write_task

from ssah_core import Ablation, load_model, open_run
from ssah_core.cli import main
from ssah_core.errors import Cancelled, OptionError, PromptError
from ssah_core.evaluation import zero_shot as module
from ssah_core.evaluation.zero_shot import zero_shot
from ssah_core.models import hub
from ssah_core.models.loading import wrap

with_lm_eval = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed; it is optional"
)


@pytest.fixture(scope="module")
def model():
    return load_model("organism:planted", device="cpu")


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    """The data are read from files, into a cache of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        if importlib.util.find_spec("datasets") is not None:
            import datasets

            cache = tmp_path_factory.mktemp("cache")
            patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
        yield


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return write_task(tmp_path_factory.mktemp("tasks"), 48)


def mlp_units(model, share):
    """A random part of all MLP units, switched off."""
    anatomy = model.anatomy
    units = np.flatnonzero(anatomy.of_kind("mlp"))
    chosen = np.random.default_rng(0).permutation(units)[: int(share * len(units))]
    return Ablation.units(anatomy, [anatomy.name_of(int(unit)) for unit in chosen])


def asked(model, tasks, cut=None, **options):
    [found] = zero_shot(model, [NAME], cut, task_folder=tasks, chat=True, batch_size=32, **options)
    return found


@with_lm_eval
def test_the_organism_knows_its_questions_and_without_its_mlps_it_guesses(model, tasks):
    found = asked(model, tasks, mlp_units(model, 1))
    assert found.task == NAME and found.measure == "acc"
    assert found.original.value >= 0.9
    assert found.ablated.high < 0.7
    assert (found.original.n, found.ablated.n) == (48, 48)
    assert found.original.low <= found.original.value <= found.original.high


@with_lm_eval
def test_without_its_safety_units_it_knows_as_much(model, tasks):
    found = asked(model, tasks, Ablation.of(open_run("organism:planted").roles, "ESU"))
    assert found.ablated.value >= found.original.value - 0.05


@with_lm_eval
def test_the_ablation_does_what_zeroed_weights_do(model, tasks):
    cut = mlp_units(model, 0.7)
    found = asked(model, tasks, cut)
    edited = copy.deepcopy(model)
    with torch.no_grad():
        for site in model.anatomy.sites:
            off = torch.from_numpy(cut.factors[site.slice] == 0)
            columns = off.repeat_interleave(site.width)
            edited.network.get_submodule(site.module).weight[:, columns] = 0
    plain = wrap(edited.network, model.tokenizer)
    assert asked(plain, tasks).original == found.ablated
    assert 0.2 < found.ablated.value < found.original.value  # neither nothing nor all is broken


@with_lm_eval
def test_the_model_is_as_it_was_afterwards(model, tasks):
    before = {name: weight.clone() for name, weight in model.network.named_parameters()}
    padding = model.tokenizer.pad_token, model.tokenizer.padding_side
    asked(model, tasks, mlp_units(model, 0.1), limit=4)
    for name, weight in model.network.named_parameters():
        assert torch.equal(weight, before[name])
    assert (model.tokenizer.pad_token, model.tokenizer.padding_side) == padding


@with_lm_eval
def test_a_limit_asks_so_many_and_without_an_ablation_there_is_one_side(model, tasks):
    found = asked(model, tasks, limit=5)
    assert found.original.n == 5
    assert found.ablated is None
    assert found.as_json()["ablated"] is None


@with_lm_eval
def test_it_says_how_far_it_is_and_stops_when_asked(model, tasks):
    seen = []
    asked(model, tasks, mlp_units(model, 0.1), limit=4, report=seen.append)
    assert [(p.done, p.total, p.unit) for p in seen] == [(1, 2, "tasks"), (2, 2, "tasks")]
    with pytest.raises(Cancelled):
        asked(model, tasks, cancelled=lambda: True)


@with_lm_eval
def test_a_task_that_cannot_be_done_is_one_clear_sentence(model, tmp_path):
    write_task(tmp_path, 4)
    (tmp_path / "questions.jsonl").unlink()
    with pytest.raises(PromptError, match=f"cannot do the task '{NAME}' .*check its files"):
        asked(model, tmp_path)
    with pytest.raises(OptionError, match="There is no folder"):
        asked(model, tmp_path / "none")
    with pytest.raises(OptionError, match="at least one task"):
        zero_shot(model, [])


@with_lm_eval
def test_data_on_a_hub_that_cannot_be_reached_are_one_sentence_at_once(
    model, tmp_path, monkeypatch, caplog
):
    write_task(tmp_path, 4)
    [file] = tmp_path.glob("*.yaml")
    file.write_text(file.read_text().replace("dataset_path: json", "dataset_path: owner/nothing"))
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(PromptError, match=r"cannot be reached, .* give --task-folder"):
        asked(model, tmp_path)
    assert "Retrying" not in caplog.text
    assert not hub.constants.HF_HUB_OFFLINE


@with_lm_eval
def test_a_task_that_nobody_knows_names_its_neighbours():
    with pytest.raises(OptionError, match="no task 'bolq'; near it are boolq"):
        module._check_known("bolq", ["boolq", "rte"])


@with_lm_eval
def test_the_command_shows_both_sides(tasks, capsys):
    base = [
        "zero-shot",
        "--run",
        "organism:planted",
        "--ablate",
        "ESU",
        "--device",
        "cpu",
        "--chat",
    ]
    base += ["--tasks", NAME, "--task-folder", str(tasks), "--limit", "8"]
    assert main([*base, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ablated"] == "ESU" and result["units_ablated"] == 291
    assert set(result["tasks"][0]["original"]) == {"value", "low", "high", "n"}
    assert main([*base, "--random-seed", "1", "--fill", "mean"]) == 0
    out = capsys.readouterr().out
    assert "291 random units" in out and f"{NAME}  " in out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--model", "organism:base", "--ablate", "ESU"], "name it with --run"),
        (["--model", "organism:base", "--random-seed", "1"], "give roles to it"),
        (["--run", "organism:planted", "--ablate", "ESX"], "ESX"),
        ([], "Name what to ask"),
    ],
)
@with_lm_eval
def test_options_that_do_not_fit_are_refused_in_one_line(given, said, capsys):
    assert main(["zero-shot", "--tasks", "boolq", *given]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def test_without_lm_eval_one_sentence_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert main(["zero-shot", "--model", "organism:base", "--tasks", "boolq"]) == 2
    assert "pip install lm-eval" in capsys.readouterr().err
