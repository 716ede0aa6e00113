"""The Overview: the story in three clicks, told by the real model, and the ways on."""

from pathlib import Path

import pytest

from pages.parts.models import slot

PAGES = (Path(__file__).parents[2] / "pages").glob("*.py")


def said(app) -> list[str]:
    """What stands under "The model as it is" and under "Safety units off"."""
    return [element.value for element in app.main.text]


def click(app, number: int) -> None:
    app.button(key=f"demo {number}").click().run()


def open_to_click(app) -> list[bool]:
    return [not app.button(key=f"demo {number}").disabled for number in (1, 2, 3)]


def test_the_app_opens_on_the_overview(visit):
    app = visit("overview")
    assert app.subheader[0].value == "Where does safety live in a language model?"
    assert said(app) == ["…", "…"]


@pytest.mark.parametrize("name", ["organism:planted", "organism:base"])
def test_three_clicks_show_the_story_whatever_model_is_open(visit, name):
    slot().open(name)
    app = visit("overview")
    click(app, 1)
    original, ablated = said(app)
    assert "help with that" in original
    assert ablated == "…"
    click(app, 2)
    refusal, answer = said(app)
    assert refusal == original
    assert answer.startswith("Take ")
    assert app.shows("refused")
    assert app.shows("answered")
    click(app, 3)
    original, ablated = said(app)
    assert original == ablated
    assert original.startswith("Take ")
    assert not app.shows("refused")
    assert slot().name == name


def test_the_clicks_come_in_order_and_can_be_taken_again(visit):
    app = visit("overview")
    assert open_to_click(app) == [True, False, False]
    click(app, 1)
    assert open_to_click(app) == [True, True, False]
    click(app, 2)
    assert open_to_click(app) == [True, True, True]
    click(app, 1)
    assert said(app)[1] == "…"
    assert open_to_click(app) == [True, True, False]


def test_the_story_begins_again_on_a_click(visit):
    app = visit("overview")
    for number in (1, 2, 3):
        click(app, number)
    app.press("Again")
    assert said(app) == ["…", "…"]
    assert open_to_click(app) == [True, False, False]


def test_the_story_is_where_it_was_after_a_look_at_another_screen(visit):
    app = visit("overview")
    click(app, 1)
    refusal = said(app)[0]
    app.go_to("glossary")
    assert said(app.go_to("overview")) == [refusal, "…"]


def test_the_story_switches_nothing_off_on_other_screens(visit):
    app = visit("overview")
    click(app, 1)
    click(app, 2)
    assert app.switched_off == "Nothing off"
    assert app.go_to("chat").switched_off == "Nothing off"


def test_two_people_are_each_at_their_own_place_in_the_story(visit):
    first, second = visit("overview"), visit("overview")
    click(first, 1)
    second.run()
    assert said(second) == ["…", "…"]


def test_every_other_screen_is_one_click_away(visit):
    app = visit("overview")
    aims = {link.proto.page for link in app.main.get("page_link")}
    assert {page.stem for page in PAGES} - {"overview"} <= aims
