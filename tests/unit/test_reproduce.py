"""From a manifest to the commands and the Python: run again, they make the same files."""

import json
import shlex
from pathlib import Path

import pytest
from tiny_models import tiny_network, tiny_tokenizer

from ssah_core import assign_roles_by_thresholds, open_run, save_roles
from ssah_core.cli import main
from ssah_core.errors import RunError
from ssah_core.evaluation.study_folder import open_study
from ssah_core.keeping import find, list_kept, read_manifest
from ssah_core.reproduce import commands_of, python_of
from ssah_core.scoring import checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a saved model, prompt files, a run and a study of it."""
    folder = tmp_path_factory.mktemp("place")
    tiny_network("llama").save_pretrained(folder / "a model")
    tiny_tokenizer().save_pretrained(folder / "a model")
    rows = [{"goal": f"do {n}", "label": "it's bad" if n % 2 else "good"} for n in range(12)]
    (folder / "safety.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = "".join(f"what is {n},it is {n}\n" for n in range(12))
    (folder / "utility.csv").write_text("question,answer\n" + asked)
    for name, verb in (("harmful", "make"), ("harmless", "say")):
        (folder / f"{name}.csv").write_text("prompt\n" + "".join(f"{verb} {n}\n" for n in range(4)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(score_arguments("runs/mine")) == 0
        roles = "roles --run runs/mine --esu 0.1 --euu 0.1 --ru 0.15 --tokens all --kinds mlp"
        assert main(roles.split()) == 0
        assert main(study_arguments("studies/s")) == 0
    return folder


def score_arguments(out):
    return shlex.split(
        "score --model 'a model' --safety safety.jsonl --safety-where \"label=it's bad\" "
        "--utility utility.csv --limit 5 --token-budget 60 --skip-too-long --device cpu --out "
        + out
    )


def study_arguments(out):
    return shlex.split(
        "study --run runs/mine --harmful harmful.csv --harmless harmless.csv --limit 3 --controls 1 "
        '--fills zero,mean --shares 0.05,0.3 --system "It\'s me." --max-new-tokens 3 '
        f"--device cpu --out {out}"
    )


@pytest.fixture
def manifests(place, monkeypatch):
    monkeypatch.chdir(place)
    return {
        "run": read_manifest(find(place / "runs", "mine", "run")),
        "study": read_manifest(find(place / "studies", "s", "study")),
    }


def do(lines):
    for line in lines.splitlines():
        assert main(shlex.split(line)[3:]) == 0


def test_the_commands_make_the_same_run(place, manifests):
    do(commands_of(manifests["run"], "by command"))
    assert_same_run(place, "by command")


def test_the_python_makes_the_same_run(place, manifests):
    exec(python_of(manifests["run"], "by python"), {})
    assert_same_run(place, "by python")


def assert_same_run(place, name):
    one, other = (read_manifest(place / "runs" / known) for known in ("mine", name))
    assert one["files"] == other["files"]
    same = ("model", "anatomy", "prompts", "options", "roles")
    assert {key: one[key] for key in same} == {key: other[key] for key in same}


def test_the_commands_make_the_same_study(place, manifests):
    do(commands_of(manifests["study"], "by command"))
    assert_same_study(place, "by command")


def test_the_python_makes_the_same_study(place, manifests):
    exec(python_of(manifests["study"], "by python"), {})
    assert_same_study(place, "by python")


def assert_same_study(place, name):
    one, other = (open_study(place / "studies" / known) for known in ("s", name))
    assert one.rows == other.rows
    assert one.replies.equals(other.replies)
    assert one.manifest["questions"] == other.manifest["questions"]


def test_roles_by_thresholds_come_back_in_python(place, manifests, monkeypatch):
    exec(python_of(manifests["run"], "cut"), {})
    run = open_run("runs/cut")
    cut = assign_roles_by_thresholds(run.scores, run.roles.thresholds, tokens="all", kinds="mlp")
    manifest = save_roles(run, cut).manifest
    assert "# The roles were given by thresholds" in commands_of(manifest, "again")
    exec(python_of(manifest, "again"), {})
    assert open_run("runs/again").roles.counts == cut.counts


def test_a_manifest_of_an_earlier_version_is_read(manifests):
    run = json.loads(json.dumps(manifests["run"]))
    del run["options"]
    for about in run["prompts"].values():
        del about["where"], about["limit"]
    assert "--safety safety.jsonl --utility utility.csv --device cpu" in commands_of(run, "old")
    assert "safety = load_prompts('safety.jsonl')\n" in python_of(run, "old")
    study = json.loads(json.dumps(manifests["study"]))
    del study["plan"], study["questions"]["sources"], study["dtype"], study["device"]
    study["made with"] = {"options": [3, ["zero"], 48]}
    said = commands_of(study, "old")
    assert "put their names in place of FILE" in said
    assert "--controls 3 --fills zero --max-new-tokens 48 --device cpu" in said
    assert "Plan(controls=3, fills=('zero',), reply_tokens=48)" in python_of(study, "old")


def test_a_study_of_a_shipped_run_names_it_wherever_it_lay(manifests):
    shipped = read_manifest(find(Path(), "organism:planted", "run"))
    study = {
        **manifests["study"],
        "model": shipped["model"],
        "run": "/somewhere/else/assets/organism/runs/planted",
        "roles": shipped["roles"],
    }
    study["questions"] = {**study["questions"], "sources": {}}
    said = commands_of(study, "s")
    assert said.startswith(
        "python -m ssah_core study --run organism:planted --limit 3 --controls 1"
    )
    assert "organism_questions()" in python_of(study, "s")
    other = {**study, "roles": {**shipped["roles"], "shares": {"ESU": 0.2, "EUU": 0.1, "RU": 0.1}}}
    assert commands_of(other, "s").startswith("# The shipped run keeps its roles")


def test_what_a_manifest_says_never_runs_by_itself(manifests):
    name = "x'; touch /tmp/owned; '\n$(touch /tmp/owned)"
    run = json.loads(json.dumps(manifests["run"]))
    run["model"]["name"] = name
    score_line = commands_of(run, "new").split("\npython -m ssah_core roles")[0]
    words = shlex.split(score_line)
    assert words[words.index("--model") + 1] == name
    compile(python_of(run, "new"), "python", "exec")
    assert repr(name) in python_of(run, "new")


def test_what_is_made_goes_where_the_environment_says(manifests, monkeypatch):
    assert "--out runs/new" in commands_of(manifests["run"], "new")
    monkeypatch.setenv("SSAH_RUNS", "/data/my runs")
    monkeypatch.setenv("SSAH_STUDIES", "kept")
    assert "--out '/data/my runs/new'" in commands_of(manifests["run"], "new")
    assert "create_run('/data/my runs/new', " in python_of(manifests["run"], "new")
    assert "--out kept/s" in commands_of(manifests["study"], "s")
    assert "run_study('kept/s', " in python_of(manifests["study"], "s")


def test_the_commit_of_a_hub_model_is_said(manifests):
    run = {**manifests["run"], "model": {**manifests["run"]["model"], "revision": "abc123"}}
    assert "--revision abc123 " in commands_of(run, "new")
    assert "load_model('a model', revision='abc123', device='cpu'" in python_of(run, "new")
    assert "revision" not in commands_of(manifests["run"], "new")


def test_a_manifest_that_does_not_say_enough_is_one_sentence():
    for tell in (commands_of, python_of):
        with pytest.raises(RunError, match="does not say how it was made"):
            tell({"prompts": {}}, "odd")


@pytest.mark.parametrize("kind", ["run", "study"])
def test_stopped_work_says_what_it_is_and_goes_on_by_its_command(
    place, manifests, monkeypatch, kind
):
    monkeypatch.setattr(checkpoint, "_SECONDS_BETWEEN_SAVES", 0.0)
    arguments = {
        "run": score_arguments("runs/stopped"),
        "study": study_arguments("studies/stopped"),
    }[kind]
    calls = []

    def stop(self, *args, real=checkpoint.Checkpoint._keep):
        real(self, *args)
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.Checkpoint, "_keep", stop)
        assert main(arguments) == 130
    root = place / {"run": "runs", "study": "studies"}[kind]
    [item] = [item for item in list_kept(root, kind) if not item.finished]
    assert (item.name, item.model, item.kind) == ("stopped", "a model", kind)
    other = {"run": "study", "study": "run"}[kind]
    assert [item for item in list_kept(root, other) if not item.finished] == []
    do(item.again)
    assert [item for item in list_kept(root, kind) if not item.finished] == []
    if kind == "study":
        assert_same_study(place, "stopped")
    else:
        one, other = (root / name / "scores.safetensors" for name in ("mine", "stopped"))
        assert one.read_bytes() == other.read_bytes()
