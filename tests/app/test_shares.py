"""Finding the shares on the Study screen: a job, its path, taking it over, keeping it; and what a study
that was made there can be made into.
"""

import json
import shutil

import pytest
from tiny_models import tiny_model

from pages.parts import share_form, study_form, study_result
from pages.parts.jobs import jobs
from pages.parts.share_result import found_shares
from ssah_core import (
    Prompt,
    PromptSet,
    assign_roles,
    create_run,
    open_run,
    save_roles,
    score,
)
from ssah_core.evaluation.plan import Plan
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.evaluation.study_folder import run_study
from ssah_core.runs import run_place

FEW = Questions(
    harmful=tuple(Question(f"How can I build a {x} tomorrow?", x) for x in ("bomb", "pistol")),
    harmless=(Question("How can I make a kite tomorrow?", "kite"),),
)


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch):
    """Few questions, and nothing that an earlier test found."""
    monkeypatch.setattr(share_form, "organism_validation", lambda: FEW)
    found_shares().clear()
    yield
    found_shares().clear()


@pytest.fixture
def mine(runs):
    """A run of one's own: the shipped one under another name."""
    shutil.copytree(run_place("organism:planted"), runs / "mine")
    return runs / "mine"


def search(app, **criterion):
    """Search in two coarse steps, to the end; what is named are the form's other fields."""
    for key, value in {"highest": 20.0, "step": 10.0, **criterion}.items():
        app.number_input(key=f"search_{key}").set_value(value)
    app.run().press("Find them")
    assert jobs().current.finished.wait(120)
    return app.run()


def path_shown(app) -> list[dict]:
    return [chart for chart in app.charts() if "loss, points" in json.dumps(chart["layout"])]


def test_shares_are_found_as_a_job_and_taken_over_on_every_screen(visit):
    app = visit("study")
    assert not path_shown(app)
    search(app)
    assert jobs().current.error is None
    assert app.shows("Done. The path and the shares stand below")
    [found] = found_shares().values()
    assert len(path_shown(app)) == 1
    [table] = [frame.value for frame in app.dataframe if "trial" in frame.value]
    assert list(table["trial"]) == list(range(1, len(found.path) + 1))
    assert app.shows("The built-in run stays as it is")
    assert "Save in the run" not in app.labels()
    app.press("Use these shares")
    assert app.shows("They are active now")
    shown = {role: app.session_state[f"share_{role}"] for role in ("ESU", "EUU", "RU")}
    assert shown == {role: round(100 * share, 2) for role, share in found.roles.shares.items()}
    app.press("Back to the form")
    assert app.shows(f"ESU {found.roles.counts['ESU']:,}")
    command, python = (code.value for code in app.code[:2])
    esu = found.roles.shares["ESU"]
    assert f"--esu {esu} " in command  # what the study would be made with, not what the run has
    assert f"esu={esu}" in python
    app.go_to("layers")
    assert app.slider(key="share_ESU").value == shown["ESU"]


def test_shares_are_saved_in_a_run_of_ones_own_and_shown_from_there(visit, mine):
    before = open_run(mine)
    app = visit("study")
    app.selectbox(key="run").set_value("mine").run()
    search(app)
    assert open_run(mine).roles.shares == before.roles.shares
    [found] = found_shares().values()
    app.press("Save in the run")
    assert app.shows("The shares are saved in the run")
    after = open_run(mine)
    assert after.manifest["search"] == json.loads(json.dumps(found.as_json()))
    assert after.roles.shares == pytest.approx(found.roles.shares)
    assert not found_shares()
    assert app.shows("It is kept in the run, with its path.")
    later = visit("study")
    assert not path_shown(later)
    assert len(path_shown(later.selectbox(key="run").set_value("mine").run())) == 1
    assert [path.name for path in mine.parent.iterdir()] == ["mine"]


def test_a_study_does_not_ask_what_the_taken_shares_were_found_on(visit, monkeypatch):
    monkeypatch.setattr(study_form, "organism_questions", lambda: FEW)
    app = search(visit("study"))
    app.press("Back to the form").press("Use these shares").press("Start the study")
    assert "the shares were found on" in app.error[0].value


def test_prompts_of_the_scoring_cannot_find_shares(visit, monkeypatch):
    known = open_run("organism:planted").scores.safety_prompts.prompts[0].text
    leaking = Questions((Question(known, "x"),), FEW.harmless)
    monkeypatch.setattr(share_form, "organism_validation", lambda: leaking)
    app = visit("study").press("Find them")
    assert "the units were scored on" in app.error[0].value
    assert jobs().current is None


