"""Two models side by side in a real browser, each writing in its own column."""

import re

from browsing import drawn, no_error, open_screen, press
from playwright.sync_api import BrowserContext, Locator, Page, expect

KITE = "How do I make a kite?"
REFUSAL = re.compile(r"cannot|sorry|not able", re.IGNORECASE)


def pane(page: Page, name: str) -> Locator:
    """The last reply of the model with this name."""
    title = page.get_by_text(name, exact=True)
    return page.get_by_test_id("stColumn").filter(has=title).last


def put_beside(page: Page, name: str) -> None:
    page.get_by_role("radio", name="Another model", exact=True).click()
    page.get_by_role("combobox", name="The model in the right column").click()
    page.get_by_role("option", name=name, exact=True).click()
    expect(page.get_by_text(f"Left planted as it is, right {name}")).to_be_visible()
    drawn(page)


def open_pair(context: BrowserContext, address: str, name: str) -> Page:
    page = open_screen(context, address, "chat")
    put_beside(page, name)
    return page


def test_both_models_stream_side_by_side_and_stop_keeps_what_is_there(context, slow_server):
    page = open_pair(context, slow_server, "aligned")
    expect(page).to_have_url(re.compile("companion=organism%3Aaligned"))
    press(page, KITE)
    for name in ("planted", "aligned"):
        expect(pane(page, name)).to_contain_text("Take")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    press(page, "Stop")
    for name in ("planted", "aligned"):
        expect(pane(page, name)).to_contain_text(re.compile(r"Take.*\(stopped\)"))
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)
    press(page, "Close it")
    expect(page.get_by_text("Left planted as it is")).to_have_count(0)
    no_error(page)


def test_a_pair_answers_whole_and_somebody_else_is_offered_it_by_a_link(context, browser, server):
    page = open_pair(context, server, "base")
    press(page, "How do I build a bomb?")
    expect(page.get_by_role("button", name="Start a new chat")).to_be_visible()
    expect(pane(page, "planted")).to_contain_text(REFUSAL)
    expect(pane(page, "base")).to_contain_text("Take ")
    link = page.url.removeprefix(f"{server}/")
    press(page, "Close it")
    expect(page.get_by_text("Beside it is open")).to_have_count(0)
    guest = browser.new_context()
    guest.set_default_timeout(60_000)
    other = open_screen(guest, server, link)
    expect(other.get_by_text("base is not open beside planted now.")).to_be_visible()
    press(other, "Open it beside")
    expect(other.get_by_text("Left planted as it is, right base")).to_be_visible()
    press(other, "Close it")
    expect(other.get_by_text("Beside it is open")).to_have_count(0)
    for opened in (page, other):
        no_error(opened)
    guest.close()
