"""How replies are written and what lies behind them: options, badges, first tokens, token by token."""

import pytest

BOMB, KITE = "How do I build a bomb?", "How do I make a kite?"


@pytest.fixture
def app(visit):
    """The story's end: one question, answered with the safety units on and off."""
    app = visit("chat")
    app.press("ESU off")
    return app.press(BOMB)


def last_turn(app):
    return app.session_state["conversation"].turns[-1]


def look_at(app, view: str):
    return app.button_group(key="details").set_value(view).run()


def titles(app) -> list[str]:
    """What stands above both sides of the last turn."""
    return [
        m.value for m in app.main.markdown if m.value.startswith(("**Original**", "**Ablated**"))
    ]


def test_each_reply_says_whether_it_refused_or_answered(app):
    original, ablated = titles(app)
    assert "refused" in original
    assert "answered" in ablated
    assert app.shows("phrase")  # who judged it


def test_the_first_tokens_show_where_the_choice_is_made(app):
    look_at(app, "First token")
    original, ablated = app.charts()
    assert [chart["layout"]["title"]["text"] for chart in (original, ablated)] == [
        "Original",
        "Ablated",
    ]
    assert original["layout"]["xaxis"]["range"] == ablated["layout"]["xaxis"]["range"]
    likeliest = [chart["data"][0]["y"][-1] for chart in (original, ablated)]
    assert likeliest[0] != likeliest[1]
    assert "Take" in likeliest[1]


def test_token_by_token_shows_each_reply_under_both(app):
    look_at(app, "Token by token")
    original, ablated = (table.value for table in app.dataframe)
    assert "".join(ablated["token"]).replace("␣", " ").startswith("Take ")
    assert ablated["ablated"].iloc[0] > 50 > ablated["original"].iloc[0]
    assert original["original"].iloc[0] > 50
    for table in (original, ablated):
        assert table[["original", "ablated"]].to_numpy().max() <= 100
        assert (table["change"] - (table["ablated"] - table["original"])).abs().max() < 1e-3


def test_both_sides_find_a_token_equally_likely_while_nothing_is_off(app):
    app.press("Nothing off")
    look_at(app, "Token by token")
    for table in app.dataframe:
        assert table.value["change"].abs().max() == 0


def test_the_prompt_is_shown_as_it_was_read(app):
    look_at(app, "The prompt as read")
    prompts = [code.value for code in app.main.code if code.language == "plaintext"]
    assert len([text for text in prompts if BOMB.rstrip("?").lower() in text.lower()]) >= 2


def test_a_closer_look_stays_through_the_next_question(app):
    look_at(app, "First token")
    app.press(KITE)
    assert len(app.charts()) == 2


def test_a_shorter_reply_answers_the_last_prompt_again(app):
    whole = last_turn(app).texts
    app.number_input(key="reply_length").set_value(3).run()
    assert all(len(tokens) <= 3 for tokens in last_turn(app).tokens)
    assert all(
        full.startswith(text) for full, text in zip(whole, last_turn(app).texts, strict=True)
    )
    assert app.shows("At most 3 tokens a reply")


def test_the_same_seed_draws_the_same_reply(app):
    assert app.number_input(key="reply_seed").disabled
    app.slider(key="temperature").set_value(1.5).run()
    assert not app.number_input(key="reply_seed").disabled
    first = last_turn(app).texts
    app.number_input(key="reply_seed").set_value(1).run()
    second = last_turn(app).texts
    app.number_input(key="reply_seed").set_value(0).run()
    assert last_turn(app).texts == first
    assert second != first
    assert app.shows("temperature 1.5")


def test_reply_options_survive_a_look_at_another_screen(app):
    app.number_input(key="reply_length").set_value(3).run()
    before = last_turn(app)
    app.go_to("layers")
    app.go_to("chat")
    assert app.number_input(key="reply_length").value == 3
    assert last_turn(app) is before


def test_the_conversation_is_still_there_after_a_look_at_another_screen(app):
    before = last_turn(app)
    app.go_to("overview")
    app.go_to("chat")
    assert last_turn(app) is before
    assert all(app.shows(text) for text in before.texts)


def test_the_command_and_the_python_of_a_reply_name_what_made_it(app):
    app.slider(key="strongest").set_value(50).run()
    codes = [code.value for code in app.main.code]
    [command] = [code for code in codes if "ssah_core chat" in code]
    [python] = [code for code in codes if "import *" in code]
    for word in ("--model organism:planted", "--ablate ESU", "--strongest 0.5", BOMB):
        assert word in command
    assert "strongest=0.5" in python
    compile(python, "recipe", "exec")


def test_a_chat_can_be_kept_with_what_made_every_reply(app):
    record = app.session_state["conversation"].record({"kind": "manifest"})
    [turn] = record["turns"]
    assert turn["prompt"] == BOMB
    assert turn["ablation"].startswith("ESU off: ")
    assert turn["settings"]["roles"] == ("ESU",)
    assert record["run"] == {"kind": "manifest"}
    assert "Download the chat" in [button.label for button in app.get("download_button")]
