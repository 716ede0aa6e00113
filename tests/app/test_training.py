"""The Training screen: a model is trained as a job, shown, and chatted with; an experiment beside it."""

import json
from dataclasses import replace

import pytest

from pages.parts import experiment_form, training_form
from pages.parts.jobs import jobs
from pages.parts.places import model_folders, models_root
from pages.parts.training_form import TrainingRequest, start_training
from ssah_core import Prompt, PromptSet, load_model, open_run
from ssah_core.evaluation.questions import organism_questions
from ssah_core.training import presets
from ssah_core.training.experiment_folder import keep_experiment
from ssah_core.training.lessons import Lesson
from ssah_core.training.options import TrainingOptions
from ssah_core.training.trainer import open_finetuned
from ssah_core.training.unit_sets import UnitSet

FEW = organism_questions().first(2)
SHORT = Lesson(
    "new skill",
    "A short lesson.",
    PromptSet("short", tuple(Prompt(f"How much is {n}?", "It costs 3 coins.") for n in range(4))),
)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(training_form, "new_skill", lambda: SHORT)
    monkeypatch.setattr(training_form, "organism_questions", lambda: FEW)
    monkeypatch.setattr(experiment_form, "organism_questions", lambda: FEW)
    monkeypatch.setattr(experiment_form.lessons, "new_skill", lambda: SHORT)


def train(app):
    app.number_input(key="training_epochs").set_value(1.0)
    app.number_input(key="training_batch").set_value(2).run()
    app.press("Start the training")
    assert jobs().current.finished.wait(120)
    return app.run()


def test_a_training_is_a_job_whose_model_is_shown_and_chatted_with(visit):
    app = train(visit("training"))
    assert jobs().current.error is None
    assert model_folders() == ["folder:trained 1"]
    assert app.shows("Fine-tuned from planted on 4 prompts")
    titles = json.dumps([chart["layout"] for chart in app.charts()])
    assert "loss" in titles and len(app.charts()) == 2  # the curve, and the moves between roles
    for view in ("Flow", "By layer", "Over the steps"):
        app.segmented_control(key="transfer_view").set_value(view).run()
        assert len(app.charts()) == 2
    assert "--out 'models/trained 1'" in app.code[0].value
    app.press("Chat with it beside its ancestor")
    assert app.shows("trained 1")


def test_frozen_units_of_the_screen_are_those_of_the_settings(visit):
    app = visit("training")
    app.segmented_control(key="units_learn").set_value("some stay frozen").run()
    train(app)
    frozen = open_finetuned(models_root() / "trained 1").manifest["frozen"]
    assert frozen["units"] == open_run("organism:planted").roles.counts["ESU"]
    assert frozen["roles"] == ["ESU"]


def test_the_recipe_says_which_units_stay_or_learn_alone(visit):
    app = visit("training")
    app.segmented_control(key="units_learn").set_value("some stay frozen").run()
    app.number_input(key="set_cu").set_value(6).run()
    command, python = (code.value for code in app.code)
    assert "--run organism:planted --freeze ESU --freeze-strongest-cu 0.06" in command
    assert "strongest_cu=0.06" in python
    app.segmented_control(key="units_learn").set_value("only some learn").run()
    command, python = (code.value for code in app.code)
    assert "--train ESU" in command and "cu" not in command
    assert "train_only=UnitSet.of(roles, ['ESU']" in python


def test_a_set_of_no_units_is_said_in_one_sentence(visit):
    app = visit("training")
    app.segmented_control(key="units_learn").set_value("only some learn").run()
    app.pills(key="set_roles").set_value([]).run()
    assert app.shows("No units are chosen")
    assert "Start the training" not in app.labels()


def test_a_name_that_is_taken_is_said_before_the_work(visit):
    (models_root() / "trained 1").mkdir()
    (models_root() / "trained 1" / "config.json").write_text("{}")
    app = visit("training")
    app.text_input(key="training_name").set_value("trained 1").run()
    app.press("Start the training")
    assert app.shows("already exists")
    assert jobs().current is None


