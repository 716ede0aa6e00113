"""The Layers screen: every view, sliders that recolour it, units found, boxed, ablated, and compared."""

import pytest

LAYERS, CHANNELS, HEADS = 4, 896, 16
ALL = LAYERS * (CHANNELS + HEADS)
VIEWS = ["Distribution", "Heatmap", "Scores", "One layer"]
ROLES = ["ESU", "EUU", "CU", "RU"]


@pytest.fixture
def app(visit):
    return visit("layers")


def show(app, **chosen):
    """Choose a view, a kind, a colour: what the controls at the top hold."""
    for key, value in chosen.items():
        app.button_group(key=key).set_value(value).run()
    return app


def counts(app) -> list[int]:
    """How many units of the shown kind have each role, by the table below the chart."""
    return app.dataframe[-1].value[ROLES].sum().tolist()


def selected(app) -> str:
    """What the screen says of the units under the last box; empty where there is none."""
    return next((m.value for m in app.main.markdown if "selected**" in m.value), "")


def focus(app, name: str):
    return app.text_input(key="unit").set_value(name).run()


def axis_titles(chart) -> list[str]:
    return [chart["layout"][axis]["title"]["text"] for axis in ("xaxis", "yaxis")]


# Views


@pytest.mark.parametrize("kind", ["mlp", "attn"])
@pytest.mark.parametrize(
    ("view", "titles"),
    [
        ("Distribution", ["layer", "share of the layer's units"]),
        ("Heatmap", ["{unit}", "layer"]),
        ("Scores", ["utility score (z)", "safety score (z)"]),
        ("One layer", ["plus", "L0.{kind}, unit"]),
    ],
)
def test_every_view_is_drawn_of_both_kinds(app, view, titles, kind):
    [chart] = show(app, view=view, kind=kind).charts()
    unit = "channel" if kind == "mlp" else "head"
    assert axis_titles(chart) == [title.format(kind=kind, unit=unit) for title in titles]
    assert not app.error
    assert sum(counts(app)) == LAYERS * (CHANNELS if kind == "mlp" else HEADS)


@pytest.mark.parametrize("view", ["Heatmap", "One layer"])
def test_a_map_has_a_picture_of_its_own_for_every_colour(app, view):
    drawn = [
        show(app, view=view, quantity=quantity).charts()[0]["data"][0]["z"]
        for quantity in ("role", "safety", "utility", "difference")
    ]
    assert len({str(cells) for cells in drawn}) == 4


def test_only_maps_have_a_colour_to_choose(app):
    for view in VIEWS:
        keys = [group.key for group in show(app, view=view).button_group]
        assert ("quantity" in keys) == (view in ("Heatmap", "One layer"))


def test_one_layer_can_be_looked_at_after_another(app):
    show(app, view="One layer")
    app.number_input(key="layer").set_value(3).run()
    assert axis_titles(app.charts()[0])[1] == "L3.mlp, unit"


def test_bars_of_a_layer_fill_the_whole(app):
    [chart] = show(app, view="Distribution").charts()
    assert [bars["name"] for bars in chart["data"]] == ROLES
    assert [bars["text"][0] for bars in chart["data"]] == ROLES  # not by colour alone


def test_a_chart_is_told_in_words_and_shown_as_a_table(app):
    for view in VIEWS:
        [chart] = show(app, view=view).get("plotly_chart")
        assert chart.proto.alt.startswith(f"{view} of mlp channels over 4 layers.")
        assert list(app.dataframe[-1].value["layer"]) == [0, 1, 2, 3]


def test_a_chart_and_all_units_can_be_downloaded(app):
    labels = {button.label for button in app.get("download_button")}
    assert {"All units as CSV", "This chart as HTML"} <= labels


def test_what_is_shown_is_still_shown_after_a_look_at_another_screen(app):
    show(app, view="One layer", kind="attn", quantity="safety")
    app.number_input(key="layer").set_value(2).run()
    before = app.charts()
    app.go_to("chat")
    app.go_to("layers")
    assert app.charts() == before


# Shares


def test_a_share_slider_recolours_at_once_and_goes_back(app):
    before, drawn = counts(app), app.charts()
    app.slider(key="share_ESU").set_value(2.0).run()
    assert counts(app)[0] < before[0]
    assert app.charts() != drawn
    app.press("Back to the run's own")
    assert counts(app) == before
    assert app.charts() == drawn


def test_roles_for_attention_heads_alone_leave_every_channel_complex(app):
    for role in ("ESU", "EUU", "RU"):
        app.slider(key=f"share_{role}").set_value(0.5).run()
    show(app, kinds="attn")
    assert counts(app) == [0, 0, LAYERS * CHANNELS, 0]
    show(app, kind="attn")
    assert counts(app) == [18, 18, LAYERS * HEADS - 54, 18]


def test_other_tokens_give_other_roles_in_the_same_number(app):
    show(app, view="Heatmap")
    whole = app.slider(key="share_ESU").value
    drawn = [show(app, tokens=tokens).charts() for tokens in ("prompt", "response", "all")]
    assert drawn[0] != drawn[1] != drawn[2]
    assert app.slider(key="share_ESU").value == whole


def test_shares_that_leave_nothing_are_one_sentence_and_can_be_mended(app):
    for role in ("ESU", "EUU", "RU"):
        app.slider(key=f"share_{role}").set_value(40.0).run()
    assert len(app.error) == 1
    assert "lower them" in app.error[0].value
    app.press("Back to the run's own")
    assert not app.error
    assert len(app.charts()) == 1


def test_the_command_and_the_python_name_the_shares_that_are_shown(app):
    app.slider(key="share_ESU").set_value(2.0).run()
    command, python = (code.value for code in app.main.code)
    assert "ssah_core roles" in command
    assert "--esu 0.02" in command
    assert "esu=0.02" in python
    compile(python, "recipe", "exec")


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


# Two runs


def compare(app, other: str):
    return app.selectbox(key="beside").set_value(other).run()


@pytest.mark.parametrize("view", VIEWS)
def test_another_run_is_shown_beside_this_one_in_every_view(app, view):
    compare(show(app, view=view), "organism:base")
    assert len(app.charts()) == 2
    assert not app.error
    assert app.shows("**organism:planted**")
    assert app.shows("**organism:base**")


def test_two_runs_have_one_scale(app):
    show(app, view="Heatmap", quantity="safety")
    first, second = (chart["data"][0] for chart in compare(app, "organism:base").charts())
    assert (first["zmin"], first["zmax"]) == (second["zmin"], second["zmax"])
    assert first["z"] != second["z"]
    first, second = (chart["layout"] for chart in show(app, view="Scores").charts())
    for axis in ("xaxis", "yaxis"):
        assert first[axis]["range"] == second[axis]["range"]


def test_shares_hold_for_both_runs(app):
    compare(app, "organism:aligned")
    app.slider(key="share_ESU").set_value(1.0).run()
    tables = [table.value for table in app.dataframe]
    assert [table["ESU"].sum() for table in tables] == [36, 36]
    assert len([c for c in app.main.caption if c.value.startswith("ESU 36, ")]) == 2


def test_a_comparison_is_still_there_after_a_look_at_another_screen(app):
    compare(app, "organism:base")
    app.go_to("chat")
    assert len(app.go_to("layers").charts()) == 2


def test_a_comparison_ends_and_is_never_with_the_run_itself(app):
    assert "organism:planted" not in app.selectbox(key="beside").options
    compare(app, "organism:base")
    compare(app, "nothing")
    assert len(app.charts()) == 1
