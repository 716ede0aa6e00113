"""The Layers screen: every view, sliders that recolour it, and two runs compared."""

import time

import pytest
from tiny_models import tiny_model

from pages.parts.jobs import jobs
from pages.parts.stability_view import measured
from ssah_core import create_run, score
from ssah_core.prompts.reading import Prompt, PromptSet

LAYERS, CHANNELS, HEADS = 4, 896, 16
VIEWS = ["Distribution", "Heatmap", "Scores", "One layer"]
ROLES = ["ESU", "EUU", "CU", "RU"]


@pytest.fixture
def app(visit):
    return visit("layers")


@pytest.fixture
def small_run(runs, safety_and_utility) -> str:
    """The name of a run of a model with two layers of 48 channels and 4 heads."""
    model = tiny_model()
    create_run(runs / "small", model, score(model, **safety_and_utility))
    return "small"


@pytest.fixture
def safety_and_utility() -> dict[str, PromptSet]:
    def answered(name: str, *texts: str) -> PromptSet:
        return PromptSet(name, tuple(Prompt(text, "yes") for text in texts))

    return {
        "safety": answered("harm", "bad one", "bad two", "worse"),
        "utility": answered("use", "good one", "good two", "best"),
    }


def show(app, **chosen):
    """Choose a view, a kind, a colour: what the controls at the top hold."""
    for key, value in chosen.items():
        app.button_group(key=key).set_value(value).run()
    return app


def counts(app) -> list[int]:
    """How many units of the shown kind have each role, by the table below the chart."""
    return app.dataframe[-1].value[ROLES].sum().tolist()


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


@pytest.mark.parametrize("kind", ["mlp", "attn"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_run_of_another_size_can_stand_beside_this_one(app, small_run, view, kind):
    show(app, view=view, kind=kind)
    compare(app, small_run)
    assert len(app.charts()) == 2
    assert not app.error


def test_a_layer_that_the_other_model_does_not_have_is_said(app, small_run):
    show(app, view="One layer")
    app.number_input(key="layer").set_value(3).run()
    compare(app, small_run)
    assert len(app.charts()) == 1
    assert app.shows("This model has layers 0 to 1 only.")


def test_a_comparison_is_still_there_after_a_look_at_another_screen(app):
    compare(app, "organism:base")
    app.go_to("chat")
    assert len(app.go_to("layers").charts()) == 2


def test_a_comparison_ends_and_is_never_with_the_run_itself(app):
    assert "organism:planted" not in app.selectbox(key="beside").options
    compare(app, "organism:base")
    compare(app, "nothing")
    assert len(app.charts()) == 1


# How sure the roles are


@pytest.fixture
def nothing_measured_after():
    """What is measured serves the whole app, and would show in other tests, too."""
    yield
    jobs().forget()
    kept = measured()
    kept.run, kept.blocks, kept.found = "", None, {}


def measure(app) -> None:
    """Press Measure, and wait until the result stands on the screen."""
    app.button(key="measure stability").click().run()
    deadline = time.monotonic() + 120
    while not any("keeps its role" in text.value for text in app.markdown):
        assert time.monotonic() < deadline
        time.sleep(0.5)
        app.run()


def test_how_sure_the_roles_are_is_measured_once_and_shown_for_the_unit(
    app, nothing_measured_after
):
    measure(app)
    assert jobs().current is None
    app.text_input(key="unit").set_value("L0.mlp.3").run()
    assert any("resamples of the calibration prompts it is" in text.value for text in app.caption)
    assert any("sure" in frame.value.columns for frame in app.dataframe)
    assert not app.exception


def test_what_is_sure_belongs_to_the_shares_that_it_was_measured_for(app, nothing_measured_after):
    measure(app)
    app.slider(key="share_ESU").set_value(4.0).run()
    assert not any("keeps its role" in text.value for text in app.markdown)
    measure(app)


def test_the_end_of_another_job_does_not_stand_in_the_way(app, nothing_measured_after):
    jobs().start("other", "Scoring", lambda job: "done", lambda: None)
    jobs().current.finished.wait(10)
    app.run()
    measure(app)
