"""The Runs screen: what is kept, how it was made, renaming and deleting."""

import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import kept
from pages.parts.models import slot
from ssah_core.runs import run_place

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder with one run, `mine`."""
    slot().open("organism:planted")
    monkeypatch.setattr(kept, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(kept, "STUDIES", tmp_path / "studies")
    shutil.copytree(run_place("organism:planted"), tmp_path / "runs" / "mine")
    return tmp_path / "runs"


def open_runs_screen() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    app.switch_page("pages/runs.py").run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click()
    app.run()
    assert not app.exception


def test_a_run_shows_how_it_was_made_and_gets_another_name(runs):
    app = open_runs_screen()
    assert list(app.dataframe[0].value["name"]) == ["mine"]
    assert "python -m ssah_core score" in app.code[0].value
    app.text_input(key="kept_new").set_value("better").run()
    press(app, "Rename it")
    assert "better" in app.success[0].value
    assert [path.name for path in runs.iterdir()] == ["better"]
    app.text_input(key="kept_new").set_value("../out").run()
    press(app, "Rename it")
    assert "cannot be called" in app.error[0].value


def test_a_run_is_deleted_and_the_screen_says_so(runs):
    app = open_runs_screen()
    press(app, "Delete it")
    assert "deleted" in app.success[0].value
    assert list(runs.iterdir()) == []
    assert any("No runs are kept" in caption.value for caption in app.main.caption)


def test_stopped_work_is_listed_and_can_be_deleted(runs):
    (runs / ".half.partial").mkdir()
    app = open_runs_screen()
    assert "stopped, can go on" in list(app.dataframe[0].value["made"])
    app.button(key="stopped half").click().run()
    assert not app.exception
    assert not (runs / ".half.partial").exists()
