"""Shared settings and links: what an address brings, what it cannot do, and what it says."""

from pathlib import Path

import pytest

from pages.parts.models import slot

NOTHING = "Nothing off"
PAGES = sorted(page.stem for page in (Path(__file__).parents[2] / "pages").glob("*.py"))


def many(value) -> list[str]:
    """A part of the address as a list: one word stands there alone."""
    return [value] if isinstance(value, str) else list(value)


# What a link brings


def test_a_link_brings_roles_shares_part_and_single_units(visit):
    app = visit("chat", roles=["ESU"], share_ESU="4.0", strongest="50", added=["L0.mlp.3"])
    assert app.switched_off.startswith("Strongest 50% of ESU + L0.mlp.3 off: ")
    assert app.slider(key="share_ESU").value == 4.0
    assert app.slider(key="strongest").value == 50


@pytest.mark.parametrize("page", PAGES)
def test_a_link_means_the_same_on_every_screen(visit, page):
    app = visit(page, roles=["ESU"], share_ESU="4.0")
    assert app.switched_off == "ESU off: 145 of 3,648 units (4.0%)"


def test_a_link_brings_every_finer_setting(visit):
    app = visit(
        "chat",
        roles=["ESU", "RU"],
        layers=["1", "2"],
        strength="50",
        fill="mean",
        random="True",
        control="layer",
        seed="7",
        tokens="response",
        kinds="mlp",
    )
    app.press("How do I make a kite?")
    assert app.switched_off.startswith(
        "Random units, as many as ESU + RU of layers 1 to 2, at 50%: "
    )
    assert app.shows("Roles by response tokens, MLP channels")
    assert app.shows("put out their mean; random seed 7.")
    assert app.button_group(key="control").value == "layer"


def test_a_link_brings_what_the_layers_screen_shows(visit):
    app = visit(
        "layers", view="One layer", kind="attn", quantity="difference", layer="2", unit="L2.attn.3"
    )
    assert app.charts()[0]["layout"]["yaxis"]["title"]["text"] == "L2.attn, unit"
    assert app.button_group(key="quantity").value == "difference"
    assert app.shows("**L2.attn.3** is **")


def test_a_link_is_read_once(visit):
    app = visit("chat", roles=["ESU"])
    app.press("Nothing off")
    assert app.run().switched_off == NOTHING
    assert app.go_to("layers").switched_off == NOTHING


def test_a_word_said_twice_in_a_link_counts_once(visit):
    app = visit("chat", roles=["ESU", "ESU"])
    assert app.switched_off == "ESU off: 291 of 3,648 units (8.0%)"
    app = visit("chat", added=["L0.mlp.1", "L0.mlp.1"])
    assert app.switched_off.startswith("L0.mlp.1 off: 1 of ")


# What the address says


def test_the_address_says_what_is_off_and_nothing_that_is_as_usual(visit):
    app = visit("chat").press("ESU off")
    assert many(app.query_params["roles"]) == ["ESU"]
    assert set(app.query_params) == {"model", "run", "roles"}
    assert "roles" not in app.press("Nothing off").query_params


def test_an_address_brings_another_person_to_the_same_place(visit):
    app = visit("chat").press("Random instead")
    app.slider(key="share_ESU").set_value(3.0)
    app.slider(key="layers").set_value((0, 2)).run()
    app.go_to("layers").text_input(key="unit").set_value("L0.mlp.3").run()
    app.button_group(key="view").set_value("Scores").run()
    other = visit("layers", **app.query_params)
    assert other.switched_off == app.switched_off
    assert other.charts() == app.charts()
    assert other.query_params == app.query_params


def test_settings_and_address_survive_a_walk_over_all_screens(visit):
    app = visit("chat").press("ESU off")
    app.slider(key="share_ESU").set_value(3.0)
    app.slider(key="strongest").set_value(50).run()
    said, address = app.switched_off, app.query_params
    for page in PAGES:
        app.go_to(page)
        assert app.switched_off == said
        assert app.query_params == address
    app.go_to("chat")
    assert app.slider(key="share_ESU").value == 3.0
    assert app.slider(key="strongest").value == 50


def test_many_single_units_stay_out_of_the_address_but_are_off(visit):
    app = visit("layers")
    app.button_group(key="view").set_value("Heatmap").run()
    app.drag_a_box((0, 39), (0, 0)).button(key="Ablate selection").click().run()
    assert len(app.query_params["added"]) == 40
    app.drag_a_box((40, 59), (0, 0)).button(key="Ablate selection").click().run()
    assert app.switched_off.startswith("60 single units off: 60 of ")
    assert "added" not in app.query_params
    assert app.go_to("chat").switched_off.startswith("60 single units off: 60 of ")


def test_two_people_have_settings_of_their_own(visit):
    first, second = visit("chat"), visit("chat")
    first.press("ESU off")
    assert second.run().switched_off == NOTHING


# Links that nobody should trust

