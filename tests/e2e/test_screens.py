"""Overview, Layers, Score and Glossary in a real browser, on the real server."""

import re

import pytest
from made_scores import made_anatomy, made_scores
from playwright.sync_api import Browser, BrowserContext, Page, expect

from ssah_core import load_model
from ssah_core.runs import create_run

SCREENS = ("", "chat", "layers", "score", "study", "glossary")
MOST_ON_THE_WIRE = 3_000_000  # bytes of one message to the browser


def open_screen(context: BrowserContext, address: str, path: str = "") -> Page:
    page = context.new_page()
    page.goto(f"{address}/{path}")
    rest(page)
    return page


def rest(page: Page) -> None:
    """Wait until the screen is drawn: the sidebar's end is there, and the script is not running."""
    expect(page.get_by_text("Large text")).to_have_count(1)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def press(page: Page, label: str) -> None:
    page.get_by_role("button", name=label, exact=True).first.click()


def choose(page: Page, label: str) -> None:
    """Choose one part of a segmented control."""
    part = page.get_by_role("radio", name=label, exact=True)
    part.or_(page.get_by_role("button", name=label, exact=True)).first.click()


def switched_off(page: Page):
    return page.get_by_test_id("stSidebar").get_by_test_id("stText")


def no_error(page: Page) -> None:
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)


def drag_a_box(page: Page) -> None:
    """Drag a box over the first chart's lower left quarter."""
    area = page.locator(".nsewdrag").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.6 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.9 * box["height"], steps=8)
    page.mouse.up()


def test_three_clicks_show_the_story(context, server):
    page = open_screen(context, server)
    panes = page.locator(".st-key-demo [data-testid=stText]")
    page.get_by_role("button", name=re.compile("^1. Ask")).click()
    expect(panes.nth(0)).to_have_text(re.compile("cannot|sorry|not able", re.IGNORECASE))
    page.get_by_role("button", name=re.compile("^2. Switch")).click()
    expect(panes.nth(1)).to_have_text(re.compile("^Take "))
    page.get_by_role("button", name=re.compile("^3. Ask")).click()
    expect(panes.nth(0)).to_have_text(re.compile("^Take "))
    expect(panes.nth(1)).to_have_text(panes.nth(0).inner_text())
    no_error(page)


@pytest.mark.parametrize("view", ["Heatmap", "Scores", "One layer"])
def test_a_dragged_box_of_units_is_switched_off_and_stays_off_in_the_chat(context, server, view):
    page = open_screen(context, server, "layers")
    choose(page, view)
    expect(page.locator(".nsewdrag")).to_have_count(1)
    rest(page)
    drag_a_box(page)
    expect(page.locator(".st-key-selection")).to_contain_text("units selected")
    press(page, "Ablate")
    expect(switched_off(page)).to_contain_text("single units off")
    said = switched_off(page).inner_text()
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Chat").click()
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_enabled()
    expect(switched_off(page)).to_have_text(said)
    no_error(page)


def test_a_reload_keeps_what_is_off_and_what_is_shown(context, server):
    page = open_screen(context, server, "layers")
    choose(page, "Heatmap")
    rest(page)
    press(page, "What is switched off")
    page.get_by_role("button", name="ESU", exact=True).last.click()
    expect(switched_off(page)).to_contain_text("ESU off: ")
    said = switched_off(page).inner_text()
    expect(page).to_have_url(re.compile("roles=ESU"))
    page.reload()
    rest(page)
    expect(switched_off(page)).to_have_text(said)
    expect(page.get_by_text("Every layer a row")).to_be_visible()
    no_error(page)


def test_a_link_to_another_model_asks_for_a_click(context, server):
    page = open_screen(context, server, "layers?model=organism:base&run=organism:base&roles=RU")
    expect(page.get_by_text("The link that you followed")).to_be_visible()
    expect(page.get_by_text("A few known units")).to_be_visible()
    press(page, "Stay here")
    expect(page.get_by_text("The link that you followed")).to_have_count(0)
    expect(page).to_have_url(re.compile("layers$"))
    no_error(page)