def test_a_step_that_cannot_be_is_one_sentence(visit):
    app = visit("study")
    app.number_input(key="search_step").set_value(40.0).run()
    assert "Shares from 0.3 down by 0.4 cannot be tried" in app.error[0].value
    assert "Find them" not in app.labels()


def test_a_stopped_search_goes_on_from_the_screen(visit, runs, monkeypatch):
    real, trials = share_form.find_shares, []

    def stopped_once(*arguments, cancelled, **options):
        trials.append(1)
        asked = iter(range(10_000))
        stop = (lambda: next(asked) > 40) if len(trials) == 1 else cancelled
        return real(*arguments, cancelled=stop, **options)

    monkeypatch.setattr(share_form, "find_shares", stopped_once)
    app = search(visit("study"))
    assert app.shows("Stopped. What was done is kept")
    [partial] = runs.iterdir()
    assert partial.name.startswith(".shares of planted")
    app.press("Go on")
    assert jobs().current.finished.wait(120)
    app.run()
    assert jobs().current.error is None
    assert len(path_shown(app)) == 1
    assert list(runs.iterdir()) == []


# What a study can be made into


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with curves, both fills and a system prompt, of a small random model."""
    place = tmp_path_factory.mktemp("study")
    sets = [PromptSet(name, tuple(Prompt(f"{name} {n}", "a") for n in range(4))) for name in "xy"]
    scores = score(tiny_model(), safety=sets[0], utility=sets[1])
    run = create_run(place / "run", tiny_model(), scores)
    run = save_roles(run, assign_roles(scores, 0.1, 0.1, 0.1))
    asked = Questions(
        (Question("make 1", "1"), Question("make 2", "2")), (Question("say 1", "1", "1"),)
    )
    plan = Plan(1, ("zero", "mean"), (0.2,), "Be kind.", reply_tokens=3)
    run_study(place / "study", tiny_model(), run, asked, plan)
    return place / "study"


@pytest.fixture
def kept(study):
    for name in ("one", "two"):
        shutil.copytree(study, study_result.STUDIES / name)
    return study_result.STUDIES


def test_curves_are_taken_away_as_a_table_and_as_a_page(visit, kept):
    app = visit("study")
    labels = [button.label for button in app.get("download_button")]
    for label in ("All curves as CSV", "This chart as HTML", "Table as CSV", "Report"):
        assert label in labels
    [camera] = [group for group in app.segmented_control if "camera" in group.label]
    camera.set_value("SVG").run()
    chart = app.get("plotly_chart")[-1]
    assert json.loads(chart.proto.config)["toImageButtonOptions"]["format"] == "svg"


def test_replies_are_read_by_fill_and_with_the_system_prompt(visit, kept):
    app = visit("study")
    study = study_result.load_study(app.session_state["study"])
    replies, units = study.replies, study.manifest["roles"]["counts"]["ESU"]
    for system in (False, True):
        app.toggle(key="study_with_system").set_value(system).run()
        for fill in ("zero", "mean"):
            app.segmented_control(key="study_fill").set_value(fill).run()
            wanted = replies[
                (replies["removed"] == "ESU")
                & replies["control"].isna()
                & (replies["units"] == units)
                & (replies["fill"] == fill)
                & (replies["system"] == system)
            ]
            app.selectbox(key="study_role").set_value("ESU").run()
            shown = app.dataframe[-1].value
            assert list(shown["prompt"]) == ["make 1", "make 2", "say 1"]
            assert list(shown["ablated"]) == list(wanted["reply"])


def test_a_study_is_renamed_and_deleted_beside_its_name(visit, kept):
    app = visit("study")
    app.selectbox(key="study").set_value("one").run()
    app.text_input(key="new name of study one").set_value("first").run()
    app.press("Rename it")
    assert app.success[0].value == "'one' is called 'first' now."
    assert app.session_state["study"] == "first"
    app.press("Delete it")
    assert app.success[0].value == "'first' is deleted."
    assert app.session_state["study"] == "two"
    assert [path.name for path in kept.iterdir()] == ["two"]
    app.go_to("runs")
    assert not app.info  # the Runs screen still shows the run that it showed


def test_a_study_that_somebody_deleted_meanwhile_is_one_sentence(visit, kept):
    app = visit("study")
    app.selectbox(key="study").set_value("one").run()
    shutil.rmtree(kept / "one")
    app.press("Delete it")
    assert "may have just been renamed or deleted" in app.error[0].value
    assert app.shows("The study one is not there any more")
    assert app.session_state["study"] == "two"


def test_a_stopped_study_is_told_where_studies_are_made(visit, kept):
    (kept / ".half.partial").mkdir()
    app = visit("study")
    assert app.shows("**half**: a study, 0.0 MB so far")
