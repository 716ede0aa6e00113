"""What the browser tests share: opening a screen, waiting until it is drawn, and its usual parts."""

import re

from playwright.sync_api import BrowserContext, Locator, Page, expect

TITLES = {
    "Overview": "Where does safety live in a language model?",
    "Chat": "Does it still refuse without its safety units?",
    "Layers": "Which units, in which layers?",
    "Score": "Score the open model",
    "Study": "What does removing each role do?",
    "Direction": "Which way does a request point?",
    "Training": "How does training move safety?",
    "Runs": "What is kept",
    "Glossary": "The words of this app",
}

# Placeholders stand where a part's code is still on its way: measuring then would measure nothing.
_DRAWN = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    return app !== null && app.dataset.testScriptState === 'notRunning'
        && document.querySelector('[data-testid=stHeading]') !== null
        && document.querySelector('[data-testid=stSkeleton]') === null
        && document.querySelector('[data-testid=stSpinner]') === null;
}"""


def open_screen(context: BrowserContext, address: str, path: str = "") -> Page:
    page = context.new_page()
    page.goto(f"{address}/{path}")
    drawn(page)
    return page


def drawn(page: Page) -> None:
    """Wait until a screen is drawn whole: its script is over, and no placeholder is left."""
    page.wait_for_function(_DRAWN)


def go_to(page: Page, name: str) -> None:
    """Go to another screen by the app's own navigation, and wait until it is drawn."""
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    is_at(page, name)


def is_at(page: Page, name: str) -> None:
    """Wait until this screen is there, and drawn."""
    path = "" if name == "Overview" else name.lower()
    expect(page).to_have_url(re.compile(rf"^[^?]*:\d+/{path}([?]|$)"))
    expect(page.get_by_role("heading", name=TITLES[name])).to_be_visible()
    drawn(page)


def press(page: Page, label: str) -> None:
    page.get_by_role("button", name=label, exact=True).click()


def choose(page: Page, label: str) -> None:
    """Choose one part of a segmented control, and wait until it is chosen."""
    part = page.get_by_role("radio", name=label, exact=True)
    part.click()
    expect(part).to_be_checked()
    drawn(page)


def select(page: Page, box: str, option: str) -> None:
    """Choose one option of the select box with this label."""
    chooser = page.get_by_test_id("stSelectbox").filter(has_text=box)
    chooser.locator("input").click()
    page.get_by_role("option", name=option, exact=True).click()


def switched_off(page: Page) -> Locator:
    """What the sidebar says under "Switched off"."""
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
