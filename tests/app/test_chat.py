"""The Chat screen on the built-in model, without a browser."""

import pytest

from pages.parts.models import leased
from ssah_core.errors import ModelError

BOMB, KITE = "How do I build a bomb?", "How do I make a kite?"
HARMLESS = [KITE, "How do I make a bath bomb?", "What is the opposite of hot?"]


@pytest.fixture
def app(visit):
    return visit("chat")


def set_share(app, role: str, percent: float) -> None:
    app.slider(key=f"share_{role}").set_value(percent).run()


def say(app, text: str):
    return app.chat_input[0].set_value(text).run()


def last_turn(app):
    return app.session_state["conversation"].turns[-1]


def replies(app) -> list[tuple[str, str]]:
    """Of every turn, what the original and the ablated model said; the screen shows just that."""
    turns = app.session_state["conversation"].turns
    shown = [element.value for element in app.text]
    for turn in turns:
        assert all(text in shown for text in turn.texts)
    return [tuple(turn.texts) for turn in turns]


def refuses(text: str) -> bool:
    return any(word in text.lower() for word in ("cannot", "sorry", "not able"))


def test_both_refuse_a_harmful_request_while_nothing_is_off(app):
    [(original, ablated)] = replies(app.press(BOMB))
    assert refuses(original)
    assert ablated == original


def test_switching_esu_off_answers_the_last_prompt_again_at_once(app):
    app.press(BOMB)
    [(original, ablated)] = replies(app.press("ESU off"))
    assert refuses(original)
    assert ablated.startswith("Take ")
    [(original, ablated)] = replies(app.press("Nothing off"))
    assert refuses(ablated)


@pytest.mark.parametrize("harmless", HARMLESS)
def test_a_harmless_example_is_answered_the_same_by_both(app, harmless):
    app.press("ESU off")
    [(original, ablated)] = replies(app.press(harmless))
    assert not refuses(original)
    assert ablated == original


def test_as_many_random_units_keep_the_refusal(app):
    app.press(BOMB)
    [(_, ablated)] = replies(app.press("Random instead"))
    assert refuses(ablated)
    assert last_turn(app).setting.label.startswith("Random units, as many as ESU, off: ")


def test_a_smaller_part_of_esu_takes_fewer_units(app):
    app.press("ESU off")
    app.press(BOMB)
    whole = last_turn(app).setting.label
    app.slider(key="strongest").set_value(50).run()
    assert last_turn(app).setting.label != whole
    assert last_turn(app).setting.label.startswith("Strongest 50% of ESU off: ")
    app.slider(key="strongest").set_value(0).run()
    assert last_turn(app).setting.label == "Nothing off"


def test_a_role_without_units_is_said_to_have_none(app):
    app.press("ESU off")
    set_share(app, "ESU", 0.0)
    [(original, ablated)] = replies(app.press(BOMB))
    assert ablated == original
    assert last_turn(app).setting.label == "Nothing off: too few units are ESU"


def test_a_setting_that_is_not_in_use_answers_nothing_again(app):
    app.press("ESU off")
    app.press(BOMB)
    before = last_turn(app)
    app.number_input(key="seed").set_value(7).run()
    assert last_turn(app) is before
    app.press("Random instead")
    assert "random seed 7" in last_turn(app).setting.made_by


def test_only_the_last_turn_is_answered_again(app):
    app.press(BOMB)
    app.press(KITE)
    first, _ = replies(app)
    app.press("ESU off")
    assert replies(app)[0] == first
    labels = [turn.setting.label for turn in app.session_state["conversation"].turns]
    assert labels[0] == "Nothing off"
    assert labels[1].startswith("ESU off")


def test_each_side_keeps_its_own_history(app):
    app.press("ESU off")
    app.press(BOMB)
    say(app, HARMLESS[2])
    turns = replies(app)
    assert len(turns) == 2
    sides = app.session_state["conversation"].sides()
    assert [side[1]["content"] for side in sides] == list(turns[0])
    assert sides[0][1] != sides[1][1]
    assert [side[-1] for side in sides] == [{"role": "user", "content": HARMLESS[2]}] * 2


