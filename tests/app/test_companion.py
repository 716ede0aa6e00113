"""Two models side by side: choosing one for the right column, what it writes, and who else is told."""

import ast
import json
import shlex
import shutil

import pytest
from tiny_models import tiny_network, tiny_tokenizer

from pages.parts import places
from pages.parts.companion import leased_sides
from pages.parts.models import slot
from ssah_core import Ablation, generate, load_model, open_run
from ssah_core.cli import main
from ssah_core.errors import ModelError
from ssah_core.models import placement
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.training.options import TrainingOptions
from ssah_core.training.trainer import finetune
from ssah_core.training.unit_sets import UnitSet

BOMB, KITE = "How do I build a bomb?", "How do I make a kite?"
OTHER = "Another model"
RULE = "what is switched off above is off in careful only"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A models folder: the planted model trained on for two steps, and a tiny one of another family."""
    root = tmp_path_factory.mktemp("trained")
    model = load_model("organism:planted", device="cpu")
    prompts = PromptSet("said", tuple(Prompt(ask, "it is late") for ask in (BOMB, KITE) * 4))
    frozen = UnitSet.of(open_run("organism:planted").roles, ["ESU"])
    finetune(
        model,
        prompts,
        root / "careful",
        TrainingOptions(steps=2, learning_rate=2e-3, warmup=0.0),
        freeze=frozen,
    )
    tiny_network("llama").save_pretrained(root / "tiny")
    tiny_tokenizer().save_pretrained(root / "tiny")
    return root


@pytest.fixture(autouse=True)
def models_root(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(places, "_MODELS", tmp_path)
    return tmp_path


@pytest.fixture
def app(visit):
    return visit("chat")


def choose(app, address: str):
    """Put another model into the right column."""
    if app.button_group(key="right_column").value != OTHER:
        app.button_group(key="right_column").set_value(OTHER).run()
    return app.selectbox(key="companion_pick").set_value(address).run()


def last_turn(app):
    return app.session_state["conversation"].turns[-1]


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


# Opening, closing, and memory


def test_a_model_that_does_not_fit_is_one_sentence_and_the_chat_goes_on(app, monkeypatch):
    monkeypatch.setattr(placement, "bytes_free", lambda device: 5 * 10**6)
    choose(app, "folder:careful")
    assert len(app.error) == 1
    assert "needs 10 MB of memory" in app.error[0].value.replace("\\", "")
    assert slot().companion_name is None
    assert app.button_group(key="right_column").value == OTHER
    app.press(KITE)
    assert last_turn(app).titles == ("Original", "Ablated")


def test_closing_the_other_model_frees_it_and_the_same_model_answers(app):
    choose(app, "folder:careful").press(BOMB)
    assert app.shows("Beside it is open: careful.")
    app.press("Close it")
    assert slot().companion_name is None
    assert last_turn(app).titles == ("Original", "Ablated")
    assert not app.shows("Beside it is open")


def test_the_open_model_is_not_offered_beside_itself_and_its_kin_comes_first(app):
    app.button_group(key="right_column").set_value(OTHER).run()
    options = app.selectbox(key="companion_pick").options
    assert options[0] == "careful (from planted)"
    assert "planted" not in options


# Links, and other people


def test_a_link_names_the_other_model_and_opens_nothing(app, visit):
    choose(app, "folder:careful")
    assert app.query_params["companion"] == "folder:careful"
    app.press("Close it")
    assert "companion" not in app.query_params
    guest = visit("chat", companion="folder:careful")
    assert slot().companion_name is None
    assert guest.shows("careful is not open beside planted now.")
    assert guest.press(KITE) and last_turn(guest).titles == ("Original", "Ablated")
    guest.press("Open it beside")
    assert last_turn(guest).titles == ("planted", "careful")


def test_a_link_to_what_is_open_beside_already_shows_it(app, visit):
    choose(app, "folder:careful")
    guest = visit("chat", companion="folder:careful")
    assert guest.shows(RULE)
    assert guest.press(KITE) and last_turn(guest).titles == ("planted", "careful")


@pytest.mark.parametrize("name", ["folder:none", "owner/name"])
def test_a_link_to_a_model_that_is_not_here_says_so(visit, name):
    app = visit("chat", companion=name)
    assert app.shows("It is not offered here")
    assert "Open it beside" not in app.labels()
    app.press("Leave it")
    assert "companion" not in app.query_params


@pytest.mark.parametrize("name", ["folder:../careful", "/etc", "folder:", "organism:wicked", "x"])
def test_nonsense_in_place_of_a_model_is_left_out_of_a_link(visit, name):
    app = visit("chat", companion=name)
    assert "Leave it" not in app.labels()
    assert "companion" not in app.query_params


def test_the_choice_survives_a_look_at_another_screen(app):
    choose(app, "folder:careful").press(KITE)
    before = last_turn(app)
    assert app.go_to("layers").query_params["companion"] == "folder:careful"
    app.go_to("chat")
    assert app.shows(RULE)
    assert last_turn(app) is before


def test_a_chat_notices_that_somebody_put_another_model_beside(app, visit):
    choose(app, "folder:careful").press(BOMB)
    before = last_turn(app)
    choose(visit("chat"), "folder:tiny")
    app.run()
    assert app.shows(
        "careful is not open beside planted now; tiny is, for everybody who uses this app."
    )
    assert last_turn(app) is before  # what it wrote stays
    app.press("Open it beside")
    assert last_turn(app) is before
    app.press(KITE)
    assert last_turn(app).titles == ("planted", "careful")


def test_a_chat_notices_that_the_change_of_the_model_closed_the_other(app, visit):
    choose(app, "folder:careful").press(BOMB)
    other = visit("chat")
    other.selectbox(key="model").set_value("organism:base").run()
    assert slot().companion_name is None
    app.run()
    assert app.shows("now organism:base")
    assert app.shows("careful is not open beside base now.")
    app.press("Leave it").press(KITE)
    assert last_turn(app).titles == ("Original", "Ablated")


def test_no_reply_is_shown_under_the_name_of_another_companion(app, models_root):
    choose(app, "folder:careful")
    with pytest.raises(ModelError, match="opened careful in place of tiny just now; ask again"):
        leased_sides("organism:planted", str(models_root / "tiny")).__enter__()
    slot().close_beside()
    with pytest.raises(ModelError, match="No model is open beside this one just now"):
        leased_sides("organism:planted", str(models_root / "careful")).__enter__()
