"""The Overview in a real browser: the story in three clicks, the ways on, and the tour."""

import re

from browsing import TITLES, drawn, is_at, no_error, open_screen, press
from playwright.sync_api import Page, expect

REFUSAL = re.compile("cannot|sorry|not able", re.IGNORECASE)


def demo_button(page: Page, number: int):
    return page.get_by_role("button", name=re.compile(f"^{number}[.] "))


def test_three_clicks_show_the_story(context, server):
    """The order is the story: refuse, answer without safety units, and be as useful as before."""
    page = open_screen(context, server)
    demo = page.locator(".st-key-demo")
    said = demo.get_by_test_id("stText")
    expect(said).to_have_text(["…", "…"])
    expect(demo_button(page, 2)).to_be_disabled()
    demo_button(page, 1).click()
    expect(said.nth(0)).to_have_text(REFUSAL)
    expect(said.nth(1)).to_have_text("…")
    expect(demo).to_contain_text("refused")
    expect(demo_button(page, 3)).to_be_disabled()
    demo_button(page, 2).click()
    expect(said.nth(1)).to_have_text(re.compile("^Take "))
    expect(said.nth(0)).to_have_text(REFUSAL)
    expect(demo).to_contain_text("answered")
    demo_button(page, 3).click()
    expect(said.nth(0)).to_have_text(re.compile("^Take "))
    expect(said.nth(1)).to_have_text(said.nth(0).inner_text())
    expect(demo).not_to_contain_text("refused")
    press(page, "Again")
    expect(said).to_have_text(["…", "…"])
    no_error(page)


def test_each_way_on_is_a_link_in_the_page(context, server):
    """On a phone the navigation is folded away: the page itself must lead on."""
    page = open_screen(context, server)
    ways = page.get_by_role("main")
    for name in ("Chat", "Layers", "Score", "Glossary"):
        link = ways.get_by_role("link", name=name, exact=True)
        expect(link).to_have_attribute("href", re.compile(f"(^|/){name.lower()}$"))
    ways.get_by_role("link", name="Layers", exact=True).click()
    is_at(page, "Layers")
    no_error(page)


def test_the_tour_leads_over_the_screens_to_its_end(context, server):
    """Only a browser shows that the steps really change the screen."""
    page = open_screen(context, server)
    press(page, "Take the tour")
    step, been = 1, []
    finish = page.get_by_role("button", name="Finish", exact=True)
    while True:
        expect(page.locator(".st-key-tour")).to_contain_text(f"Tour {step} of")
        drawn(page)
        been.append(page.get_by_role("main").get_by_role("heading").first.inner_text())
        if finish.count():
            break
        press(page, "Next")
        step += 1
    assert {TITLES[n] for n in ("Overview", "Chat", "Layers", "Score", "Glossary")} <= set(been)
    finish.click()
    expect(page.locator(".st-key-tour")).to_have_count(0)
    no_error(page)