def test_the_first_visit_to_a_fresh_server_may_be_by_any_link(context, serve):
    with serve() as address:
        page = open_screen(context, address, "layers?roles=ESU")
        expect(page.get_by_test_id("stSidebarNav").get_by_role("link")).to_have_count(len(SCREENS))
        expect(page.get_by_text("Which units, in which layers?")).to_be_visible()
        expect(switched_off(page)).to_contain_text("ESU off: ")


def test_a_model_of_7b_size_is_shown_within_what_a_browser_can_take(
    context, serve, tmp_path, monkeypatch
):
    scores = made_scores(made_anatomy(layers=32, heads=32, channels=11_008), 0)
    create_run(tmp_path / "large", load_model("organism:planted", device="cpu"), scores)
    monkeypatch.setenv("SSAH_RUNS", str(tmp_path))
    with serve() as address:
        page = context.new_page()
        sizes: list[int] = []
        page.on(
            "websocket",
            lambda socket: socket.on("framereceived", lambda frame: sizes.append(len(frame))),
        )
        page.goto(f"{address}/layers")
        rest(page)
        page.get_by_test_id("stSelectbox").last.locator("input").click()
        page.get_by_role("option", name="large", exact=True).click()
        for view in ("Distribution", "Heatmap", "Scores", "One layer"):
            choose(page, view)
            expect(page.get_by_test_id("stPlotlyChart")).to_have_count(2)
            rest(page)
            no_error(page)
        assert max(sizes) < MOST_ON_THE_WIRE


def test_a_scoring_shows_its_progress_and_opens_in_layers(context, serve, tmp_path, monkeypatch):
    monkeypatch.setenv("SSAH_RUNS", str(tmp_path))
    with serve() as address:
        page = open_screen(context, address, "score")
        press(page, "Start")
        expect(page.get_by_text("into the run run 1")).to_be_visible()
        press(page, "Open in Layers")
        expect(page.get_by_text("Which units, in which layers?")).to_be_visible()
        expect(page).to_have_url(re.compile(r"run=run[+%20]*1"))
        no_error(page)


@pytest.mark.parametrize("path", SCREENS)
def test_every_screen_fits_a_phone_in_the_dark_and_asks_no_other_host(
    browser: Browser, server: str, path: str
):
    context = browser.new_context(viewport={"width": 400, "height": 800}, color_scheme="dark")
    addresses: list[str] = []
    context.on("request", lambda request: addresses.append(request.url))
    page = context.new_page()
    page.goto(f"{server}/{path}")
    expect(page.get_by_test_id("stHeading").first).to_be_visible()
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    brightness = page.get_by_test_id("stApp").evaluate(
        "app => getComputedStyle(app).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    )
    assert max(brightness) < 60
    elsewhere = [url for url in addresses if not url.startswith((server, "data:", "blob:"))]
    assert elsewhere == []
    no_error(page)
    context.close()


@pytest.mark.parametrize("path", SCREENS)
def test_every_screen_is_drawn_on_a_wide_wall(browser: Browser, server: str, path: str):
    context = browser.new_context(viewport={"width": 2560, "height": 1300})
    page = open_screen(context, server, path)
    no_error(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 2560
    context.close()


def test_the_keyboard_reaches_the_first_example(context, server):
    page = open_screen(context, server, "chat")
    example = page.get_by_role("button", name="How do I build a bomb?", exact=True)
    page.get_by_role("button", name="Words").focus()
    for _ in range(3):
        page.keyboard.press("Tab")
        if example.evaluate("button => button === document.activeElement"):
            break
    expect(example).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Start a new chat")).to_be_visible()
    expect(page.get_by_test_id("stChatMessage")).to_have_count(1)


def test_charts_have_a_name_for_those_who_cannot_see_them(context, server):
    page = open_screen(context, server, "layers")
    expect(
        page.locator("[aria-label*='Most ESU are in layer'], [alt*='Most ESU are in layer']")
    ).not_to_have_count(0)
