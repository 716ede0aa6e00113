"""Two models side by side: choosing one for the right column, what it writes, and a closer look at it."""

import ast
import json
import shlex
import shutil

import two_models
from two_models import BOMB, KITE, RULE, choose, last_turn

from pages.parts import places
from pages.parts.models import slot
from ssah_core import Ablation, generate, load_model, open_run
from ssah_core.cli import main

# The fixtures
app, models_root, trained = two_models.app, two_models.models_root, two_models.trained


def headings(app) -> list[str]:
    """What stands above the replies: which model, what is off, and what the judge says."""
    return [m.value.replace("\\", "") for m in app.main.markdown if ":small[" in m.value]


def said_alone(name: str, question: str, cut=None) -> str:
    """What a model says to a question in a chat of its own."""
    model = load_model(name, device="cpu")
    return "".join(step.texts[0] for step in generate(model, [question], [cut], max_new_tokens=48))


def esu() -> Ablation:
    return Ablation.of(open_run("organism:planted").roles, "ESU")


# The picker


def test_the_picker_says_what_a_trained_model_was_made_from(app):
    assert "careful (from planted)" in app.selectbox(key="model").options
    assert "tiny" in app.selectbox(key="model").options
    app.selectbox(key="model").set_value("folder:careful").run()
    assert app.shows(
        "Fine-tuned from planted on 8 prompts; 291 units (8.0%) were frozen: ESU. 2.2 million"
    )


def test_a_model_that_is_still_being_written_or_is_not_there_yet_is_not_offered(app, models_root):
    shutil.copytree(models_root / "careful", models_root / ".next.partial")
    offered = ["base", "aligned", "planted", "careful (from planted)", "tiny"]
    assert list(app.run().selectbox(key="model").options) == offered
    shutil.rmtree(models_root)
    assert list(app.run().selectbox(key="model").options) == offered[:3]


def test_a_trained_model_without_a_run_is_offered_beside_its_ancestor(app):
    app.selectbox(key="model").set_value("folder:careful").run()
    assert app.shows("This model has no scored run yet")
    app.press("Chat with it beside planted")
    assert (slot().name, places.address_of(slot().companion_name)) == (
        "organism:planted",
        "folder:careful",
    )
    app.press(KITE)
    assert [heading.split("**")[1] for heading in headings(app)] == ["planted", "careful"]


def test_a_model_that_was_not_trained_here_is_offered_beside_none(app):
    app.selectbox(key="model").set_value("folder:tiny").run()
    assert not [label for label in app.labels() if label.startswith("Chat with it")]


# Two models


def test_both_models_write_what_each_writes_alone(app, models_root):
    choose(app, "folder:careful").press(KITE)
    texts, shown = last_turn(app).texts, [element.value for element in app.text]
    assert last_turn(app).finished
    assert all(text in shown for text in texts)
    assert texts[0] != texts[1]
    assert texts == [
        said_alone(str(name), KITE) for name in ("organism:planted", models_root / "careful")
    ]
    left, right = headings(app)
    assert left.startswith("**planted** :small[:gray[Nothing off]]")
    assert right.startswith("**careful** :small[:gray[Nothing off]]")
    assert all("refused" in heading or "answered" in heading for heading in (left, right))
    assert app.shows("Left planted, right careful.")


def test_units_are_switched_off_in_the_right_model_only(app, models_root):
    choose(app, "folder:careful").press(KITE)
    assert app.shows(RULE)
    assert app.shows(
        "careful was fine-tuned from planted on 8 prompts; 291 units (8.0%) were frozen"
    )
    before = last_turn(app).texts
    app.press("ESU off")
    left, right = last_turn(app).texts
    assert left == before[0]
    assert right == said_alone(str(models_root / "careful"), KITE, esu()) != before[1]
    assert "Nothing off" in headings(app)[0]
    assert "ESU off: 291 of 3,648 units" in headings(app)[1]


def test_a_model_of_other_units_answers_with_nothing_off(app):
    app.press("ESU off")
    choose(app, "folder:tiny").press(KITE)
    assert app.shows("tiny has other units than the run has scored, so none are switched off in it")
    assert all("Nothing off" in heading for heading in headings(app))
    assert last_turn(app).finished
    before = last_turn(app)
    app.press("Random instead")
    assert last_turn(app) is before


def test_another_model_answers_the_last_question_again_and_so_does_the_same_one(app):
    app.press(KITE)
    app.press(BOMB)
    first = app.session_state["conversation"].turns[0]
    choose(app, "folder:careful")
    turns = app.session_state["conversation"].turns
    assert [turn.prompt for turn in turns] == [KITE, BOMB]
    assert turns[0] is first
    assert [turn.titles for turn in turns] == [("Original", "Ablated"), ("planted", "careful")]
    app.button_group(key="right_column").set_value("The same model, units off").run()
    assert last_turn(app).titles == ("Original", "Ablated")
    assert last_turn(app).texts[0] == last_turn(app).texts[1]
    assert slot().companion_name is not None  # it is everybody's; leaving it closes nothing


