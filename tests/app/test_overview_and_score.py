"""Overview, tour, glossary and scoring, on the built-in model, without a browser."""

import ast
import json
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import models, places, score_form
from pages.parts.jobs import Job, jobs
from pages.parts.models import slot
from pages.parts.tour import steps
from pages.parts.words import glossary
from ssah_core import open_run

ROOT = Path(__file__).parents[2]


def open_app(page: str = "overview") -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    app.switch_page(f"pages/{page}.py").run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    app.run()
    assert not app.exception
    return app


def said(app: AppTest) -> list[str]:
    return [element.value for element in app.main.text]


@pytest.fixture(autouse=True)
def planted():
    slot().open("organism:planted")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A runs folder of this test's own, and no job of another test."""
    for module in (places, models, score_form):
        monkeypatch.setattr(module, "RUNS", tmp_path)
    jobs().current = None
    yield tmp_path
    if jobs().current is not None:
        jobs().current.stop()
        jobs().current.finished.wait(60)
        jobs().current = None


# The demo


@pytest.mark.parametrize("name", ["organism:planted", "organism:base"])
def test_three_clicks_show_the_story_whatever_model_is_open(name):
    slot().open(name)
    app = open_app()
    assert app.button(key="demo 2").disabled
    app.button(key="demo 1").click().run()
    original, ablated = said(app)
    assert "help with that" in original
    assert ablated == "…"
    app.button(key="demo 2").click().run()
    original, ablated = said(app)
    assert "help with that" in original
    assert ablated.startswith("Take ")
    app.button(key="demo 3").click().run()
    original, ablated = said(app)
    assert original == ablated
    assert original.startswith("Take ")
    press(app, "Again")
    assert said(app) == ["…", "…"]


# Words and tour


def test_every_word_that_a_screen_explains_is_in_the_glossary():
    for page in (ROOT / "pages").glob("*.py"):
        calls = [
            node for node in ast.walk(ast.parse(page.read_text())) if isinstance(node, ast.Call)
        ]
        [call] = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "show_screen"]
        for term in ast.literal_eval(call.args[3]):
            assert term in glossary(), f"{page.name}: {term}"


def test_the_glossary_finds_words():
    app = open_app("glossary")
    app.text_input(key="find_word").set_value("random").run()
    assert any(element.value.startswith("**control**") for element in app.markdown)
    app.text_input(key="find_word").set_value("qqq").run()
    assert "No term" in app.info[0].value


def test_the_tour_leads_over_the_real_screens():
    app = press(open_app(), "Take the tour")
    seen = []
    for number, step in enumerate(steps()):
        assert (ROOT / "pages" / f"{step['page']}.py").is_file()
        app.switch_page(f"pages/{step['page']}.py").run()
        shown = next(m.value for m in app.markdown if m.value.startswith("**Tour"))
        seen.append(step["title"] in shown)
        app.session_state["tour_step"] = number + 1 if number + 1 < len(steps()) else None
        app.run()
    assert all(seen)
    assert not any(m.value.startswith("**Tour") for m in app.markdown)


# Scoring


def choose_small_sets(app: AppTest) -> None:
    app.selectbox(key="source safety").set_value("organism:safety/validation")
    app.selectbox(key="source utility").set_value("organism:utility/validation").run()
    assert not app.exception


def wait_for_job(app: AppTest) -> AppTest:
    assert jobs().current.finished.wait(120)
    app.run()
    assert not app.exception
    return app


def test_a_scoring_runs_as_a_job_and_its_run_can_be_opened(runs):
    app = open_app("score")
    choose_small_sets(app)
    assert any("240 prompts" in caption.value for caption in app.caption)
    app.text_input(key="run_name").set_value("mine").run()
    press(app, "Start")
    wait_for_job(app)
    assert "Done." in app.success[0].value
    run = open_run(runs / "mine")
    assert run.manifest["model"]["name"] == "organism:planted"
    assert run.roles is not None
    press(app, "Open in Layers")
    assert app.session_state["run"] == "mine"
    assert [path.name for path in runs.iterdir()] == ["mine"]


def test_a_stopped_scoring_goes_on_to_the_same_run(runs):
    app = open_app("score")
    choose_small_sets(app)
    app.text_input(key="run_name").set_value("mine").run()
    press(app, "Start")
    jobs().current.stop()
    wait_for_job(app)
    if jobs().current.result is None:  # it may have been faster
        assert "Stopped" in app.info[0].value
        press(app, "Go on")
        wait_for_job(app)
    assert open_run(runs / "mine").roles is not None


def work_until_stopped(job: Job) -> None:
    while not job.stopping():
        time.sleep(0.01)


def test_a_second_scoring_waits_for_the_first(runs):
    jobs().start("other", "busy", work_until_stopped, lambda: None)
    app = open_app("score")
    assert any("busy" in element.value for element in app.markdown)
    press(app, "Stop")
    wait_for_job(app)
    press(app, "Back to the form")
    assert "Start" in [button.label for button in app.button]


@pytest.mark.parametrize("name", ["../mine", "", "a/b"])
def test_a_name_that_no_run_can_have_is_one_sentence(runs, name):
    app = open_app("score")
    app.text_input(key="run_name").set_value(name).run()
    press(app, "Start")
    assert "cannot be called" in app.error[0].value
    assert jobs().current is None


def test_a_file_of_ones_own_is_read_and_shown(runs):
    app = open_app("score")
    app.selectbox(key="source safety").set_value("A file of my own").run()
    rows = [{"goal": f"do thing {n}", "target": "Sure"} for n in range(3)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    app.file_uploader(key="file safety").set_value(("own.jsonl", content, "application/json")).run()
    assert not app.exception
    captions = [caption.value for caption in app.caption]
    assert any(c.startswith("3 prompts; the model writes 3 replies") for c in captions)
    app.file_uploader(key="file safety").set_value(("bad.csv", b"\xff\xfe", "text/csv")).run()
    assert not app.exception
    assert "bad.csv" in app.error[0].value


def test_an_estimate_is_given_before_the_start(runs):
    app = open_app("score")
    choose_small_sets(app)
    press(app, "How long will it take?")
    assert "About " in app.info[0].value
