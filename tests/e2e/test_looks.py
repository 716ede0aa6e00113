"""How every screen looks and is reached: narrow, wide, dark, by keyboard, and without another host."""

import re

import pytest
from browsing import TITLES, drawn, go_to, no_error, open_screen, press
from playwright.sync_api import Browser, BrowserContext, Page, expect

# Every screen with much on it.
PATHS = {
    "Overview": "",
    "Chat": "chat?roles=ESU&added=L3.mlp.17",
    "Layers": "layers?view=Heatmap&roles=ESU&unit=L3.mlp.17",
    "Score": "score",
    "Study": "study",
    "Direction": "direction",
    "Training": "training",
    "Runs": "runs",
    "Glossary": "glossary",
}
CONTRAST = 4.5  # of text on its background: WCAG 2, level AA
# Each piece of text with its contrast. Colours are what the elements say, laid over each other; icons
# and what is disabled may be fainter. A number above a slider's handle lies in the handle's element
# but beside it, so a background counts only where it is under the text.
_CONTRASTS = """() => {
    const numbers = (text) => text.match(/[0-9.]+/g).map(Number);
    const colour = (text) => { const [r, g, b, a = 1] = numbers(text); return [r, g, b, a]; };
    const over = ([r, g, b, a], under) => [r, g, b].map((v, i) => a * v + (1 - a) * under[i]);
    const light = (parts) => {
        const [r, g, b] = parts.map((v) => v / 255).map(
            (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const text = texts.currentNode.textContent.trim();
        const element = texts.currentNode.parentElement;
        if (!/[a-z0-9]/i.test(text)) continue;
        if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
        if (element.closest('svg, style, script, noscript, [data-testid=stIconMaterial]')) continue;
        if (element.closest('[disabled], [aria-disabled=true], [data-disabled]')) continue;
        if (element.closest('label')?.querySelector(':disabled')) continue;
        const span = document.createRange();
        span.selectNodeContents(texts.currentNode);
        const place = span.getBoundingClientRect();
        if (place.width < 2 || place.height < 2) continue;
        const [x, y] = [place.x + place.width / 2, place.y + place.height / 2];
        const around = [];
        for (let e = element; e; e = e.parentElement) around.unshift(e);
        let under = [255, 255, 255], opacity = 1;
        for (const e of around) {
            const style = getComputedStyle(e), box = e.getBoundingClientRect();
            opacity *= Number(style.opacity);
            const holds = box.left <= x && x <= box.right && box.top <= y && y <= box.bottom;
            if (holds || e === document.body || e === document.documentElement) {
                under = over(colour(style.backgroundColor), under);
            }
        }
        const [r, g, b, a] = colour(getComputedStyle(element).color);
        const both = [light(over([r, g, b, a * opacity], under)), light(under)];
        found.push([text, (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05)]);
    }
    return found;
}"""


def watch(context: BrowserContext) -> list[str]:
    """Every address that pages of this context ask for, sockets included, from now on."""
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("page", lambda page: page.on("websocket", lambda socket: asked.append(socket.url)))
    return asked


def elsewhere(asked: list[str], server: str) -> list[str]:
    own = (server, server.replace("http", "ws", 1), "data:", "blob:")
    return [url for url in asked if not url.startswith(own)]


def fits(page: Page, width: int) -> None:
    """Neither the document nor the box that scrolls the screen is wider than the window."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_role("main").evaluate("main => main.scrollWidth - main.clientWidth") <= 0


@pytest.mark.parametrize("name", TITLES)
def test_a_screen_fits_a_phone_in_the_dark_and_asks_no_other_host(
    browser: Browser, server: str, name: str
):
    """A phone, a person at night, and a machine that must tell nobody what is asked of a model."""
    context = browser.new_context(viewport={"width": 400, "height": 800}, color_scheme="dark")
    asked = watch(context)
    page = open_screen(context, server, PATHS[name])
    expect(page.get_by_role("heading", name=TITLES[name])).to_be_visible()
    if name == "Chat":
        press(page, "How do I make a kite?")
        expect(page.get_by_role("button", name="Start a new chat")).to_be_visible()
        drawn(page)
    fits(page, 400)
    brightness = page.get_by_test_id("stApp").evaluate(
        "app => getComputedStyle(app).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number)"
    )
    assert max(brightness) < 60
    assert any(url.startswith("ws") for url in asked)  # the watch sees the app's own socket
    assert elsewhere(asked, server) == []
    no_error(page)
    context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 2560), ("dark", 1440)])
def test_every_screen_is_readable_and_fits_a_large_window(
    browser: Browser, server: str, scheme: str, width: int
):
    """On a projector, in sunlight and by weak eyes: small print and what is chosen as the rest."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 1300})
    page = open_screen(context, server, PATHS["Chat"])
    press(page, "How do I build a bomb?")
    expect(page.get_by_role("button", name="Start a new chat")).to_be_visible()
    faint: dict[str, float] = {}
    for name in ("Chat", *TITLES):
        go_to(page, name)
        fits(page, width)
        no_error(page)
        found = page.evaluate(_CONTRASTS)
        assert len(found) > 20
        faint |= {f"{name}: {text[:50]}": round(c, 2) for text, c in found if c < CONTRAST}
    assert faint == {}
    context.close()


def test_the_keyboard_alone_tells_the_story(context, server):
    """From the top of the page with Tab and Enter only."""
    page = open_screen(context, server)
    first = page.get_by_role("button", name=re.compile("^1[.] Ask"))
    tab_to(page, first)
    page.keyboard.press("Enter")
    expect(page.locator(".st-key-demo")).to_contain_text("refused")
    second = page.get_by_role("button", name=re.compile("^2[.] Safety"))
    tab_to(page, second)
    page.keyboard.press("Enter")
    expect(page.locator(".st-key-demo")).to_contain_text("answered")


def test_the_keyboard_reaches_the_first_example_of_the_chat(context, server):
    page = open_screen(context, server, "chat")
    tab_to(page, page.get_by_role("button", name="How do I build a bomb?", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Start a new chat")).to_be_visible()
    expect(page.get_by_test_id("stChatMessage")).to_have_count(1)


def tab_to(page: Page, aim) -> None:
    for _ in range(30):
        page.keyboard.press("Tab")
        if aim.evaluate("button => button === document.activeElement"):
            return
    raise AssertionError(f"Tab does not reach {aim}")


def test_pictures_and_charts_have_a_name_for_those_who_cannot_see_them(context, server):
    """On every screen that has any; each name tells more than that there is a chart."""
    page = open_screen(context, server)
    expect(page.get_by_role("img", name=re.compile("A request enters on the left"))).to_be_visible()
    go_to(page, "Chat")
    press(page, "How do I build a bomb?")
    expect(page.get_by_role("button", name="Start a new chat")).to_be_visible()
    page.get_by_role("radio", name="First token").or_(
        page.get_by_role("button", name="First token")
    ).click()
    charts = page.get_by_test_id("stPlotlyChart")
    expect(charts).to_have_count(2)
    expect(charts.nth(0)).to_have_accessible_name(re.compile("^Original: likeliest first tokens"))
    expect(charts.nth(1)).to_have_accessible_name(re.compile("^Ablated: likeliest first tokens"))
    go_to(page, "Layers")
    expect(charts).to_have_count(1)
    expect(charts).to_have_accessible_name(re.compile("Most ESU are in layer"))
