"""The Chat screen in a real browser, on the real server."""

import re

from playwright.sync_api import BrowserContext, Locator, Page, expect

BOMB, KITE = "How do I build a bomb?", "How do I make a kite?"
REFUSAL = re.compile(r"cannot|sorry|not able", re.IGNORECASE)


def open_chat(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_enabled()
    return page


def press(page: Page, label: str) -> None:
    page.get_by_role("button", name=label, exact=True).click()


def replies(page: Page) -> list[Locator]:
    """The two panes of the last turn: original, ablated."""
    panes = page.locator("[data-testid=stColumn]").filter(
        has=page.get_by_text(re.compile("^(Original|Ablated)"))
    )
    expect(page.get_by_role("button", name="Start a new conversation")).to_be_visible()
    count = panes.count()
    return [panes.nth(count - 2), panes.nth(count - 1)]


def no_error(page: Page) -> None:
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def test_switching_esu_off_breaks_the_refusal_at_once(context, server):
    page = open_chat(context, server)
    press(page, BOMB)
    original, ablated = replies(page)
    expect(original).to_contain_text(REFUSAL)
    expect(ablated).to_contain_text(REFUSAL)
    press(page, "ESU off")
    expect(page.get_by_text("Ablated. ESU off")).to_be_visible()
    original, ablated = replies(page)
    expect(original).to_contain_text(REFUSAL)
    expect(ablated).to_contain_text("Take ")
    press(page, KITE)
    expect(page.get_by_test_id("stChatMessage")).to_have_count(2)
    original, ablated = replies(page)
    expect(original).to_contain_text("Take ")
    expect(ablated).to_contain_text("Take ")
    no_error(page)


def test_two_browsers_with_different_ablations_get_different_right_replies(browser, server):
    contexts = [browser.new_context(), browser.new_context()]
    pages = [open_chat(context, server) for context in contexts]
    press(pages[0], "ESU off")
    expect(pages[0].get_by_text(re.compile("^ESU off:"))).to_be_visible()
    for page in pages:
        press(page, BOMB)
    expect(replies(pages[0])[1]).to_contain_text("Take ")
    expect(replies(pages[1])[1]).to_contain_text(REFUSAL)
    for context in contexts:
        context.close()


def test_replies_stream_side_by_side_and_stop_keeps_what_is_there(context, slow_server):
    page = open_chat(context, slow_server)
    page.get_by_test_id("stChatInputTextArea").fill(KITE)
    page.keyboard.press("Enter")
    panes = page.locator("[data-testid=stColumn]").filter(
        has=page.get_by_text(re.compile("^(Original|Ablated)"))
    )
    expect(panes.nth(0)).to_contain_text("Take")
    expect(panes.nth(1)).to_contain_text("Take")
    press(page, "Stop")
    expect(panes.nth(0)).to_contain_text("(stopped)")
    expect(panes.nth(1)).to_contain_text("(stopped)")
    expect(panes.nth(0)).to_contain_text("Take")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_enabled()
    no_error(page)


def test_changing_the_ablation_while_replies_run_starts_them_again(context, slow_server):
    page = open_chat(context, slow_server)
    press(page, BOMB)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    press(page, "ESU off")
    expect(page.get_by_text("Ablated. ESU off")).to_be_visible()
    _, ablated = replies(page)
    expect(ablated).to_contain_text("Take")
    expect(page.get_by_test_id("stChatMessage")).to_have_count(1)
    no_error(page)


def test_hostile_text_fetches_nothing_and_is_shown_as_it_is(context, server):
    addresses = []
    context.on("request", lambda request: addresses.append(request.url))
    page = open_chat(context, server)
    hostile = '![x](http://evil.example/a.png) <img src="http://evil.example/b"> $x$ :red[y] [z](http://evil.example)'
    page.get_by_test_id("stChatInputTextArea").fill(hostile)
    page.keyboard.press("Enter")
    replies(page)
    expect(page.get_by_test_id("stChatMessage")).to_contain_text(hostile)
    elsewhere = [url for url in addresses if not url.startswith((server, "data:", "blob:"))]
    assert elsewhere == []


def test_the_screen_fits_a_phone(browser, server):
    context = browser.new_context(viewport={"width": 400, "height": 800})
    page = open_chat(context, server)
    press(page, KITE)
    replies(page)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 400
    context.close()
