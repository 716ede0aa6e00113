"""The command `finetune` on a saved tiny model."""

import json

import pytest
from tiny_models import tiny_network, tiny_tokenizer

from ssah_core.cli import main
from ssah_core.models.loading import load_model
from ssah_core.training.rescoring import read_transfers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("finetune")
    tiny_network("llama").save_pretrained(place / "model")
    tiny_tokenizer().save_pretrained(place / "model")
    (place / "ask.csv").write_text(
        "question,answer\n" + "".join(f"what is {n},it is {n}\n" for n in range(8))
    )
    (place / "bad.csv").write_text("goal\n" + "".join(f"do {n}\n" for n in range(3)))
    arguments = ["score", "--model", str(place / "model"), "--device", "cpu", "--json"]
    sets = ["--safety", str(place / "bad.csv"), "--utility", str(place / "ask.csv")]
    assert main([*arguments, *sets, "--out", str(place / "run")]) == 0
    assert (
        main(["roles", "--run", str(place / "run"), "--esu", ".1", "--euu", ".1", "--ru", ".2"])
        == 0
    )
    return place


def words(folder, out, *more):
    return [
        "finetune", "--model", str(folder / "model"), "--prompts", str(folder / "ask.csv"),
        "--device", "cpu", "--batch", "4", "--learning-rate", "1e-2", "--out", str(out), *more,
    ]  # fmt: skip


def test_it_prints_one_json_object_and_leaves_a_model(folder, tmp_path, capsys):
    out = tmp_path / "tuned"
    units = ["--run", str(folder / "run"), "--freeze", "ESU,RU", "--freeze-strongest-cu", "0.06"]
    measure = ["--evaluate-every", "1", "--validation", str(folder / "ask.csv")]
    questions = ["--harmful", str(folder / "bad.csv"), "--harmless", str(folder / "ask.csv")]
    assert main(words(folder, out, *units, *measure, *questions, "--questions", "2", "--json")) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert list(result) == [
        "model", "frozen", "trained_only", "steps", "stopped_early", "final", "seconds",
    ]  # fmt: skip
    assert result["frozen"]["counts"] == {"ESU": 10, "EUU": 0, "CU": 6, "RU": 20}
    assert result["steps"] == 2
    assert {"validation_loss", "refused", "harmless_refused"} <= set(result["final"])
    assert "training: 2 of 2 steps" in captured.err
    assert load_model(out, device="cpu").anatomy.units == 104


def test_random_units_are_trained_alone_in_place_of_a_role(folder, tmp_path, capsys):
    units = ["--run", str(folder / "run"), "--train", "RU", "--random-like-seed", "5"]
    assert main(words(folder, tmp_path / "tuned", *units)) == 0
    shown = capsys.readouterr().out
    assert "20 units were trained alone (19.2% of all)." in shown
    assert f"Next: python -m ssah_core models --model {tmp_path / 'tuned'}" in shown
    manifest = json.loads((tmp_path / "tuned" / "manifest.json").read_text())
    assert manifest["trained_only"]["random_seed"] == 5
    assert manifest["trained_only"]["like"]["roles"] == ["RU"]


def test_the_roles_over_the_steps_are_kept_without_freezing_anything(folder, tmp_path, capsys):
    out = tmp_path / "tuned"
    again = ["--run", str(folder / "run"), "--rescore-every", "1"]
    assert main(words(folder, out, *again, "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    measured = read_transfers(out)
    assert [step for step, _ in measured] == [0, 1, 2]
    assert measured[0][1].changed == 0
    assert result["final"]["roles_changed"] == measured[-1][1].changed > 0
    assert result["frozen"] is None
    assert result["trained_only"] is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--freeze", "ESU"], "give the --run of this model"),
        (["--run", "RUN"], "give --freeze, --train or --rescore-every"),
        (["--rescore-every", "2"], "give the --run of this model"),
        (["--run", "RUN", "--rescore-every", "0"], "Rescoring every 0 steps"),
        (["--run", "RUN", "--rescore-every", "1", "--random-like-seed", "1"], "and the roles"),
        (["--run", "RUN", "--freeze", "ESU", "--train", "RU"], "frozen or trained alone"),
        (["--run", "RUN", "--freeze", "SU"], "'SU' is not a role"),
        (["--random-like-seed", "1"], "give --run and the roles"),
        (["--patience", "2"], "give --evaluate-every STEPS"),
        (["--evaluate-every", "2"], "nothing to measure"),
        (["--epochs", "0"], "number of epochs is 0"),
        (["--epochs", "2", "--steps", "2"], "give --steps or --epochs"),
        (["--run", "RUN", "--freeze-strongest-cu", "-0.1"], "share of CU is -0.1"),
        (["--lora", "100000"], "give at most that"),
        (["--lessons", "skill"], "name one with --preset"),
        (["--seeds", "2"], "name one with --preset"),
        (["--preset", "attack", "--run", "RUN"], "--learning-rate is for one training"),
        (["--evaluate-every", "1", "--validation", "BARE"], "no response to learn"),
        (["--run", "organism:planted", "--freeze", "ESU"], "whose weights differ"),
    ],
)
def test_options_that_do_not_go_together_say_what_to_do(folder, tmp_path, capsys, more, said):
    places = {"RUN": str(folder / "run"), "BARE": str(folder / "bad.csv")}
    more = [places.get(word, word) for word in more]
    assert main(words(folder, tmp_path / "tuned", *more)) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert not list(tmp_path.iterdir())
