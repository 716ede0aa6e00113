"""The Runs screen: what is kept, how it was made, and what can be done with it."""

import shutil

import pytest
from tiny_models import tiny_model

from pages.parts import kept_changes
from pages.parts.jobs import Job, jobs
from ssah_core import assign_roles, create_run, open_run, save_roles, score
from ssah_core.archives import pack
from ssah_core.evaluation.plan import Plan
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.evaluation.study_folder import run_study
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.runs import run_place

ASKED = Questions((Question("make 1", "1"),), (Question("say 1", "1"),))


@pytest.fixture
def mine(runs):
    """A run of one's own, `mine`: the shipped one under another name."""
    shutil.copytree(run_place("organism:planted"), runs / "mine")
    return runs / "mine"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A run of a model that is not offered, and a study of it, made once."""
    place = tmp_path_factory.mktemp("tiny")
    sets = [PromptSet(name, tuple(Prompt(f"{name} {n}", "a") for n in range(4))) for name in "xy"]
    scores = score(tiny_model(), safety=sets[0], utility=sets[1])
    run = create_run(place / "run", tiny_model(), scores)
    run = save_roles(run, assign_roles(scores, 0.1, 0.1, 0.1))
    run_study(place / "study", tiny_model(), run, ASKED, Plan(1, reply_tokens=2))
    return place


def choose(app, name):
    return app.selectbox(key="kept_name").set_value(name).run()


def listed(app) -> list[str]:
    return list(app.dataframe[0].value["name"])


BUILT_IN = ["organism:base", "organism:aligned", "organism:planted"]


def test_built_in_runs_are_shown_and_stay_as_they_are(visit):
    app = visit("runs")
    assert listed(app) == BUILT_IN
    assert app.shows(
        "The units of organism:planted (2,163,840 weights, LlamaForCausalLM) were scored."
    )
    assert app.shows("Safety prompts: ")
    assert "python -m ssah_core score --model organism:planted" in app.code[0].value
    assert "model = load_model('organism:planted'" in app.code[1].value
    assert app.shows("comes with the built-in model and stays as it is")
    assert "Rename it" not in app.labels()
    assert "Delete it" not in app.labels()
    assert "Download as zip" in [button.label for button in app.get("download_button")]


def test_a_run_gets_another_name_and_the_other_screens_follow(visit, mine):
    app = visit("chat")
    app.selectbox(key="run").set_value("mine").run()
    choose(app.go_to("runs"), "mine")
    app.text_input(key="new name of run mine").set_value("a better name").run()
    app.press("Rename it")
    assert app.success[0].value == "'mine' is called 'a better name' now."
    assert listed(app) == [*BUILT_IN, "a better name"]
    assert app.selectbox(key="run").value == "a better name"
    assert app.selectbox(key="kept_name").value == "a better name"
    assert not app.info


@pytest.mark.parametrize(
    ("new", "said"), [("../out", "A name cannot be"), ("mine", "already exists"), ("", "cannot be")]
)
def test_a_name_that_cannot_be_is_one_sentence(visit, mine, new, said):
    app = choose(visit("runs"), "mine")
    app.text_input(key="new name of run mine").set_value(new).run()
    app.press("Rename it")
    assert len(app.error) == 1
    assert said in app.error[0].value
    assert [path.name for path in mine.parent.iterdir()] == ["mine"]


def test_a_run_is_deleted_and_the_screen_says_so_once(visit, mine):
    app = choose(visit("runs"), "mine").press("Delete it")
    assert app.success[0].value == "'mine' is deleted."
    assert list(mine.parent.iterdir()) == []
    assert listed(app) == BUILT_IN
    assert not app.info
    assert not app.run().success


@pytest.mark.parametrize("page", ["chat", "layers", "runs", "score", "study"])
def test_a_run_that_somebody_deleted_is_one_sentence_on_every_screen(visit, mine, page):
    app = visit("runs")
    choose(app, "mine").selectbox(key="run").set_value("mine").run()
    app.go_to(page)
    shutil.rmtree(mine)
    app.run()
    assert not app.error
    assert "The run mine is not there any more" in app.sidebar.info[0].value
    assert app.session_state["run"] in BUILT_IN
    assert len(app.main.info) == (1 if page == "runs" else 0)
    assert not app.run().info


def test_pressing_a_button_on_what_somebody_deleted_is_one_sentence(visit, mine):
    app = choose(visit("runs"), "mine")
    shutil.rmtree(mine)
    app.press("Delete it")
    assert "may have just been renamed or deleted" in app.error[0].value


def test_a_run_of_the_open_model_opens_in_layers(visit, mine):
    app = choose(visit("runs"), "mine").press("Open in Layers")
    assert app.session_state["run"] == "mine"
    assert not app.error


def test_a_run_of_another_built_in_model_opens_with_its_model(visit):
    app = choose(visit("runs"), "organism:aligned").press("Open in Layers")
    assert app.session_state["run"] == "organism:aligned"
    assert app.selectbox(key="model").value == "organism:aligned"


def test_a_run_of_a_model_that_is_not_offered_says_how_to_see_it(visit, runs, tiny):
    shutil.copytree(tiny / "run", runs / "tiny")
    app = choose(visit("runs"), "tiny")
    assert app.shows("open its model in the sidebar first")
    assert "Open in Layers" not in app.labels()


def test_two_runs_are_compared(visit, mine):
    app = choose(visit("runs"), "mine")
    app.selectbox(key="kept_beside").set_value("organism:planted").run()
    assert app.shows("were made from the same model")
    table, moved = app.dataframe[-2].value, app.dataframe[-1].value
    assert list(table["overlap"]) == ["100.0%"] * 4
    assert moved.to_numpy().sum() == sum(moved.to_numpy().diagonal())
    app.selectbox(key="kept_beside").set_value("organism:aligned").run()
    assert app.shows("were made from different models")
    assert "100.0%" not in list(app.dataframe[-2].value["overlap"])


def test_studies_are_listed_compared_and_opened(visit, runs, tiny):
    for name in ("one", "two"):
        shutil.copytree(tiny / "study", kept_changes.STUDIES / name)
    app = visit("runs")
    app.segmented_control(key="kept_kind").set_value("Studies").run()
    assert sorted(listed(app)) == ["one", "two"]
    assert app.shows("1 harmful, 1 harmless, 0 look-alikes")
    app.selectbox(key="kept_name").set_value("one").run()
    app.selectbox(key="kept_beside").set_value("two").run()
    table = app.dataframe[-1].value
    assert set(table["difference"]) <= {"0.0", "0"}
    app.press("Open in Study")
    assert app.session_state["study"] == "one"


def test_stopped_work_says_what_it_is_and_can_be_deleted(visit, runs):
    (runs / ".half.partial").mkdir()
    app = visit("runs")
    assert app.shows("**half**: a run, 0.0 MB so far")
    jobs().current = Job("half", "Scoring", lambda: None)
    app.button(key="stopped run half").click().run()
    assert "being worked on" in app.error[0].value
    jobs().current = None
    app.button(key="stopped run half").click().run()
    assert app.success[0].value == "'half' is deleted."
    assert list(runs.iterdir()) == []


def bring_in(app, name, content, as_name):
    app.file_uploader(key="zip run").upload(name, content, "application/zip").run()
    app.text_input(key=f"as run {name}").set_value(as_name).run()
    return app.press("Bring it in")


def test_a_zip_is_brought_in_and_a_damaged_one_is_one_sentence(visit, mine):
    content = pack(mine)
    app = bring_in(visit("runs"), "mine (1).zip", content, "copy")
    assert app.success[0].value == "'copy' is there now."
    assert open_run(mine.parent / "copy").roles is not None
    app = bring_in(visit("runs"), "mine.zip", content, "copy")
    assert "already exists" in app.error[0].value
    app = bring_in(visit("runs"), "half.zip", content[:-300], "half")
    assert "no zip archive" in app.error[0].value
    assert sorted(path.name for path in mine.parent.iterdir()) == ["copy", "mine"]


def test_a_link_shows_the_same_run_of_the_list(visit, mine):
    app = visit("runs", kept_name="mine")
    assert app.selectbox(key="kept_name").value == "mine"
    assert app.query_params["kept_name"] == "mine"
    for bad in ("../out", "gone"):
        app = visit("runs", kept_name=bad)
        assert app.selectbox(key="kept_name").value in BUILT_IN
        assert not app.error


def test_a_run_with_a_manifest_that_says_too_little_is_one_sentence(visit, mine):
    (mine / "manifest.json").write_text(
        '{"model": {"name": "x", "fingerprint": "y"}, "created": "now", "files": {}}'
    )
    app = choose(visit("runs"), "mine")
    assert "does not say how it was made" in app.error[0].value
    assert app.press("Delete it").success[0].value == "'mine' is deleted."


def test_a_study_that_somebody_deleted_is_one_sentence(visit, runs, tiny):
    for name in ("one", "two"):
        shutil.copytree(tiny / "study", kept_changes.STUDIES / name)
    app = visit("study")
    app.selectbox(key="study").set_value("one").run()
    shutil.rmtree(kept_changes.STUDIES / "one")
    app.run()
    assert app.shows("The study one is not there any more")
    assert app.session_state["study"] == "two"
