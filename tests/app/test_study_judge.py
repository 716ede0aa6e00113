"""A judge of compliance on the Study screen: a model of the models folder, beside the one that is studied."""

import json

import pytest
from tiny_models import rigged_judge, tiny_network, tiny_tokenizer

from pages.parts import study_form
from pages.parts.jobs import jobs
from pages.parts.places import models_root
from ssah_core import Prompt, PromptSet, assign_roles, create_run, load_model, save_roles, score
from ssah_core.errors import ModelError
from ssah_core.evaluation.study_folder import open_study


@pytest.fixture
def app(visit, runs):
    """The form of a scored model from a folder, with both sets of prompts chosen."""
    tiny_network("llama").save_pretrained(models_root() / "mine")
    tiny_tokenizer().save_pretrained(models_root() / "mine")
    rigged_judge(models_root() / "guard", yes="unsafe", no="safe")
    model = load_model(models_root() / "mine")
    sets = [PromptSet(name, tuple(Prompt(f"{name} {n}", "no") for n in range(6))) for name in "ab"]
    scores = score(model, safety=sets[0], utility=sets[1])
    save_roles(create_run(runs / "one", model, scores), assign_roles(scores, 0.1, 0.1, 0.1))
    app = visit("study")
    app.selectbox(key="model").set_value("folder:mine").run()
    for kind, verb in (("harmful", "do"), ("harmless", "say")):
        lines = "".join(json.dumps({"prompt": f"{verb} {n}"}) + "\n" for n in range(3))
        file = app.file_uploader(key=f"file study {kind}")
        file.set_value((f"{kind}.jsonl", lines.encode(), "application/json")).run()
    app.number_input(key="study_controls").set_value(0)
    return app.text_input(key="study_name").set_value("judged").run()


def judge(app, kind: str, model: str | None):
    app.selectbox(key="judge study").set_value(kind).run()
    return app.selectbox(key="judge model study").set_value(model).run()


def test_a_guard_from_the_models_folder_judges_compliance(app):
    judge(app, "guard", "folder:guard")
    assert f"--judge guard:{models_root() / 'guard'}" in app.code[0].value
    app.press("Start the study")
    assert jobs().current.finished.wait(120)
    app.run()
    assert jobs().current.error is None
    assert "complied" in app.dataframe[0].value.columns
    kept = open_study(study_form.STUDIES / "judged")
    assert kept.manifest["compliance"]["judge"] == f"guard:{models_root() / 'guard'}"


def test_a_model_that_is_not_named_or_is_no_name_is_said_before_the_work(app):
    app.selectbox(key="judge study").set_value("harmbench").run()
    assert app.shows("Choose the model that judges")
    assert "Start the study" not in app.labels()


def test_a_judge_that_is_no_judge_leaves_the_replies_kept(app):
    judge(app, "harmbench", "folder:guard").press("Start the study")
    assert jobs().current.finished.wait(120)
    assert "it is no judge of this kind" in str(jobs().current.error)
    assert [path.name for path in study_form.STUDIES.iterdir()] == [".judged.partial"]


def test_a_judge_without_room_in_memory_is_said(app, monkeypatch):
    def full(source):
        raise ModelError("there is no room")

    monkeypatch.setattr(study_form, "check_room", full)
    judge(app, "guard", "folder:guard").press("Start the study")
    assert jobs().current.finished.wait(60)
    assert app.run().shows("there is no room")


def test_the_built_in_models_have_known_answers_and_need_no_judge(visit):
    app = visit("study")
    assert "judge study" not in [box.key for box in app.selectbox]
