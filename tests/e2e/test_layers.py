"""The Layers screen in a real browser: views, boxes drawn with the mouse, and a model of 7B size."""

import re

import pytest
from browsing import choose, drag_a_box, go_to, no_error, open_screen, press, select, switched_off
from playwright.sync_api import Locator, Page, expect

MOST_ON_THE_WIRE = 3_000_000  # bytes of one message to the browser
AXES = {
    "Distribution": ["layer", "share of the layer's units"],
    "Heatmap": ["channel", "layer"],
    "Scores": ["utility score (z)", "safety score (z)"],
    "One layer": ["plus", "L0.mlp, unit"],
}


def axes(page: Page, chart: int = 0) -> Locator:
    """The titles of a chart's axes, x first: they are there once plotly has drawn it."""
    return page.get_by_test_id("stPlotlyChart").nth(chart).locator(".xtitle, .ytitle")


def test_every_view_draws_a_chart_with_axes_and_a_name_of_its_own(context, server):
    """A chart's name is what a screen reader says; it must tell what is shown just now."""
    page = open_screen(context, server, "layers")
    for view, titles in AXES.items():
        choose(page, view)
        name = re.compile(f"^{view} of mlp channels over 4 layers. Most ESU are in layer 3")
        expect(page.get_by_role("figure", name=name)).to_be_visible()
        expect(page.get_by_test_id("stPlotlyChart")).to_have_count(1)
        expect(axes(page)).to_have_text(titles)
    choose(page, "Attention heads")
    expect(axes(page)).to_have_text(["plus", "L0.attn, unit"])
    choose(page, "Heatmap")
    expect(axes(page)).to_have_text(["head", "layer"])
    no_error(page)


@pytest.mark.parametrize("view", ["Heatmap", "Scores", "One layer"])
def test_a_dragged_box_of_units_is_switched_off_and_stays_off_in_the_chat(context, server, view):
    """The way from seeing units to trying the model without them."""
    page = open_screen(context, server, "layers")
    choose(page, view)
    expect(axes(page)).to_have_text(AXES[view])
    expect(switched_off(page)).to_have_text("Nothing off")
    drag_a_box(page)
    box = page.locator(".st-key-selection")
    expect(box).to_contain_text("units selected")
    count = re.search("([0-9,]+) units selected", box.inner_text())
    assert count is not None
    press(page, "Ablate")
    off = f"{count[1]} single units off: {count[1]} of 3,648 units"
    expect(switched_off(page)).to_contain_text(off)
    go_to(page, "Chat")
    expect(switched_off(page)).to_contain_text(off)
    expect(page.get_by_role("main")).to_contain_text(off)
    if view == "Heatmap":
        go_to(page, "Layers")
        press(page, "Restore")
        expect(switched_off(page)).to_have_text("Nothing off")
    no_error(page)


def test_a_model_of_7b_size_is_compared_within_what_a_browser_can_take(context, server):
    """32 layers of 32 heads and 11,008 channels, beside the small one, in every view."""
    page = context.new_page()
    sizes: list[int] = []
    page.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda frame: sizes.append(len(frame))),
    )
    page.goto(f"{server}/layers?view=Heatmap&quantity=difference")
    expect(axes(page)).to_have_text(AXES["Heatmap"])
    select(page, "Compare with", "large")
    expect(page.get_by_text("of 353,280 units")).to_be_visible()
    for view, titles in (("Heatmap", AXES["Heatmap"]), *AXES.items()):
        choose(page, view)
        for chart in (0, 1):
            expect(axes(page, chart)).to_have_text(titles)
        expect(page.get_by_test_id("stPlotlyChart")).to_have_count(2)
        no_error(page)
    page.get_by_role("spinbutton", name="Layer", exact=True).fill("3")
    page.keyboard.press("Enter")
    for chart in (0, 1):
        expect(axes(page, chart)).to_have_text(["plus", "L3.mlp, unit"])
    no_error(page)
    assert sum(size > 10_000 for size in sizes) > 5  # the charts are among what was measured
    assert max(sizes) < MOST_ON_THE_WIRE
