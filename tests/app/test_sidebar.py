"""The sidebar of every screen: the open model, what it takes, the last error, large text."""

from pathlib import Path

import pytest

from pages.parts.models import slot

PAGES = sorted(page.stem for page in (Path(__file__).parents[2] / "pages").glob("*.py"))


def choose_model(app, name: str):
    return app.selectbox(key="model").set_value(name).run()


def test_single_units_of_one_model_are_not_off_in_another(visit):
    app = visit("layers").press("Strongest ESU").press("Ablate")
    choose_model(app, "organism:base")
    assert app.switched_off == "Nothing off"
    assert app.text_input(key="unit").value == ""


def test_roles_that_are_off_stay_off_in_another_model(visit):
    app = visit("chat").press("ESU off")
    choose_model(app, "organism:aligned")
    assert app.switched_off.startswith("ESU off: ")
    assert app.query_params["model"] == "organism:aligned"


def test_the_sidebar_says_what_is_open_and_what_it_takes(visit):
    app = visit("overview")
    about = app.sidebar.caption[0].value
    assert about.startswith("A few known units were trained to refuse what is harmful.")
    for part in ("3,648 units in 4 layers", "Weights 9 MB", "this app uses "):
        assert part in about
    choose_model(app, "organism:base")
    assert app.sidebar.caption[0].value.startswith("Not trained to refuse")


@pytest.mark.parametrize("name", ["../etc", "two words", "noslash", "<b>/x</b>"])
def test_a_word_that_is_no_name_on_the_hub_is_one_sentence(visit, name):
    app = visit("chat")
    app.text_input(key="hub_name").set_value(name).run()
    assert len(app.error) == 1
    assert "Download and open" not in app.labels()
    assert slot().name == "organism:planted"


def test_the_last_error_stays_in_the_sidebar_until_it_is_forgotten(visit):
    app = visit("layers")
    app.text_input(key="unit").set_value("L9.mlp.1").run()
    app.text_input(key="unit").set_value("").run()
    app.go_to("chat")
    assert not app.error
    assert any(c.value.startswith("Last error, ") for c in app.sidebar.caption)
    app.press("Forget it")
    assert not any(c.value.startswith("Last error, ") for c in app.sidebar.caption)


def test_large_text_stays_on_every_screen(visit):
    app = visit("overview")
    app.toggle(key="large_text").set_value(True).run()
    for page in PAGES:
        assert app.go_to(page).toggle(key="large_text").value
        assert any("font-size" in html.proto.body for html in app.get("html"))