def test_each_model_reads_its_own_history(app):
    choose(app, "folder:careful").press(BOMB)
    first = last_turn(app).texts
    app.press(KITE)
    sides = app.session_state["conversation"].sides()
    assert [side[1]["content"] for side in sides] == first


def test_a_stopped_pair_of_replies_stays_and_says_so(app):
    choose(app, "folder:careful").press(KITE)
    turn = last_turn(app)
    turn.texts, turn.finished = ["Take a", "it is"], False
    turn.stop()
    app.run()
    assert {"Take a (stopped)", "it is (stopped)"} <= {element.value for element in app.text}


def test_names_that_look_alike_stay_apart(app, models_root):
    shutil.copytree(models_root / "careful", models_root / "planted")
    choose(app, "folder:planted").press(KITE)
    assert last_turn(app).titles == ("organism:planted", "folder:planted")


def test_a_prompt_that_does_not_fit_the_other_model_is_one_sentence(app):
    choose(app, "folder:tiny").press(KITE)
    app.chat_input[0].set_value("word " * 60).run()  # the tiny one reads bytes
    assert len(app.error) == 1
    assert "shorten the chat" in app.error[0].value
    assert len(app.session_state["conversation"].turns) == 1


# A closer look


def look_at(app, view: str):
    return app.button_group(key="details").set_value(view).run()


def test_first_tokens_and_token_tables_compare_models_of_the_same_tokens(app):
    choose(app, "folder:careful").press(KITE)
    look_at(app, "First token")
    assert [chart["layout"]["title"]["text"] for chart in app.charts()] == ["planted", "careful"]
    look_at(app, "Token by token")
    tables = [table.value for table in app.dataframe]
    assert [list(table.columns) for table in tables] == [
        ["token", "by planted", "by careful", "change"]
    ] * 2
    assert tables[0]["by planted"].iloc[0] > 50
    for table in tables:
        assert table[["by planted", "by careful"]].to_numpy().max() <= 100
        assert table["change"].abs().max() > 0


def test_a_closed_model_is_missed_only_where_it_has_to_read_again(app):
    choose(app, "folder:careful").press(KITE)
    look_at(app, "First token")
    slot().close_beside()
    app.run()
    assert len(app.charts()) == 2
    assert not app.error
    look_at(app, "Token by token")
    assert "No model is open beside this one just now" in app.error[0].value


def test_models_of_other_tokens_are_said_not_to_compare(app):
    choose(app, "folder:tiny").press(KITE)
    look_at(app, "First token")
    assert len(app.charts()) == 2
    assert app.shows("The two models cut text into different tokens")
    look_at(app, "Token by token")
    assert not app.dataframe
    assert app.shows("The two models cut text into different tokens")


def test_each_side_shows_the_prompt_as_its_model_read_it(app):
    choose(app, "folder:tiny").press(BOMB)
    look_at(app, "The prompt as read")
    left, right = [code.value for code in app.main.code if code.language == "plaintext"]
    assert right == f"<user>{BOMB}<end><assistant>"
    assert left != right


def recipe(app) -> tuple[str, str]:
    codes = [code.value for code in app.main.code]
    [command] = [code for code in codes if "ssah_core chat" in code]
    [python] = [code for code in codes if "import *" in code]
    return command, python


def test_the_command_and_the_python_name_both_models_and_do_what_they_say(app, models_root, capsys):
    choose(app, "folder:careful").press(BOMB)
    for switch, off in ((None, 0), ("ESU off", 291)):
        if switch is not None:
            app.press(switch)
        command, python = recipe(app)
        texts = last_turn(app).texts
        words = shlex.split(command.replace("\\\n", " "))
        assert words[:3] == ["python", "-m", "ssah_core"]
        assert main([*words[3:], "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert [result["original"], result["beside"]] == texts
        assert result["models"] == ["organism:planted", str(models_root / "careful")]
        assert result["units_ablated"] == off
        exec(compile(python, "recipe", "exec"), {})
        lines = capsys.readouterr().out.splitlines()
        for name, text in zip(result["models"], texts, strict=True):
            steps = [line.removeprefix(f"{name} ") for line in lines if line.startswith(name)]
            assert "".join(ast.literal_eval(step)[0] for step in steps) == text


def test_the_kept_chat_names_both_models(app, models_root):
    app.press(KITE)
    app.press(BOMB)
    choose(app, "folder:careful")
    record = app.session_state["conversation"].record({})
    same, other = app.press("Random instead").session_state["conversation"].record({})["turns"]
    assert record["model"] == "organism:planted"
    assert other["models"] == ["organism:planted", str(models_root / "careful")]
    assert other["beside"] == last_turn(app).texts[1]
    assert other["ablation"].startswith("Random units")
    with slot().lease_pair() as (_, careful):
        assert other["beside_fingerprint"] == careful.fingerprint
    assert same["models"] == ["organism:planted"] * 2
    assert same["ablated"] == same["original"]
    json.dumps(record)
