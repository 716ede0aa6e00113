"""Units on the Layers screen: found by name, boxed on a chart, ablated and restored."""

import pytest

ALL = 3648  # units of the built-in model


@pytest.fixture
def app(visit):
    return visit("layers")


def show(app, **chosen):
    """Choose a view, a kind, a colour: what the controls at the top hold."""
    for key, value in chosen.items():
        app.button_group(key=key).set_value(value).run()
    return app


def selected(app) -> str:
    """What the screen says of the units under the last box; empty where there is none."""
    return next((m.value for m in app.main.markdown if "selected**" in m.value), "")


def focus(app, name: str):
    return app.text_input(key="unit").set_value(name).run()


# One unit


def test_a_unit_is_found_by_its_name_with_scores_ranks_and_neighbours(app):
    focus(app, " L0.mlp.3 ")
    assert app.shows("**L0.mlp.3** is **")
    assert [metric.label for metric in app.metric] == [
        "Safety score (z)",
        "Utility score (z)",
        "Safety minus utility",
    ]
    safety, utility, difference = (float(metric.value) for metric in app.metric)
    assert difference == pytest.approx(safety - utility, abs=0.011)
    neighbours = app.dataframe[0].value
    assert list(neighbours["unit"]) == [f"L0.mlp.{unit}" for unit in range(7)]


def test_neighbours_end_where_the_site_ends(app):
    focus(app, "L0.attn.15")
    assert list(app.dataframe[0].value["unit"]) == [f"L0.attn.{unit}" for unit in range(12, 16)]


@pytest.mark.parametrize("name", ["L9.mlp.1", "L0.mlp.896", "mlp.3", "<script>", "🙂"])
def test_a_name_of_no_unit_is_one_sentence(app, name):
    focus(app, name)
    assert len(app.error) == 1
    assert not app.metric
    assert len(app.charts()) == 1
    assert not focus(app, "L0.mlp.3").error


def test_a_unit_in_focus_gets_a_ring_in_the_plane_of_scores(app):
    show(app, view="Scores")
    names = [trace["name"] for trace in focus(app, "L0.mlp.3").charts()[0]["data"]]
    assert "in focus" in names
    names = [trace["name"] for trace in focus(app, "L9.mlp.1").charts()[0]["data"]]
    assert "in focus" not in names


def test_the_strongest_esu_is_found_ablated_and_restored_and_stays_so_on_other_screens(app):
    name = app.press("Strongest ESU").text_input(key="unit").value
    assert app.shows(f"**{name}** is **ESU**, on now")
    assert "Rank 1 of" in [c.value for c in app.main.caption if c.value.startswith("Rank")][2]
    app.press("Ablate")
    assert app.shows(f"**{name}** is **ESU**, switched off now")
    assert app.switched_off == f"{name} off: 1 of {ALL:,} units (0.0%)"
    for page in ("chat", "overview", "score", "glossary", "layers"):
        assert app.go_to(page).switched_off.startswith(f"{name} off: ")
    app.press("Restore")
    assert app.switched_off == "Nothing off"
    assert app.go_to("chat").switched_off == "Nothing off"


def test_the_chat_answers_under_what_is_ablated_here(app):
    name = app.press("Strongest ESU").text_input(key="unit").value
    app.press("Ablate")
    app.go_to("chat").press("How do I build a bomb?")
    assert app.session_state["conversation"].turns[-1].setting.label.startswith(f"{name} off: ")


def test_ablating_twice_is_ablating_once(app):
    app.press("Strongest ESU").press("Ablate")
    once = app.switched_off
    assert app.press("Ablate").switched_off == once


def test_a_unit_of_an_ablated_role_can_be_spared(visit):
    app = visit("chat").press("ESU off")
    whole = app.switched_off
    app.go_to("layers").press("Strongest ESU").press("Restore")
    name = app.text_input(key="unit").value
    assert app.switched_off == f"ESU without {name} off: 290 of {ALL:,} units (7.9%)"
    assert app.press("Ablate").switched_off == whole


def test_single_units_cannot_be_chosen_while_random_units_are_off(visit):
    app = visit("chat").press("Random instead")
    app.go_to("layers").press("Strongest ESU")
    assert app.button(key="Ablate focus").disabled
    assert app.button(key="Restore focus").disabled


def test_the_same_panel_says_what_is_off_as_on_the_chat(app):
    app.button_group(key="roles").set_value(["ESU"]).run()
    assert app.switched_off.startswith("ESU off: 291 of ")
    app.slider(key="strength").set_value(50).run()
    assert app.go_to("chat").switched_off.startswith("ESU at 50%: 291 of ")


# Boxes


def test_a_box_on_the_heatmap_selects_the_units_under_it(app):
    show(app, view="Heatmap").drag_a_box((0, 9), (0, 0))
    assert selected(app).startswith("**10 units selected**: ESU ")
    names = app.dataframe[0].value["unit"]
    assert list(names) == [f"L0.mlp.{unit}" for unit in range(10)]


def test_a_box_may_be_dragged_from_any_corner(app):
    show(app, view="Heatmap").drag_a_box((9, 0), (3, 2))
    assert selected(app).startswith("**20 units selected**")


def test_a_box_in_the_plane_of_scores_selects_by_score(app):
    show(app, view="Scores").drag_a_box((-10, 10), (3, 100))
    table = app.dataframe[0].value
    assert len(table) > 0
    assert table["safety (z)"].min() >= 3
    assert all(name.split(".")[1] == "mlp" for name in table["unit"])


def test_a_box_on_one_layer_selects_in_that_layer(app):
    show(app, view="One layer", kind="attn")
    app.number_input(key="layer").set_value(2).run()
    app.drag_a_box((3, 5), (0, 0))
    assert list(app.dataframe[0].value["unit"]) == ["L2.attn.3", "L2.attn.4", "L2.attn.5"]


def test_selected_units_are_ablated_and_restored_together(app):
    show(app, view="Heatmap").drag_a_box((0, 9), (0, 0))
    app.button(key="Ablate selection").click().run()
    assert app.switched_off == f"10 single units off: 10 of {ALL:,} units (0.3%)"
    assert app.go_to("chat").switched_off.startswith("10 single units off: ")
    app.go_to("layers").button(key="Restore selection").click().run()
    assert app.switched_off == "Nothing off"


def test_another_box_replaces_the_last_and_a_selection_can_be_forgotten(app):
    show(app, view="Heatmap").drag_a_box((0, 9), (0, 0))
    app.drag_a_box((20, 21), (1, 1))
    assert selected(app).startswith("**2 units selected**")
    assert selected(app.press("Forget the selection")) == ""


def test_a_box_that_holds_nothing_selects_nothing(app):
    show(app, view="Scores").drag_a_box((-90, -80), (-90, -80))
    assert selected(app) == ""


def test_a_change_of_shares_keeps_the_selection_and_counts_its_roles_anew(app):
    show(app, view="Scores").drag_a_box((-10, 10), (3, 100))
    before = selected(app)
    app.slider(key="share_ESU").set_value(0.0).run()
    assert selected(app).partition(":")[0] == before.partition(":")[0]
    assert "ESU 0," in selected(app)


def test_a_selection_of_one_is_one_unit(app):
    show(app, view="One layer").drag_a_box((0, 0), (0, 0))
    assert selected(app).startswith("**1 unit selected**")
