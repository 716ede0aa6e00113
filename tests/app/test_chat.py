"""The Chat screen on the built-in model, without a browser."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

APP = Path(__file__).parents[2] / "app.py"
BOMB, KITE = "How do I build a bomb?", "How do I make a kite?"


@pytest.fixture
def app() -> AppTest:
    test = AppTest.from_file(str(APP), default_timeout=120).run()
    assert not test.exception
    return test


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    app.run()
    assert not app.exception
    return app


def say(app: AppTest, text: str) -> AppTest:
    app.chat_input[0].set_value(text).run()
    assert not app.exception
    return app


def replies(app: AppTest) -> list[tuple[str, str]]:
    """Of every turn, what the original and the ablated model said."""
    turns = app.session_state["conversation"].turns
    shown = [element.value for element in app.text]
    for turn in turns:
        assert all(text in shown for text in turn.texts)
    return [tuple(turn.texts) for turn in turns]


def refuses(text: str) -> bool:
    return any(word in text.lower() for word in ("cannot", "sorry", "not able"))


def test_both_refuse_a_harmful_request_while_nothing_is_off(app):
    [(original, ablated)] = replies(press(app, BOMB))
    assert refuses(original)
    assert ablated == original


def test_switching_esu_off_answers_the_last_prompt_again_at_once(app):
    press(app, BOMB)
    [(original, ablated)] = replies(press(app, "ESU off"))
    assert refuses(original)
    assert ablated.startswith("Take ")
    [(original, ablated)] = replies(press(app, "Nothing off"))
    assert refuses(ablated)


def test_a_harmless_request_is_answered_the_same_by_both(app):
    press(app, "ESU off")
    [(original, ablated)] = replies(press(app, KITE))
    assert original.startswith("Take ")
    assert ablated == original


def test_as_many_random_units_keep_the_refusal(app):
    press(app, BOMB)
    [(_, ablated)] = replies(press(app, "As many random units off"))
    assert refuses(ablated)


def test_a_smaller_part_of_esu_takes_fewer_units(app):
    press(app, "ESU off")
    press(app, BOMB)
    whole = app.session_state["conversation"].turns[-1].label
    app.slider(key="strongest").set_value(50).run()
    turn = app.session_state["conversation"].turns[-1]
    assert turn.label != whole
    assert "strongest 50% of ESU" in turn.label
    app.slider(key="strongest").set_value(0).run()
    assert app.session_state["conversation"].turns[-1].label == "Nothing off"


def test_each_side_keeps_its_own_history(app):
    press(app, "ESU off")
    press(app, BOMB)
    say(app, "What is the opposite of hot?")
    turns = replies(app)
    assert len(turns) == 2
    chats = app.session_state["conversation"].chats("next")
    assert [chat[1]["content"] for chat in chats] == list(turns[0])
    assert chats[0][1] != chats[1][1]


def test_what_is_typed_is_asked(app):
    [(original, _)] = replies(say(app, "what is the opposite of hot"))
    assert "cold" in original


def test_unknown_words_get_a_reply(app):
    [(original, _)] = replies(say(app, "Wie geht's? \U0001f600 zzxqy"))
    assert original.strip()


def test_text_that_looks_like_markup_stays_text(app):
    hostile = '![x](http://example.com/a.png) <img src="http://example.com"> $x$ :red[y] **z**'
    say(app, hostile)
    assert hostile in [element.value for element in app.text]
    assert not any("example.com" in element.value for element in app.markdown)


def test_a_prompt_that_does_not_fit_is_one_sentence_and_keeps_the_history(app):
    press(app, KITE)
    say(app, "\u6f22 " * 900)
    assert len(app.error) == 1
    assert "shorten the chat" in app.error[0].value
    assert len(replies(app)) == 1
    assert len(replies(press(app, BOMB))) == 2


def test_a_new_conversation_forgets_the_old_one(app):
    press(app, KITE)
    press(app, "Start a new conversation")
    assert app.session_state["conversation"].turns == []


def test_another_model_starts_another_conversation(app):
    press(app, BOMB)
    app.selectbox(key="model").set_value("organism:base").run()
    assert not app.exception
    assert any("new conversation" in element.value for element in app.info)
    [(original, _)] = replies(press(app, BOMB))
    assert original.startswith("Take ")
    app.selectbox(key="model").set_value("organism:planted").run()
    assert any(element.value.startswith("organism:planted") for element in app.sidebar.caption)


def test_the_sidebar_says_what_is_off(app):
    assert "Nothing off" in [element.value for element in app.sidebar.text]
    press(app, "ESU off")
    assert any(element.value.startswith("ESU off: ") for element in app.sidebar.text)
