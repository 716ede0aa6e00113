"""The model beside is everybody's: opening and closing it, links that name it, and who else is told."""

import pytest
import two_models
from two_models import BOMB, KITE, OTHER, RULE, choose, last_turn

from pages.parts.companion import leased_sides
from pages.parts.models import slot
from ssah_core.errors import ModelError
from ssah_core.models import placement

# The fixtures
app, models_root, trained = two_models.app, two_models.models_root, two_models.trained


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
