"""The command line on a saved tiny model: exact output, exit statuses, nothing written on bad input."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import tiny_network, tiny_tokenizer

from ssah_core import Ablation, open_run
from ssah_core.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("cli")
    tiny_network("llama").save_pretrained(place / "model")
    tiny_tokenizer().save_pretrained(place / "model")
    rows = [{"goal": f"do {n}", "target": "Sure, here is"} for n in range(5)]
    (place / "safety.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "utility.csv").write_text(
        "question,answer\n" + "".join(f"what is {n},it is {n}\n" for n in range(6))
    )
    return place


def score_arguments(folder, run) -> list[str]:
    return [
        "score", "--model", str(folder / "model"), "--safety", str(folder / "safety.jsonl"),
        "--utility", str(folder / "utility.csv"), "--out", str(run), "--device", "cpu", "--json",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(folder):
    place = folder / "run"
    assert main(score_arguments(folder, place)) == 0
    assert main(["roles", "--run", str(place), "--esu", "0.1", "--euu", "0.1", "--ru", "0.15"]) == 0
    return place


def test_score_prints_one_json_object(folder, tmp_path, capsys):
    assert main(score_arguments(folder, tmp_path / "run")) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert list(result) == ["run", "units", "sites", "prompts", "tokens", "seconds"]
    assert (result["units"], result["sites"], result["prompts"]) == (104, 4, 11)
    assert isinstance(result["tokens"], int)
    assert "not taken for a response" in captured.err


# What the command runs, with a save after every batch and its own end after the fifth forward.
KILLED = """
import os, signal, sys
from ssah_core.cli import main
from ssah_core.scoring import checkpoint
from ssah_core.scoring.collecting import Collector
checkpoint._SECONDS_BETWEEN_SAVES, checkpoint._SHARE_OF_TIME, forwards = 0.0, 1e9, []
def take(self, model, batch, real=Collector.take):
    forwards.append(batch)
    if len(forwards) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    real(self, model, batch)
