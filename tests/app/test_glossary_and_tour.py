"""Words and the tour: every word that a screen uses is explained, and the tour leads over real screens."""

import ast
from pathlib import Path

import pytest

from pages.parts.tour import steps
from pages.parts.words import glossary
from ssah_core.roles import ROLES

PAGES = sorted((Path(__file__).parents[2] / "pages").glob("*.py"))


def explained_on(page: Path) -> list[str]:
    """The terms that a page's file hands to `show_screen`."""
    nodes = ast.walk(ast.parse(page.read_text("utf-8")))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    [call] = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "show_screen"]
    return list(ast.literal_eval(call.args[3]))


def terms_listed(app) -> list[str]:
    """The terms that the Glossary's list shows: each is a bold word on a line of its own."""
    found = [element.value for element in app.main.markdown]
    return [text.partition("**  \n")[0][2:] for text in found if "**  \n" in text]


def search(app, words: str) -> list[str]:
    app.text_input(key="find_word").set_value(words).run()
    return terms_listed(app)


def tour_step(app) -> str | None:
    """What the tour says just now; None where it is off."""
    found = [m.value for m in app.main.markdown if m.value.startswith("**Tour")]
    return found[0] if found else None


def is_on(app, page: str) -> bool:
    """Whether the tour takes this page for the one that is shown."""
    number = app.session_state["tour_step"]
    return steps()[number]["page"] == page and f"**Tour {number + 1} of" in (tour_step(app) or "")


# Words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_word_that_a_screen_explains_is_in_the_glossary(page):
    assert explained_on(page)
    assert [term for term in explained_on(page) if term not in glossary()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_screen_explains_its_words_in_place(visit, page):
    app = visit(page.stem)
    for term in explained_on(page):
        assert app.shows(f"**{term}**: {glossary()[term][0]}"), term


def test_every_explanation_is_sentences():
    for term, (short, more) in glossary().items():
        assert short.endswith("."), term
        assert not more or more.endswith((".", ")")), term


def test_the_four_roles_are_words_of_their_own():
    assert [role for role in ROLES if role not in glossary()] == []


def test_the_glossary_lists_every_word(visit):
    assert set(terms_listed(visit("glossary"))) == set(glossary())


def test_a_search_leaves_the_words_that_hold_it(visit):
    found = search(visit("glossary"), "  ReFuSaL ")
    assert "refusal" in found
    assert len(found) < len(glossary())
    for term in found:
        assert "refusal" in (term + " ".join(glossary()[term])).lower()


def test_a_search_without_a_hit_says_so_and_an_empty_one_brings_all_back(visit):
    app = visit("glossary")
    assert search(app, "qqq") == []
    assert "No term" in app.info[0].value
    assert set(search(app, "")) == set(glossary())


# The tour


def test_the_tour_is_off_until_somebody_takes_it(visit):
    assert tour_step(visit("overview")) is None


def test_every_step_of_the_tour_is_on_a_real_screen():
    names = {page.stem for page in PAGES}
    assert {step["page"] for step in steps()} <= names
    assert steps()[0]["page"] == "overview"
    assert all(step["title"] and step["text"].endswith(".") for step in steps())


def test_the_tour_names_only_buttons_that_are_there(visit):
    """Words of the tour that are a button's label are easily left behind when the label changes."""
    labels = visit("chat").labels()
    told = " ".join(step["text"] for step in steps() if step["page"] == "chat")
    for label in ("ESU off", "Random instead"):
        assert label in labels
        assert label in told


def test_next_leads_through_the_whole_tour(visit):
    app = visit("overview").press("Take the tour")
    for number, step in enumerate(steps()):
        assert tour_step(app) == (
            f"**Tour {number + 1} of {len(steps())}: {step['title']}.** {step['text']}"
        )
        app.press("Finish" if step is steps()[-1] else "Next")
    assert tour_step(app) is None


def test_the_tour_goes_back_and_shows_the_way_to_the_screen_of_its_step(visit):
    app = visit("overview").press("Take the tour").press("Next")
    assert is_on(app, "chat")
    app.press("Back")
    assert tour_step(app) == "**Tour**: the next step is on the screen *Overview*."
    app.press("Go there")
    assert is_on(app, "overview")


def test_the_tour_waits_while_one_looks_elsewhere(visit):
    app = visit("overview").press("Take the tour").go_to("layers")
    assert tour_step(app) == "**Tour**: the next step is on the screen *Overview*."


def test_the_tour_can_be_ended_anywhere(visit):
    app = visit("overview").press("Take the tour").press("Next").press("End the tour")
    assert tour_step(app) is None
    assert tour_step(app.go_to("layers")) is None
