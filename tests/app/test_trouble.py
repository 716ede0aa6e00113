"""What goes wrong is one sentence, and the way on is still there: damaged runs, broken models, defects."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_models import tiny_network, tiny_tokenizer

from pages.parts import places, score_job
from pages.parts.jobs import jobs
from pages.parts.models import slot
from ssah_core import create_run, load_model, score
from ssah_core.errors import ModelError, RunError
from ssah_core.prompts.reading import Prompt, PromptSet

LONGEST_WAIT = 120  # seconds
PAGES = sorted(page.stem for page in (Path(__file__).parents[2] / "pages").glob("*.py"))


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run of the built-in model, made once; tests take copies."""
    safety, utility = (
        PromptSet(verb, tuple(Prompt(f"How do I {verb} a {thing}?", "Sure.") for thing in "abc"))
        for verb in ("break", "make")
    )
    model = load_model("organism:planted", device="cpu")
    folder = tmp_path_factory.mktemp("scored") / "run"
    create_run(folder, model, score(model, safety=safety, utility=utility))
    return folder


@pytest.fixture
def models_root(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "_MODELS", tmp_path)
    return tmp_path


def choose_run(app, name: str):
    return app.selectbox(key="run").set_value(name).run()


def choose_model(app, name: str):
    return app.selectbox(key="model").set_value(name).run()


# Runs


def test_a_run_without_kept_roles_has_the_usual_shares(visit, runs, scored):
    shutil.copytree(scored, runs / "mine")
    app = choose_run(visit("chat"), "mine").press("ESU off")
    assert app.switched_off == "ESU off: 291 of 3,648 units (8.0%)"
    assert app.slider(key="share_RU").value == 15.0


@pytest.mark.parametrize("page", PAGES)
def test_a_run_that_lost_its_scores_is_one_sentence_and_another_can_be_chosen(
    visit, runs, scored, page
):
    shutil.copytree(scored, runs / "broken")
    for file in (runs / "broken").glob("*.safetensors"):
        file.unlink()
    app = choose_run(visit(page), "broken")
    assert len(app.error) == 1
    assert [e.value for e in choose_run(app, "organism:planted").error] == []


def test_a_folder_that_is_no_run_is_not_offered(visit, runs, scored):
    shutil.copytree(scored, runs / "mine")
    (runs / "notes").mkdir()
    (runs / "damaged").mkdir()
    (runs / "damaged" / "manifest.json").write_text("{")
    assert list(visit("chat").selectbox(key="run").options) == ["organism:planted", "mine"]


def test_a_run_of_another_model_is_offered_for_comparison_only(visit, runs, scored):
    shutil.copytree(scored, runs / "other")
    manifest = json.loads((runs / "other" / "manifest.json").read_text())
    manifest["model"]["fingerprint"] = "of another model"
    (runs / "other" / "manifest.json").write_text(json.dumps(manifest))
    app = visit("layers")
    assert [box.key for box in app.sidebar.selectbox] == ["model"]
    assert "other" in app.selectbox(key="beside").options


def test_a_run_that_is_deleted_while_it_is_shown_gives_way_to_another(visit, runs, scored):
    shutil.copytree(scored, runs / "mine")
    app = choose_run(visit("layers"), "mine")
    shutil.rmtree(runs / "mine")
    app.run()
    assert not app.error
    assert app.session_state["run"] == "organism:planted"


# Models


@pytest.mark.parametrize("config", ["{", "{}", '{"model_type": "bert"}', '{"model_type": "llama"}'])
def test_a_model_that_cannot_be_opened_is_one_sentence_and_the_open_one_stays(
    visit, models_root, config
):
    (models_root / "broken").mkdir()
    (models_root / "broken" / "config.json").write_text(config)
    app = choose_model(visit("chat"), "folder:broken")
    assert len(app.error) == 1
    assert slot().name == "organism:planted"
    assert app.selectbox(key="model").value == "organism:planted"
    app.press("How do I make a kite?")
    assert app.session_state["conversation"].turns[-1].finished


def test_a_model_whose_folder_is_gone_is_one_sentence_and_another_can_be_chosen(visit, models_root):
    name = "a'b \"q"
    (models_root / name).mkdir()
    (models_root / name / "config.json").write_text("{}")
    app = visit("chat")
    shutil.rmtree(models_root / name)
    choose_model(app, f"folder:{name}")
    assert [error.value for error in app.error] == [
        f"There is no model {name} any more in the folder of models; choose another, or put it there."
    ]
    assert slot().name == app.selectbox(key="model").value == "organism:planted"
    choose_model(app, "organism:base")
    assert not app.error


def test_a_model_of_ones_own_is_never_called_by_its_path(visit, models_root):
    tiny_network("llama").save_pretrained(models_root / "tiny")
    tiny_tokenizer().save_pretrained(models_root / "tiny")
    app = choose_model(visit("chat"), "folder:tiny")
    assert app.selectbox(key="model").value == "folder:tiny"
    for page in PAGES:
        app.go_to(page)
        assert not app.error
        assert not app.shows(str(models_root))


def test_a_first_model_that_cannot_be_opened_leaves_a_way_to_try_again(visit, monkeypatch):
    opened = slot().lease
    monkeypatch.setattr(slot(), "lease", _refuse)
    app = visit("chat")
    assert app.shows("No model is open just now")
    monkeypatch.setattr(slot(), "lease", opened)
    app.press("Try again")
    assert not app.error
    assert app.press("ESU off").switched_off.startswith("ESU off: ")


def _refuse():
    raise ModelError("No model is open just now; wait a moment, or open one.")


# Jobs


def start_and_fail(app, monkeypatch, error: Exception):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(score_job, "score", fail)
    app.press("Start")
    assert jobs().current.finished.wait(LONGEST_WAIT)
    return app.run()


def test_a_job_that_fails_says_why_and_can_go_on(visit, runs, monkeypatch):
    usual = score_job.score
    app = start_and_fail(visit("score"), monkeypatch, RunError("The disk is full; make room."))
    assert app.error[0].value == "The disk is full; make room."
    assert list(runs.iterdir()) == []
    monkeypatch.setattr(score_job, "score", usual)
    app.press("Back to the form")
    assert "Start" in app.labels()
    assert not app.error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_in_a_job_is_one_sentence_and_no_endless_wait(visit, monkeypatch):
    app = start_and_fail(visit("score"), monkeypatch, ZeroDivisionError("by zero"))
    assert "ZeroDivisionError" in app.error[0].value
    assert "This is a defect" in app.error[0].value
    assert "Back to the form" in app.labels()