Collector.take = take
main(sys.argv[1:])
"""


def assert_same_scores(one: Path, other: Path) -> None:
    first, second = (place / "scores.safetensors" for place in (one, other))
    assert first.read_bytes() == second.read_bytes()
    found, expected = (open_run(place).scores for place in (one, other))
    assert found.safety_prompts == expected.safety_prompts


def test_a_killed_scoring_goes_on_with_the_same_command(folder, tmp_path, capsys):
    budget = ("--token-budget", "60")
    assert main([*score_arguments(folder, tmp_path / "whole"), *budget]) == 0
    arguments = [*score_arguments(folder, tmp_path / "run"), *budget]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, env=one_thread)
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run.partial", "whole"]
    capsys.readouterr()
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert f"Going on from the work kept in {tmp_path / '.run.partial'}." in captured.err
    assert json.loads(captured.out)["run"] == str(tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "whole"]
    assert_same_scores(tmp_path / "run", tmp_path / "whole")


def test_a_scoring_stopped_at_the_keyboard_says_what_is_kept(folder, tmp_path, capsys, monkeypatch):
    arguments = score_arguments(folder, tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr("ssah_core.scoring.score.Collector.take", stopped_by_hand)
        assert main(arguments) == 130
    *_, kept, stopped = capsys.readouterr().err.splitlines()
    assert kept == (
        f"The work so far was kept in {tmp_path / '.run.partial'}; the same command goes on from there."
    )
    assert stopped == "ssah_core: stopped."
    assert main([*arguments, "--limit", "2"]) == 2  # another scoring
    assert "with a different safety set, utility set; delete" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "5 of 5 replies" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def stopped_by_hand(collector, model, batch) -> None:
    raise KeyboardInterrupt


def test_the_models_own_replies_are_kept_in_the_run(run):
    replies = [prompt.response for prompt in open_run(run).scores.safety_prompts.prompts]
    assert len(replies) == 5
    assert all(reply is not None and "Sure, here is" not in reply for reply in replies)


def test_roles_print_counts_and_layers_and_are_saved(run, capsys):
    arguments = ["roles", "--run", str(run), "--esu", "0.1", "--euu", "0.2", "--ru", "0.15"]
    assert main([*arguments, "--tokens", "all", "--kinds", "mlp", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["counts"] == {"ESU": 10, "EUU": 20, "CU": 59, "RU": 15}
    assert [(row["layer"], row["kind"]) for row in result["layers"]] == [
        (0, "attn"),
        (0, "mlp"),
        (1, "attn"),
        (1, "mlp"),
    ]
    assert open_run(run).roles.counts == result["counts"]
    assert open_run(run).roles.kinds == "mlp"


def chat_arguments(folder, run, *more: str) -> list[str]:
    model = str(folder / "model")
    return ["chat", "--model", model, "--run", str(run), "--device", "cpu", "--json", *more]


def test_chat_prints_both_replies(folder, run, capsys):
    ask = ("--ablate", "ESU", "--prompt", "hello", "--max-new-tokens", "6")
    assert main(chat_arguments(folder, run, *ask)) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result) == ["original", "ablated", "units_ablated"]
    assert result["units_ablated"] == 10
    assert main(chat_arguments(folder, run, *ask, "--fill", "mean", "--random-seed", "3")) == 0
    by_name = ("--ablate", "L0.mlp.3,L1.attn.0", "--prompt", "hello", "--fill", "mean")
    capsys.readouterr()
    assert main(chat_arguments(folder, run, *by_name)) == 0
    assert json.loads(capsys.readouterr().out)["units_ablated"] == 2
    parts = ("--ablate", "ESU,L0.mlp.3,L1.attn.0", "--layers", "1", "--spare", "L1.attn.0")
    assert main(chat_arguments(folder, run, *parts, "--prompt", "hello")) == 0
    mixed = open_run(run)
    of_layer = Ablation.of(mixed.roles, "ESU", layers=[1], also=["L0.mlp.3"], spare=["L1.attn.0"])
    assert json.loads(capsys.readouterr().out)["units_ablated"] == of_layer.count


def test_chat_without_a_prompt_is_interactive(folder, run, capsys, monkeypatch):
    typed = ("--ablate", "ESU", "--max-new-tokens", "4")
    arguments = chat_arguments(folder, run, *typed)
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n\nand you?\n"))
    assert main([part for part in arguments if part != "--json"]) == 0
    assert capsys.readouterr().out.count("Original:") == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))
    assert main(arguments) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert f"Original: {result['original']}" in captured.err


def test_chat_replies_with_another_model_beside_and_with_units_off_in_it(folder, run, capsys):
    model, alike = str(folder / "model"), str(folder / "alike")
    shutil.copytree(model, alike, dirs_exist_ok=True)
    asked = ["--beside", alike, "--device", "cpu", "--prompt", "hello", "--max-new-tokens", "6"]
    assert main(["chat", "--model", model, *asked, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result) == ["original", "beside", "models", "units_ablated"]
    assert result["models"] == [model, alike]
    assert result["beside"] == result["original"]
    assert result["units_ablated"] == 0
    cut = ["--ablate", "ESU,RU", "--strength", "2"]
    assert main(chat_arguments(folder, run, *cut, *asked)) == 0
    beside = json.loads(capsys.readouterr().out)
    assert main(chat_arguments(folder, run, *cut, *asked[2:])) == 0
    ablated = json.loads(capsys.readouterr().out)
    assert beside["beside"] == ablated["ablated"]
    assert beside["units_ablated"] == ablated["units_ablated"] > 0
    assert main(["chat", "--model", model, *asked]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{alike}: ")


BAD = {
    "a run without units to ablate": ["chat", "--prompt", "x"],
    "a companion that is none": ["chat", "--ablate", "ESU", "--beside", "nowhere", "--prompt", "x"],
    "a companion of other units": [
        "chat",
        "--ablate",
        "ESU",
        "--beside",
        "organism:base",
        "--prompt",
        "x",
    ],
    "no such model": ["models", "--model", "nowhere"],
    "a role that is none": ["chat", "--ablate", "XSU", "--prompt", "x"],
    "an unknown unit": ["chat", "--ablate", "L9.mlp.1", "--prompt", "x"],
    "a layer that is none": ["chat", "--ablate", "ESU", "--layers", "a-b", "--prompt", "x"],
    "a layer too many": ["chat", "--ablate", "ESU", "--layers", "0-9", "--prompt", "x"],
    "a strength beyond two": ["chat", "--ablate", "ESU", "--strength", "3", "--prompt", "x"],
    "a part of units": ["chat", "--ablate", "L0.mlp.1", "--strongest", "0.5", "--prompt", "x"],
    "no unit at all": ["chat", "--ablate", "ESU", "--strongest", "0", "--prompt", "x"],
    "an empty prompt": ["chat", "--ablate", "ESU", "--prompt", " "],
    "a revision of a folder": ["chat", "--ablate", "ESU", "--prompt", "x", "--revision", "main"],
    "a run without a name": ["roles", "--run", "", "--esu", "0", "--euu", "0", "--ru", "0"],
    "a token budget of nothing": ["score", "--token-budget", "0"],
    "a column with two values": ["score", "--safety-where", "goal=a", "--safety-where", "goal=b"],
    "a run name of no folder": ["score", "--out", "a\0b"],
    "training in a folder of something else": ["organism", "train", "--out", "."],
    "training into a file": ["organism", "train", "--out", "README.md"],
    "training into a name too long": ["organism", "train", "--out", "x" * 5000],
    "training with a negative seed": ["organism", "train", "--out", "new", "--seed", "-1"],
    "a fill that is none": ["chat", "--ablate", "ESU", "--fill", "warm", "--prompt", "x"],
    "shares above one": ["roles", "--esu", "0.9", "--euu", "0.9", "--ru", "0"],
    "a negative share": ["roles", "--esu", "-0.1", "--euu", "0", "--ru", "0"],
    "tokens that are none": ["roles", "--esu", "0", "--euu", "0", "--ru", "0", "--tokens", "some"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD.keys())
def test_bad_input_exits_with_2_and_one_line(folder, run, arguments, capsys):
    before = sorted(path.name for path in run.iterdir())
    if arguments[0] == "chat":
        arguments = chat_arguments(folder, run, *arguments[1:])
    elif arguments[0] == "roles" and "--run" not in arguments:
        arguments = [*arguments, "--run", str(run)]
    elif arguments[0] == "score":
        arguments = [*score_arguments(folder, run.parent / "bad"), *arguments[1:]]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert sorted(path.name for path in run.iterdir()) == before
    assert not list(run.parent.glob("*bad*"))
    assert not list(run.parent.glob(".bad*"))
    assert not Path("new").exists()


def test_examples_that_are_too_long_are_named_before_any_work_or_left_out(folder, tmp_path, capsys):
    rows = [{"prompt": "a", "response": "b"}, {"prompt": "long " * 900, "response": "b"}]
    long = tmp_path / "long.jsonl"
    long.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = score_arguments(folder, tmp_path / "run")
    arguments[6] = str(long)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "row 2" in captured.err
    assert "--skip-too-long" in captured.err
    assert len(captured.err.strip().splitlines()) == 1  # no reply was written yet
    assert main([*arguments, "--skip-too-long"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["prompts"] == 6
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert "1 of 2 examples are too long" in manifest["prompts"]["utility"]["notices"][-1]


@pytest.mark.parametrize(
    ("command", "status"), [("| head -c 1", 0), ("> /dev/full", 2), (">&-", 0)]
)
def test_an_output_that_cannot_be_written_is_no_traceback(command, status):
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m ssah_core models --json {command}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == status


def test_a_terminal_of_few_characters_shows_the_rest_escaped(folder):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "ssah_core", "models", "--model", "é"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 2
    assert "\\xe9" in done.stderr


def test_a_bad_prompt_file_leaves_no_run(folder, tmp_path, capsys):
    (tmp_path / "empty.csv").write_text("")
    arguments = score_arguments(folder, tmp_path / "run")
    arguments[4] = str(tmp_path / "empty.csv")
    assert main(arguments) == 2
    assert "is empty" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_missing_options_are_one_line_too():
    done = subprocess.run(
        [sys.executable, "-m", "ssah_core", "score"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("package", ["numpy", "torch", "transformers.utils"])
def test_a_command_stopped_while_packages_are_imported_is_one_line(package):
    command = [sys.executable, "-X", "importtime", "-m", "ssah_core", "models"]
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, Ctrl-C is ignored, and that would be inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        assert running.stderr is not None
        # Python says on standard error what it has imported.
        assert any(line.split()[-1] == package for line in running.stderr)
        running.send_signal(signal.SIGINT)
        said = [line for line in running.stderr if not line.startswith("import time:")]
    assert said == ["ssah_core: stopped.\n"]
    assert running.returncode == 130


def test_the_interface_is_imported_when_a_name_of_it_is_asked_for():
    code = (
        "import sys, ssah_core; assert 'torch' not in sys.modules; from ssah_core import *;"
        "assert Ablation is ssah_core.Ablation; assert not hasattr(ssah_core, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", ["models", "score", "roles", "chat", "study", "organism train"])
def test_every_commands_help_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert f"python -m ssah_core {command}" in capsys.readouterr().out