def test_a_training_that_was_stopped_goes_on(visit):
    roles = open_run("organism:planted").roles
    many = PromptSet("many", SHORT.prompts.prompts * 200)
    request = TrainingRequest(
        "organism:planted", "long", many, TrainingOptions(batch_size=4), UnitSet.of(roles, ["ESU"]),
        None, None, "", False,
    )  # fmt: skip
    start_training(request)
    job = jobs().current
    while job.progress is None or job.progress.done < 2:
        assert not job.finished.wait(0.05)
    job.stop()
    assert job.finished.wait(60)
    app = visit("training")
    assert app.shows("Stopped. What was done is kept")
    reached = job.progress.done
    app.press("Go on")
    again = jobs().current
    while again.progress is None:
        assert not again.finished.wait(0.05)
    assert again.progress.done >= reached
    again.stop()


def test_an_experiment_is_a_job_whose_table_stands_on_the_screen(visit, monkeypatch):
    options = TrainingOptions(steps=1, batch_size=2)
    monkeypatch.setattr(experiment_form.presets, "training_options", lambda preset: options)
    app = visit("training")
    app.segmented_control(key="training_shows").set_value("Experiments").run()
    app.number_input(key="experiment_seeds").set_value(1).run()
    app.press("Start the experiment")
    assert jobs().current.finished.wait(240)
    app.run()
    assert jobs().current.error is None
    assert app.shows("New skill, learning rate 0.0003: ")
    [table] = [t.value for t in app.dataframe if "condition" in t.value.columns]
    assert len(table) == 8
    assert len(app.charts()) == 2
    app.go_to("runs")
    app.segmented_control(key="kept_kind").set_value("Experiments").run()
    assert app.shows("An experiment (attack) on organism:planted")


def test_a_kept_experiment_of_two_rates_is_shown_rate_by_rate(visit, monkeypatch):
    from pages.parts import experiment_result

    model = load_model("organism:planted", device="cpu")
    roles = open_run("organism:planted").roles
    options = TrainingOptions(steps=1, batch_size=2)
    design = presets.attack(
        roles, [SHORT], options, rates=[1e-3, 1e-2], seeds=1, run="organism:planted"
    )
    design = replace(design, conditions=design.conditions[:2], looks=1)
    keep_experiment(
        experiment_result.STUDIES / "two", lambda: model, FEW, design, run="organism:planted"
    )
    app = visit("training")
    app.segmented_control(key="training_shows").set_value("Experiments").run()
    dots = app.charts()[0]
    app.segmented_control(key="shown_rate").set_value(1e-2).run()
    assert app.charts()[0] != dots


def test_a_file_that_cannot_be_learned_is_said_before_the_start(visit):
    app = visit("training")
    app.segmented_control(key="lesson").set_value("a file of my own").run()
    asked = [{"prompt": "How much is it?", "response": "It costs 3 coins."}] * 3
    rows = [*asked, {"prompt": "How much is it?", "response": "coins " * 600}]
    upload(app, "long.jsonl", rows)
    assert app.shows("1 of the 4 examples of 'long.jsonl' are longer")
    assert "Start the training" not in app.labels()
    app.toggle(key="training_skips").set_value(True).run()
    assert app.shows("1 of 4 examples are too long and left out")
    assert app.shows("3 prompts, 5 steps of 3.")
    assert "--skip-too-long" in app.code[0].value
    upload(app, "bare.jsonl", [{"prompt": "How much is it?"}])
    assert app.shows("have no response to learn")
    assert "Start the training" not in app.labels()


def upload(app, name, rows):
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    app.file_uploader(key="file lesson").set_value((name, content, "application/json")).run()


def test_the_new_model_is_chosen_and_other_screens_keep_their_form(visit):
    (models_root() / "aaa").mkdir()
    app = train(visit("training"))
    assert app.session_state["trained"] == "folder:trained 1"
    app.go_to("direction")
    assert app.shows("Training organism:planted into the model: trained 1 is done.")
    assert "Start the probe" in app.labels()
