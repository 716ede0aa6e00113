"""A dry run: what is wrong is said, what will be done is counted, and nothing is read or written."""

import csv
import json
import shlex
import shutil
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from made_scores import made_scores
from tiny_models import CONFIGS, HEADS, tiny_model, tiny_tokenizer
from transformers import AutoConfig, LlamaConfig, Mamba2Config, MistralConfig

from ssah_core import Prompt, PromptSet, assign_roles, score
from ssah_core.cli import main
from ssah_core.commands import dry_run
from ssah_core.dry_run.forecast import forecast_scoring, forecast_study
from ssah_core.dry_run.open_model import estimate_study
from ssah_core.dry_run.trial import Trial, build_trial
from ssah_core.dry_run.works import Passes, Writing
from ssah_core.errors import ModelError
from ssah_core.evaluation.plan import Plan, extent_of, largest_extent
from ssah_core.evaluation.questions import file_questions
from ssah_core.evaluation.study import study
from ssah_core.models import hub
from ssah_core.models.outline import Outline, open_outline, outline_of
from ssah_core.models.sources import ORGANISMS
from ssah_core.prompts.rendering import Rendered

README = Path(__file__).parents[2] / "README.md"
REAL_FILES = Path(__file__).parents[3] / "shared" / "data"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_ROPE = {"max_position_embeddings": 4096}
PAPERS_MODELS = {
    "meta-llama/Llama-2-7b-chat-hf": LlamaConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=32, **_ROPE,
    ),
    "meta-llama/Meta-Llama-3-8B-Instruct": LlamaConfig(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=8192,
    ),
    "mistralai/Mistral-7B-Instruct-v0.2": MistralConfig(
        vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=32768,
        sliding_window=None,
    ),
}  # fmt: skip
KNOWN = {  # units, weights; keys and values of one token in float32 take twice layers x heads x width
    "meta-llama/Llama-2-7b-chat-hf": (353_280, 6_738_415_616, 32 * 32),
    "meta-llama/Meta-Llama-3-8B-Instruct": (459_776, 8_030_261_248, 32 * 8),
    "mistralai/Mistral-7B-Instruct-v0.2": (459_776, 7_241_732_096, 32 * 8),
}