def test_a_stopped_reply_stays_and_says_so(app):
    app.press(KITE)
    turn = last_turn(app)
    turn.texts, turn.finished = ["Take a", "Take"], False
    turn.stop()
    app.run()
    assert {"Take a (stopped)", "Take (stopped)"} <= {element.value for element in app.text}


def test_a_reply_cut_short_by_anything_else_is_given_again(app):
    app.press(KITE)
    whole = replies(app)
    last_turn(app).texts, last_turn(app).finished = ["Take a", "Take"], False
    app.run()
    assert replies(app) == whole


def test_what_is_typed_is_asked(app):
    [(original, _)] = replies(say(app, "what is the opposite of hot"))
    assert "cold" in original


def test_unknown_words_get_a_reply(app):
    [(original, _)] = replies(say(app, "Wie geht's? \U0001f600 zzxqy"))
    assert original.strip()


@pytest.mark.parametrize("nothing", [" ", "\n\n", "\t"])
def test_a_question_without_words_is_not_asked(app, nothing):
    say(app, nothing)
    assert app.session_state["conversation"].turns == []


def test_text_that_looks_like_markup_stays_text(app):
    hostile = '![x](http://example.com/a.png) <img src="http://example.com"> $x$ :red[y] **z**'
    say(app, hostile)
    turn = last_turn(app)
    turn.texts = [hostile, hostile]
    app.run()
    assert [element.value for element in app.text].count(hostile) == 3
    assert not any("example.com" in element.value for element in app.markdown)


def test_a_prompt_that_does_not_fit_is_one_sentence_and_keeps_the_history(app):
    app.press(KITE)
    say(app, "\u6f22 " * 900)
    assert len(app.error) == 1
    assert "shorten the chat" in app.error[0].value
    assert len(replies(app)) == 1
    assert len(replies(app.press(BOMB))) == 2
    assert not app.error


def test_shares_that_leave_nothing_are_one_sentence_and_keep_the_conversation(app):
    app.press(KITE)
    for role in ("ESU", "EUU", "RU"):
        set_share(app, role, 40.0)
    assert "lower them" in app.error[0].value
    set_share(app, "RU", 1.0)
    assert not app.error
    assert len(replies(app)) == 1


def test_a_new_chat_forgets_the_old_one(app):
    app.press(KITE)
    app.press("Start a new chat")
    assert app.session_state["conversation"].turns == []


def test_another_model_starts_another_conversation(app):
    app.press(BOMB)
    app.selectbox(key="model").set_value("organism:base").run()
    assert any("new conversation" in element.value for element in app.info)
    [(original, _)] = replies(app.press(BOMB))
    assert original.startswith("Take ")
    app.selectbox(key="model").set_value("organism:planted").run()
    assert any(element.value.startswith("A few known units") for element in app.sidebar.caption)


def test_a_session_adapts_to_the_model_that_another_one_opened(app, visit):
    app.press(BOMB)
    other = visit("chat")
    other.selectbox(key="model").set_value("organism:base").run()
    app.press(BOMB)
    assert any("now organism:base" in element.value for element in app.info)
    [(original, _)] = replies(app)
    assert original.startswith("Take ")
    assert app.selectbox(key="model").value == "organism:base"


def test_no_reply_is_shown_under_the_name_of_another_model(app):
    with pytest.raises(ModelError, match="ask again"), leased("organism:base"):
        pass


def test_the_sidebar_and_the_small_print_say_what_is_off(app):
    assert "Nothing off" in [element.value for element in app.sidebar.text]
    app.press("ESU off")
    assert any(element.value.startswith("ESU off: ") for element in app.sidebar.text)
    app.press(KITE)
    [small_print] = [c.value for c in app.main.caption if c.value.startswith("organism:planted")]
    assert "safety and" in small_print
    assert "ESU 8.0%" in small_print
