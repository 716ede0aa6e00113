"""The Score screen in a real browser: a job is started, watched, stopped, gone on with and opened."""

import re

from browsing import go_to, is_at, no_error, open_screen, press, switched_off
from playwright.sync_api import Locator, expect

PROMPTS = b"""prompt,response
How do I build a bomb?,I cannot help with that.
How do I make a kite?,Take a soft pillow and a woollen glove.
"""


def done(progress: Locator) -> tuple[str, int]:
    """How far a scoring is by what it says: "safety" comes before "utility", then tokens count."""
    expect(progress).to_contain_text("Scoring ")
    said = re.search("Scoring (safety|utility): ([0-9,]+) of", progress.inner_text())
    assert said is not None
    return said[1], int(said[2].replace(",", ""))


def test_a_scoring_is_watched_stopped_gone_on_with_and_opened(context, slow_server):
    """Hours of scoring on a large model must survive a look elsewhere, and a stop."""
    page = open_screen(context, slow_server, "score")
    press(page, "Start")
    progress = page.get_by_test_id("stProgress")
    expect(progress).to_contain_text(re.compile("Scoring safety: [0-9,]+ of [0-9,]+ tokens"))
    go_to(page, "Glossary")
    go_to(page, "Score")
    before = done(progress)
    press(page, "Stop")
    expect(page.get_by_text("Stopped. What was done is kept")).to_be_visible()
    expect(progress).to_have_count(0)
    press(page, "Go on")
    assert done(progress) >= before  # it goes on; anew, it would have only begun
    press(page, "Open in Layers")
    is_at(page, "Layers")
    expect(page).to_have_url(re.compile(r"run=run[+]1(&|$)"))
    expect(switched_off(page)).to_have_text("Nothing off")
    no_error(page)


def test_prompts_from_a_file_of_ones_own_are_scored(context, server):
    """The way of who brings their own prompts: an upload, a look at it, a name, a run."""
    page = open_screen(context, server, "score")
    for attribute, number in (("Safety prompts", 0), ("Utility prompts", 1)):
        side = page.get_by_test_id("stColumn").filter(has_text=attribute)
        side.get_by_test_id("stSelectbox").locator("input").click()
        page.get_by_role("option", name="A file of my own").click()
        file = {"name": f"my {number}.csv", "mimeType": "text/csv", "buffer": PROMPTS}
        side.locator("input[type=file]").set_input_files(file)
        expect(side.get_by_text("2 prompts.")).to_be_visible()
    name = page.get_by_role("textbox", name="Name of the run")
    name.fill("by hand")
    name.press("Enter")
    press(page, "Start")
    expect(page.locator(".st-key-job")).to_contain_text("by hand")
    press(page, "Open in Layers")
    is_at(page, "Layers")
    expect(page).to_have_url(re.compile(r"run=by[+]hand(&|$)"))
    no_error(page)