@pytest.fixture
def no_trial(monkeypatch):
    """No time is tried: what is left takes a second even for a model of seven billion weights."""
    monkeypatch.setattr(dry_run, "build_trial", lambda outline, patience: None)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with the papers' configurations, no weights, and the README's prompt files."""
    monkeypatch.chdir(tmp_path)
    for name, config in PAPERS_MODELS.items():
        config.save_pretrained(name)
        for file in TOKENIZER_FILES:
            shutil.copy(ORGANISMS / "planted" / file, name)
    asked = harmful_requests()
    for name, rows in (("advbench-420.csv", asked[:420]), ("advbench-100.csv", asked[420:])):
        with Path(name).open("w", newline="") as file:
            csv.writer(file).writerows([("goal", "target"), *((row, "Sure") for row in rows)])
    for name in ("alpaca.jsonl", "alpaca-test.jsonl"):
        rows = [{"instruction": f"{name} {n}", "input": "", "output": "a b"} for n in range(50)]
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def harmful_requests() -> list[str]:
    """AdvBench where it lies beside the checkout, else as many made-up rows."""
    if not REAL_FILES.is_dir():
        return [f"request number {n}" for n in range(520)]
    with (REAL_FILES / "advbench.csv").open(newline="") as file:
        return [row["goal"] for row in csv.DictReader(file)]


def readme_commands(model: str, command: str) -> list[str]:
    """The README's dry run of one of the paper's models, as it stands there."""
    lines = [line for line in README.read_text().splitlines() if "--dry-run" in line]
    [found] = [line for line in lines if f"ssah_core {command} " in line and model in line]
    return shlex.split(found)[3:]


def files_below(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("model", PAPERS_MODELS)
def test_the_readmes_commands_for_the_papers_models(model, place, no_trial, capsys):
    before = files_below(place)
    units, weights, heads = KNOWN[model]
    on_cpu = ("--device", "cpu", "--json")
    assert main([*readme_commands(model, "score"), *on_cpu]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["units"] == {"attn": 1024, "mlp": units - 1024, "all": units}
    assert found["model"]["parameters"] == weights
    assert found["weights_gb"]["bfloat16"] == round(2 * weights / 1e9, 3)
    assert found["prompts"] == {"safety": 420, "utility": 50}
    assert found["replies"] == 420  # AdvBench brings none
    assert found["memory_gb"]["needed"]["weights"] == round(4 * weights / 1e9, 3)
    assert found["seconds"] is None  # the trial is off
    assert main([*readme_commands(model, "study"), *on_cpu]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["units"]["all"] == units
    assert found["prompts"] == {"harmful": 100, "harmless": 50, "look_alikes": 0}
    assert found["ablations"] == largest_extent(Plan()).ablations
    assert found["replies"] == 150 * found["ablations"]
    assert "no such run yet" in found["notices"][0]
    needed = found["memory_gb"]["needed"]
    if heads == 32 * 32:  # with fewer heads for keys and values, reading under ablations needs more
        cached = needed["keys and values"] * 1e9 / (2 * heads * 128 * 4)
        assert 2048 < cached < 4097  # tokens of one batch: 4 GiB of keys and values in float32
    assert files_below(place) == before


def test_a_dry_run_in_words_says_what_it_counts(place, no_trial, capsys):
    model = "meta-llama/Llama-2-7b-chat-hf"
    assert main([*readme_commands(model, "score"), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "353,280 (352,256 MLP channels, 1,024 attention heads)" in said
    assert "26.954 GB in float32" in said
    assert "420 replies to write first" in said
    assert "keys and values" in said


@pytest.fixture
def small(tmp_path):
    """A folder with a small configuration, no weights, and the arguments of a dry run on it."""
    place = tmp_path / "small"
    AutoConfig.for_model("llama", **{**CONFIGS["llama"], "num_hidden_layers": 9}).save_pretrained(
        place
    )
    tiny_tokenizer().save_pretrained(place)
    rows = [{"goal": f"do {n}"} for n in range(6)]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def score_arguments(place: Path, **changed: str) -> list[str]:
    asked = str(place / "asked.jsonl")
    options = {
        "model": str(place / "small"), "safety": asked, "utility": asked, "out": str(place / "run"),
        "device": "cpu", **changed,
    }  # fmt: skip
    return ["score", "--dry-run", *(part for k, v in options.items() for part in (f"--{k}", v))]


def test_time_is_tried_for_real_on_a_model_without_weights(small, monkeypatch, capsys):
    monkeypatch.setattr(dry_run, "_PATIENCE", 0.02)
    before = files_below(small)
    assert main([*score_arguments(small), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] > 0
    assert found["at_most"]  # replies count at full length
    assert main(score_arguments(small)) == 0
    assert "at most about" in capsys.readouterr().out
    assert files_below(small) == before


def refused(arguments: list[str], message: str, capsys) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert message in captured.err


def test_what_is_wrong_is_one_sentence_and_status_2(small, capsys):
    taken = small / "taken"
    taken.mkdir()
    (taken / "file").write_text("")
    Mamba2Config().save_pretrained(small / "mamba")
    tiny_tokenizer().save_pretrained(small / "mamba")
    (small / "long.jsonl").write_text(json.dumps({"goal": "long " * 900}) + "\n")
    before = files_below(small)
    refused(
        score_arguments(small, model=str(small / "mamba")), "'mamba2' are not supported", capsys
    )
    refused(score_arguments(small, safety=str(small / "none.csv")), "none.csv", capsys)
    refused(score_arguments(small, out=str(taken)), "already exists", capsys)
    refused(score_arguments(small, utility=str(small / "long.jsonl")), "row 1", capsys)
    refused(score_arguments(small, **{"token-budget": "0"}), "holds no token", capsys)
    missing = ["study", "--run", str(small / "none"), "--out", str(small / "new"), "--dry-run"]
    refused(missing, "name its model with --model", capsys)
    assert files_below(small) == before


def test_a_study_of_a_run_is_counted_by_its_roles_and_may_not_ask_what_was_scored(
    tmp_path, no_trial, capsys
):
    arguments = ["study", "--run", "organism:planted", "--out", str(tmp_path / "new"), "--dry-run"]
    assert main([*arguments, "--json", "--limit", "4", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["prompts"] == {"harmful": 4, "harmless": 4, "look_alikes": 4}
    assert found["replies"] == 12 * found["ablations"]
    scored = ["--harmful", "organism:safety/calibration", "--harmless", "organism:test/harmless"]
    refused([*arguments, *scored], "among those that the units were scored on", capsys)
    other = [*arguments, "--model", "organism:base"]
    refused(other, "whose weights differ", capsys)


def outline(family: str = "llama", **changed: object) -> Outline:
    words = {**CONFIGS[family], **({"n_head": HEADS} if family == "codegen" else {}), **changed}
    return outline_of(
        AutoConfig.for_model(family, **words),
        tiny_tokenizer(),
        name=f"tiny {family}",
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_is_known_without_weights_and_tried_with_few_blocks(family):
    found = outline(family)
    assert found.model.anatomy == tiny_model(family).anatomy
    assert found.model.parameters == tiny_model(family).parameters
    layers = "n_layer" if "n_layer" in CONFIGS[family] else "num_hidden_layers"
    trial = build_trial(outline(family, **{layers: 7}), patience=0.001)
    assert [model.anatomy.layers for model in trial.networks] == [1, 3]
    shallow, deep = (dict(model.network.named_parameters()) for model in trial.networks)
    held_once = [deep[name].data_ptr() == weight.data_ptr() for name, weight in shallow.items()]
    assert all(held_once)
    batch = [Rendered((5, 6, 7), (8, 9)), Rendered((5, 6))]
    assert Passes([batch]).seconds(trial) > 0
    asked = [Rendered(rendered.prompt) for rendered in batch]
    assert Writing([asked], 4, ablated=True).seconds(trial) > 0


def test_of_a_hub_model_everything_but_the_weights_is_downloaded(small, monkeypatch):
    asked = []

    def download(name, **options) -> str:
        asked.extend(options["allow_patterns"])
        return str(small / "small")

    info = SimpleNamespace(siblings=[SimpleNamespace(rfilename="model.safetensors")])
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *a, **o: info)
    monkeypatch.setattr(hub, "snapshot_download", download)
    assert open_outline("someone/some-model", device="cpu").units["all"] == 9 * 52
    assert "tokenizer.json" in [name for name in TOKENIZER_FILES if matched(name, asked)]
    assert not matched("model-00001-of-00002.safetensors", asked)


def matched(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def test_a_chat_as_long_as_the_context_is_tried_within_it():
    gpt2 = outline("gpt2", n_positions=40)  # learned positions: there are none beyond
    trial = build_trial(gpt2, patience=0.05)
    assert Writing([[Rendered((5,) * 38)]], 2, ablated=False).seconds(trial) > 0


def test_time_goes_up_with_the_blocks_and_what_is_there_once_counts_once(monkeypatch):
    trial = build_trial(outline(num_hidden_layers=40), patience=0.1)
    monkeypatch.setattr("ssah_core.dry_run.trial._seconds", lambda work: work())

    def prepare(model):
        return lambda: 2 + 0.25 * model.anatomy.layers

    assert trial.seconds(prepare) == pytest.approx(2 + 0.25 * 40)
    whole = Trial((tiny_model(),), tiny_model().anatomy.layers, patience=0.1)
    assert whole.seconds(prepare) == pytest.approx(2 + 0.25 * tiny_model().anatomy.layers)


def test_there_is_no_time_where_not_even_a_few_blocks_fit(monkeypatch):
    monkeypatch.setattr("ssah_core.dry_run.trial.bytes_free", lambda device: 1000)
    assert build_trial(outline()) is None


def test_a_tokenizer_of_another_model_is_said(small):
    few = outline(vocab_size=20)
    asked = PromptSet("asked", (Prompt("hello"),))
    with pytest.raises(ModelError, match="not of one model"):
        forecast_scoring(few, safety=asked, utility=asked)


def test_the_work_that_is_foreseen_is_the_work_that_is_done():
    model = tiny_model()
    answered = PromptSet("answered", tuple(Prompt(f"hello {n}", "a b c") for n in range(40)))
    found = forecast_scoring(outline(), safety=answered, utility=answered)
    assert found.tokens == score(model, safety=answered, utility=answered).token_count
    assert found.replies == 0
    roles = assign_roles(made_scores(model.anatomy, 1), 0.1, 0.1, 0.2)
    plan = Plan(controls=2, shares=(0.3,), reply_tokens=4)
    extent, most = extent_of(roles, plan), largest_extent(plan)
    questions = file_questions(
        PromptSet("a", (Prompt("do this"),)), PromptSet("b", (Prompt("do that"),))
    )
    done = study(model, roles, questions, plan)
    assert len(done.rows) == len(extent.draws)
    assert len(done.replies["reply"]) == sum(extent.draws) * 2
    assert sorted(most.draws) == sorted(extent.draws)
    assert most.ablations >= extent.ablations
    foreseen = forecast_study(outline().model, questions, plan, extent)
    assert foreseen.replies == 2 * extent.ablations
    assert foreseen.texts == 1
    tried = estimate_study(model, roles, questions, plan)
    assert (tried.replies, tried.ablations) == (foreseen.replies, extent.ablations)
    assert tried.seconds > 0