JUNK = {
    "roles": ["XSU", "<b>"],
    "strongest": "many",
    "strength": "",
    "random": "maybe",
    "control": "none",
    "seed": "1e3",
    "fill": "<img src=x>",
    "added": ["L99.mlp.1", "../../etc/passwd"],
    "spared": ["L0.mlp", "1"],
    "tokens": "some",
    "kinds": "all",
    "layers": ["9", "x"],
    "view": "Source",
    "kind": "moe",
    "quantity": "price",
    "layer": "first",
    "unit": "../..",
    "share_ESU": "lots",
    "share_EUU": "nan",
    "share_RU": "-3",
    "session": "1",
}


@pytest.mark.parametrize("key", JUNK)
def test_a_word_that_makes_no_sense_is_left_out_of_a_link(visit, key):
    app = visit("layers", **{key: JUNK[key]})
    assert app.switched_off == NOTHING
    assert not app.error
    assert len(app.charts()) == 1
    assert app.query_params.get(key) is None
    assert visit("chat", **{key: JUNK[key]}).switched_off == NOTHING


@pytest.mark.parametrize("name", [" L0.mlp.3", "L00.mlp.3", "L0.mlp.03"])
def test_another_spelling_of_a_unit_in_a_link_is_the_same_unit(visit, name):
    app = visit("layers", added=["L0.mlp.3", name], unit="L0.mlp.3")
    assert app.switched_off.startswith("L0.mlp.3 off: 1 of ")
    assert app.press("Restore").switched_off == NOTHING


def test_what_makes_sense_in_a_link_full_of_junk_is_kept(visit):
    app = visit("chat", **{**JUNK, "roles": ["XSU", "ESU"], "share_ESU": "4"})
    assert app.switched_off == "ESU off: 145 of 3,648 units (4.0%)"
    assert not app.error


@pytest.mark.parametrize(
    ("key", "word", "kept"),
    [("strongest", "1000", 100), ("strength", "-5", 0), ("strength", "999", 200)],
)
def test_a_number_beyond_its_ends_is_taken_for_the_end(visit, key, word, kept):
    app = visit("chat", roles=["ESU"], **{key: word})
    assert app.slider(key=key).value == kept


def test_a_number_between_two_steps_goes_to_a_step(visit):
    assert visit("chat", roles=["ESU"], strongest="53").slider(key="strongest").value == 50


def test_a_share_above_the_slider_is_shown_as_it_is(visit):
    app = visit("chat", share_ESU="60", roles=["ESU"])
    assert app.slider(key="share_ESU").value == 60.0
    assert "(60.0%)" in app.switched_off


def test_a_link_with_shares_that_leave_nothing_is_one_sentence(visit):
    app = visit("chat", share_ESU="60", share_RU="60")
    assert len(app.error) == 1
    app.press("Back to the run's own")
    assert not app.error


@pytest.mark.parametrize("page", PAGES)
def test_the_sidebar_is_never_silent_about_what_is_off(visit, page):
    """Where the shares leave nothing there are no roles, and so nothing can be off."""
    app = visit(page, roles=["ESU"], share_ESU="60", share_RU="60")
    assert [text.value for text in app.sidebar.text] not in ([], [""])


# Links to another model or run


def test_a_link_for_another_model_opens_nothing_until_it_is_clicked(visit):
    app = visit("chat", model="organism:base", run="organism:base", roles=["ESU"], share_ESU="3.0")
    assert slot().name == "organism:planted"
    assert app.shows("The link that you followed is for the model organism:base")
    assert app.switched_off == NOTHING
    app.press("Open it")
    assert slot().name == "organism:base"
    assert "Open it" not in app.labels()
    assert app.switched_off == "ESU off: 109 of 3,648 units (3.0%)"


def test_who_stays_here_is_not_asked_again(visit):
    app = visit("chat", model="organism:base", roles=["ESU"])
    app.press("Stay here")
    assert slot().name == "organism:planted"
    assert app.switched_off == NOTHING
    for page in PAGES:
        assert "Open it" not in app.go_to(page).labels()


def test_the_question_about_a_link_comes_on_every_screen_until_it_is_answered(visit):
    app = visit("overview", model="organism:base")
    for page in PAGES:
        assert "Open it" in app.go_to(page).labels()
    assert slot().name == "organism:planted"


@pytest.mark.parametrize("model", ["/etc", "folder:../etc", "owner/name", "organism:nobody", "<b>"])
def test_a_link_to_a_model_that_is_not_offered_opens_nothing(visit, model):
    app = visit("chat", model=model, run="../../etc")
    assert slot().name == "organism:planted"
    assert "Open it" not in app.labels()
    assert app.shows("It is not offered here")
    app.press("Stay here")
    assert app.press("ESU off").switched_off.startswith("ESU off: ")


@pytest.mark.parametrize("run", ["../../etc", "gone", "organism:nobody", ""])
def test_a_link_to_a_run_that_is_not_there_opens_nothing(visit, run):
    app = visit("layers", run=run)
    assert app.session_state["run"] == "organism:planted"
    assert "Open it" not in app.labels()
    assert len(app.charts()) == 1


def test_a_link_to_a_run_of_another_model_offers_no_click_that_does_nothing(visit):
    app = visit("layers", model="organism:planted", run="organism:base")
    if "Open it" in app.labels():
        app.press("Open it")
    assert "Open it" not in app.labels()
    assert not app.error
