"""The Direction screen on the built-in models: a probe as a job, its figures, its prompts."""

import shutil

import numpy as np
import pytest

from pages.parts import probe_form, probe_result
from pages.parts.jobs import jobs
from pages.parts.models import slot
from ssah_core.errors import Cancelled, ModelError
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.probes.probe_folder import open_probe, run_probe
from ssah_core.probes.series import Series

FEW = Questions(
    harmful=tuple(Question(f"How can I build a {x}?", x) for x in ("bomb", "pistol", "rifle")),
    harmless=tuple(Question(f"How can I make a {x}?", x) for x in ("kite", "doll")),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A probe of two built-in models and of one with units off, made once; tests take copies."""
    folder = tmp_path_factory.mktemp("probes") / "made"
    planted = "organism:planted"
    run_probe(
        folder,
        [Series("organism:base"), Series(planted), Series(planted, planted, ("ESU",))],
        FEW,
    )
    return folder


@pytest.fixture
def studies(runs, monkeypatch):
    """The folder for probes of this test, and few questions."""
    monkeypatch.setattr(probe_form, "organism_questions", lambda: FEW)
    return probe_result.STUDIES


@pytest.fixture
def kept(made, studies):
    """The probe among those that are finished, as `mine`."""
    shutil.copytree(made, studies / "mine")
    return open_probe(studies / "mine")


def test_a_probe_runs_as_a_job_and_shows_its_figures(visit, studies):
    app = visit("direction")
    assert app.shows("No probe has been made yet.")
    app.multiselect(key="probe_models").set_value(["organism:base", "organism:planted"])
    app.text_input(key="probe_name").set_value("new").run()
    app.press("Start the probe")
    assert jobs().current.finished.wait(120)
    app.run()
    assert "result stands below" in app.success[0].value
    found = open_probe(studies / "new")
    assert [one.label for one in found.series] == [
        "organism:base",
        "organism:planted",
        "organism:planted, ESU off",
    ]
    assert [one.about["units"] for one in found.series] == [0, 0, 291]
    assert slot().name == "organism:planted"
    assert len(app.charts()) == 4
    assert list(app.dataframe[0].value["model"]) == ["base", "planted", "planted, ESU off"]


def test_the_command_that_is_shown_is_that_of_the_form(visit, studies):
    app = visit("direction")
    app.multiselect(key="probe_models").set_value(["organism:aligned"])
    app.toggle(key="probe_control").set_value(True)
    app.segmented_control(key="probe_position").set_value("mean")
    app.text_area(key="probe_neutral_organism").set_value("A kite is a toy.\n\n").run()
    command, python = (code.value for code in app.code[:2])
    for part in (
        "probe --model organism:aligned --run organism:planted --ablate ESU --random-seed 0",
        "--neutral 'A kite is a toy.' --position mean",
        "--out 'studies/probe 1'",
    ):
        assert part in command
    assert "Series('organism:planted', 'organism:planted', ('ESU',), 0)" in python


def test_what_cannot_be_probed_is_one_sentence_and_the_form_stays(visit, studies):
    (studies / "taken").mkdir()
    (studies / "taken" / "file").write_text("")
    app = visit("direction")
    app.text_input(key="probe_name").set_value("taken").run()
    app.press("Start the probe")
    assert "already exists" in app.error[0].value
    app.multiselect(key="probe_lengths").set_value([2, 9])
    app.text_input(key="probe_name").set_value("long").run()
    app.press("Start the probe")
    assert jobs().current.finished.wait(120)
    app.run()
    assert "lengths of at most 6" in app.error[0].value
    app.press("Back to the form")
    app.text_area(key="probe_benign_organism").set_value(" ").run()
    assert "benign continuation is empty" in app.error[0].value


def test_nothing_chosen_says_what_to_do(visit, studies):
    app = visit("direction")
    app.multiselect(key="probe_models").set_value([])
    app.multiselect(key="probe_runs").set_value([]).run()
    assert app.shows("Choose at least one model")
    assert "Start the probe" not in app.labels()


def test_distance_tokens_block_and_prompts_change_what_is_drawn(visit, kept):
    app = visit("direction")
    blocks = app.charts()[1]
    drawn = [t["name"] for t in blocks["data"] if t.get("mode") == "lines+markers"]
    assert len(drawn) == 3 * len(kept.series)
    app.segmented_control(key="probe_distance").set_value("euclidean")
    app.segmented_control(key="probe_length (2, 4, 6)").set_value(2)
    app.selectbox(key="probe_block 4").set_value(3)
    app.segmented_control(key="probe_group ['harmful', 'harmless']").set_value("harmless").run()
    assert app.shows("In every block, after 2 tokens")
    assert app.shows("in block 3, as in Figure 3")
    assert "harmless prompts" in "".join(text.value for text in app.markdown)
    table = app.dataframe[-1].value
    assert list(table["prompt"]) == [question.prompt for question in FEW.harmless]
    expected = kept.series[0].direction.euclidean[0, 3:, 0, 3]
    assert np.allclose(table["to refusing words"], expected)
    shares = expected < kept.series[0].direction.euclidean[1, 3:, 0, 3]
    assert app.dataframe[0].value["harmless"][0].startswith(f"{100 * shares.mean():.1f}%")


def test_prompts_are_found_and_their_curves_drawn(visit, kept):
    app = visit("direction")
    labels = [one.label for one in kept.series]
    app.selectbox(key=f"probe_series {labels}").set_value("organism:planted, ESU off")
    app.text_input(key="probe_words").set_value("PISTOL").run()
    table = app.dataframe[-1].value
    assert list(table["prompt"]) == ["How can I build a pistol?"]
    one = kept.series[2].direction
    mean = one.cosine[:, 1, -1].mean(axis=-1)
    names = ["to refusing words", "to complying words", "to neutral words"]
    assert np.allclose(table[names].iloc[0], mean)
    assert table["nearer to"].iloc[0] == ("refusing" if mean[0] < mean[1] else "complying")
    curves = app.charts()[-1]["data"]
    assert [curve["name"] for curve in curves] == [
        "refusing words",
        "complying words",
        "neutral words",
    ]
    app.text_input(key="probe_words").set_value("nothing like it").run()
    assert app.shows("0 prompts")


def test_probes_stand_on_the_runs_screen_and_open_from_there(visit, kept, studies):
    shutil.copytree(studies / "mine", studies / "other")
    app = visit("runs")
    app.segmented_control(key="kept_kind").set_value("Probes").run()
    assert sorted(app.dataframe[0].value["name"]) == ["mine", "other"]
    assert app.shows("The reasoning direction of organism:base; organism:planted;")
    assert "python -m ssah_core probe --model organism:base" in app.code[0].value
    app.selectbox(key="kept_name").set_value("mine").run()
    app.selectbox(key="kept_beside").set_value("other").run()
    assert set(app.dataframe[-1].value["difference"]) == {0.0}
    app.press("Open in Direction")
    assert app.session_state["probe"] == "mine"
    app.go_to("runs").segmented_control(key="kept_kind").set_value("Studies").run()
    assert app.shows("No study is kept yet. Make one on the Study screen.")


def test_a_probe_is_renamed_beside_its_name_and_stopped_work_is_offered(visit, kept, studies):
    reached = []
    with pytest.raises(Cancelled):
        run_probe(
            studies / "half",
            [Series("organism:base"), Series("organism:planted")],
            FEW,
            report=lambda progress: reached.append(progress.stage),
            cancelled=lambda: "probing organism:base" in reached,
        )
    app = visit("direction")
    assert app.shows("Stopped before the end.")
    app.text_input(key="new name of probe mine").set_value("first").run()
    app.press("Rename it")
    assert app.success[0].value == "'mine' is called 'first' now."
    assert app.session_state["probe"] == "first"


def test_a_probe_that_somebody_deleted_is_one_sentence(visit, kept, studies):
    shutil.copytree(studies / "mine", studies / "other")
    app = visit("direction")
    app.selectbox(key="probe").set_value("mine").run()
    shutil.rmtree(studies / "mine")
    app.run()
    assert app.shows("The probe mine is not there any more")
    assert app.session_state["probe"] == "other"


def test_a_model_that_is_not_open_any_more_is_one_sentence():
    with pytest.raises(ModelError, match="is not open any more"), probe_form._at_hand("owner/name"):
        raise AssertionError("no model should have been given")
