"""From the manifest of a fine-tuned model to the command and the Python: done again, they give its weights."""

import json
import shlex
from dataclasses import replace

import pytest
from safetensors.torch import load_file
from tiny_models import tiny_network, tiny_tokenizer

from ssah_core import load_model, open_run
from ssah_core.cli import main
from ssah_core.reproduce import commands_of, python_of
from ssah_core.training.lessons import few_harmful
from ssah_core.training.options import Lora, TrainingOptions
from ssah_core.training.result import ORIGIN, describe
from ssah_core.training.unit_sets import UnitSet


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a saved model, prompt files, and a run with roles."""
    folder = tmp_path_factory.mktemp("place")
    tiny_network("llama").save_pretrained(folder / "a model")
    tiny_tokenizer().save_pretrained(folder / "a model")
    asked = "".join(f"what is {n},it is {n}\n" for n in range(8))
    (folder / "ask.csv").write_text("question,answer\n" + asked)
    (folder / "bad.csv").write_text("goal\n" + "".join(f"do {n}\n" for n in range(3)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        score = (
            "score --model 'a model' --safety bad.csv --utility ask.csv --device cpu --out runs/one"
        )
        assert main(shlex.split(score)) == 0
        assert main(shlex.split("roles --run runs/one --esu 0.1 --euu 0.1 --ru 0.2")) == 0
    return folder


WAYS = {
    "plain": "--steps 2",
    "frozen, with strong CU, measured and rescored": (
        "--run runs/one --freeze ESU,RU --freeze-strongest-cu 0.06 --evaluate-every 1 --validation ask.csv "
        "--harmful bad.csv --harmless ask.csv --questions 2 --patience 3 --rescore-every 1"
    ),
    "random units alone": "--run runs/one --train RU --random-like-seed 5 --warmup 0.2 --weight-decay 0.1",
    "adapters": "--run runs/one --freeze ESU --lora 2 --accumulation 2 --limit 6",
    "rescored alone": "--run runs/one --rescore-every 2 --seed 3",
}


@pytest.mark.parametrize("way", WAYS)
def test_the_command_and_the_python_train_the_same_model(place, monkeypatch, way):
    monkeypatch.chdir(place)
    begin = (
        "finetune --model 'a model' --prompts ask.csv --device cpu --batch 4 --learning-rate 1e-2"
    )
    assert main(shlex.split(f"{begin} {WAYS[way]} --out 'models/{way}'")) == 0
    manifest = json.loads((place / "models" / way / "manifest.json").read_text())
    for line in commands_of(manifest, f"{way} by command").splitlines():
        assert main(shlex.split(line)[3:]) == 0
    exec(python_of(manifest, f"{way} by python"), {})
    weights = load_file(place / "models" / way / "model.safetensors")
    for end in ("by command", "by python"):
        again = place / "models" / f"{way} {end}"
        made = json.loads((again / "manifest.json").read_text())
        assert {key: made[key] for key in ORIGIN} == {key: manifest[key] for key in ORIGIN}
        found = load_file(again / "model.safetensors")
        assert all(found[name].equal(weight) for name, weight in weights.items())


@pytest.fixture
def told(place, monkeypatch):
    """A manifest's beginning, with some of its parts replaced."""
    monkeypatch.chdir(place)
    model = load_model("organism:planted", device="cpu")

    def tell(prompts=None, freeze=None, train_only=None, **options):
        taught = prompts or few_harmful(model).prompts
        return describe(model, taught, TrainingOptions(**options), freeze, train_only, None, None)

    return tell


def test_what_no_command_can_say_is_said_above_it(told):
    roles = open_run("organism:planted").roles
    run = "organism:planted"
    for manifest, sentence, code in (
        (told(), "built-in placeholders", "few_harmful(model).prompts"),
        (told(clip=2.0), "longer than 2 were", "clip=2.0"),
        (told(lora=Lora(4, 4.0)), "alpha was 4", "lora=Lora(4, 4.0)"),
        (
            told(train_only=UnitSet.least_useful(roles, 0.08, run=run)),
            "least useful ones",
            f"train_only=UnitSet.least_useful(roles, 0.08, run={run!r})",
        ),
        (
            told(train_only=UnitSet.of(roles, ["RU"], strongest_cu=0.06, run=run)),
            "strongest CU learned",
            "strongest_cu=0.06",
        ),
        (
            told(freeze=UnitSet.of(roles, ["ESU"])),
            "put its name in place of RUN",
            "run = open_run('RUN')",
        ),
    ):  # fmt: skip
        lines = commands_of(manifest, "new").splitlines()
        assert any(line.startswith("#") and sentence in line for line in lines[:-1]), sentence
        assert lines[-1].startswith("python -m ssah_core finetune")
        assert code in python_of(manifest, "new")


def test_a_limit_holds_for_what_is_asked_on_the_way_too(place, monkeypatch):
    monkeypatch.chdir(place)
    assert main(
        shlex.split(
            "finetune --model organism:planted --prompts organism:lessons/prices --limit 4 --steps 1 "
            "--evaluate-every 1 --validation organism:lessons/talk --skip-too-long --device cpu "
            "--out models/few"
        )
    ) == 0  # fmt: skip
    manifest = json.loads((place / "models" / "few" / "manifest.json").read_text())
    exec(python_of(manifest, "few again"), {})
    again = json.loads((place / "models" / "few again" / "manifest.json").read_text())
    assert again["final"] == manifest["final"]
    assert "organism_questions().first(4)" in python_of(manifest, "new")


def test_roles_of_other_shares_than_the_shipped_run_has_are_assigned_first(told):
    roles = open_run("organism:planted").roles
    other = replace(roles, shares={**roles.shares, "ESU": 0.05})
    frozen = UnitSet.of(other, ["ESU"], run="organism:planted")
    manifest = told(freeze=frozen)
    assert "# The shipped run keeps its roles" in commands_of(manifest, "new")
    assert "assign_roles(run.scores, esu=0.05, " in python_of(manifest, "new")
    assert "keeps its roles" not in commands_of(
        told(freeze=UnitSet.of(roles, ["ESU"], run="organism:planted")), "new"
    )


def test_a_manifest_that_does_not_say_how_roles_were_assigned_takes_those_of_the_run(told):
    roles = open_run("organism:planted").roles
    manifest = told(freeze=UnitSet.of(roles, ["ESU"], run="organism:planted"))
    del manifest["frozen"]["assigned"]
    assert commands_of(manifest, "old").splitlines()[-1].count("--run organism:planted") == 1
    assert "roles = run.roles\n" in python_of(manifest, "old")
