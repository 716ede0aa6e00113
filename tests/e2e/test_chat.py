"""The Chat screen in a real browser, on the real server."""

import re

from browsing import press, select
from playwright.sync_api import BrowserContext, Locator, Page, expect

BOMB, KITE = "How do I build a bomb?", "How do I make a kite?"
REFUSAL = re.compile(r"cannot|sorry|not able", re.IGNORECASE)


def open_chat(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(f"{address}/chat")
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_enabled()
    return page


def replies(page: Page) -> list[Locator]:
    """The two panes of the last turn: original, ablated."""
    panes = all_panes(page)
    expect(page.get_by_role("button", name="Start a new chat")).to_be_visible()
    count = panes.count()
    return [panes.nth(count - 2), panes.nth(count - 1)]


def all_panes(page: Page) -> Locator:
    title = page.get_by_text(re.compile("^(Original|Ablated)$"))
    return page.get_by_test_id("stColumn").filter(has=title)


def stop_button(page: Page) -> Locator:
    return page.get_by_role("button", name="Stop", exact=True)


def shows_off(page: Page, words: str) -> None:
    """Wait until the answers are under an ablation, and are all there."""
    expect(all_panes(page).last).to_contain_text(words)
    expect(page.get_by_role("button", name="Start a new chat")).to_be_visible()


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
    shows_off(page, "ESU off: ")
    original, ablated = replies(page)
    expect(original).to_contain_text(REFUSAL)
    expect(original).to_contain_text("refused")
    expect(ablated).to_contain_text("Take ")
    expect(ablated).to_contain_text("answered")
    press(page, KITE)
    expect(page.get_by_test_id("stChatMessage")).to_have_count(2)
    for reply in replies(page):
        expect(reply).to_contain_text("Take ")
        expect(reply).to_contain_text("answered")
    no_error(page)


def test_two_browsers_with_different_ablations_get_different_right_replies(browser, server):
    contexts = [browser.new_context(), browser.new_context()]
    pages = [open_chat(context, server) for context in contexts]
    press(pages[0], "ESU off")
    expect(all_panes(pages[0]).last).to_contain_text("ESU off: ")
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
    panes = all_panes(page)
    expect(panes.nth(0)).to_contain_text("Take")
    expect(panes.nth(1)).to_contain_text("Take")
    press(page, "Stop")
    expect(panes.nth(0)).to_contain_text("(stopped)")
    expect(panes.nth(1)).to_contain_text("(stopped)")
    expect(panes.nth(0)).to_contain_text("Take")
    expect(stop_button(page)).to_have_count(0)
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_enabled()
    no_error(page)


def test_changing_the_ablation_while_replies_run_starts_them_again(context, slow_server):
    page = open_chat(context, slow_server)
    press(page, BOMB)
    expect(stop_button(page)).to_be_visible()
    press(page, "ESU off")
    shows_off(page, "ESU off: ")
    _, ablated = replies(page)
    expect(ablated).to_contain_text("Take")
    expect(page.get_by_test_id("stChatMessage")).to_have_count(1)
    no_error(page)


def test_a_change_of_model_waits_for_replies_and_everybody_is_told(browser, slow_server):
    contexts = [browser.new_context(), browser.new_context()]
    writer, changer = (open_chat(context, slow_server) for context in contexts)
    press(writer, KITE)
    expect(stop_button(writer)).to_be_visible()
    select(changer, "Model", "base")
    expect(changer.get_by_text("Not trained to refuse")).to_be_visible()
    original, _ = replies(writer)  # whole, though the model was wanted by somebody else
    expect(original).not_to_contain_text("(stopped)")
    expect(original).to_contain_text(re.compile(r"Take .+\."))
    press(writer, "ESU off")
    expect(writer.get_by_text("The open model is now organism:base")).to_be_visible()
    select(changer, "Model", "planted")
    expect(changer.get_by_text("A few known units")).to_be_visible()
    for context in contexts:
        context.close()


def test_hostile_text_fetches_nothing_wraps_and_is_shown_as_it_is(context, server):
    addresses = []
    context.on("request", lambda request: addresses.append(request.url))
    page = open_chat(context, server)
    hostile = (
        '![x](http://evil.example/a.png) <img src="http://evil.example/b"> $x$ :red[y] '
        "[z](http://evil.example) " + 300 * "w"
    )
    page.get_by_test_id("stChatInputTextArea").fill(hostile)
    page.keyboard.press("Enter")
    replies(page)
    message = page.get_by_test_id("stChatMessage")
    expect(message).to_contain_text(hostile)
    assert message.evaluate("box => box.scrollWidth <= box.clientWidth")
    elsewhere = [url for url in addresses if not url.startswith((server, "data:", "blob:"))]
    assert elsewhere == []


def test_the_first_screen_says_what_to_do(context, server):
    page = open_chat(context, server)
    expect(page.get_by_text("Then press ESU off")).to_be_visible()
    expect(page.get_by_role("button", name=BOMB)).to_be_in_viewport()
    expect(page.get_by_role("button", name="ESU off", exact=True)).to_be_in_viewport()
    expect(all_panes(page)).to_have_count(2)
    no_error(page)


def test_the_screen_fits_a_phone(browser, server):
    context = browser.new_context(viewport={"width": 400, "height": 800})
    page = open_chat(context, server)
    press(page, KITE)
    replies(page)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 400
    context.close()
