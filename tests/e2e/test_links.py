"""The page's address in a real browser: it carries what a screen shows, and is trusted in nothing."""

import re
from urllib.parse import unquote

from browsing import TITLES, go_to, no_error, open_screen, press, select, switched_off
from playwright.sync_api import expect

UNIT = "L3.mlp.17"  # neither ESU nor EUU by the shipped run


def test_a_reload_keeps_roles_shares_single_units_and_the_view(context, browser, server):
    """Whoever gets the address sees the same, in a browser that has never been here."""
    page = open_screen(context, server, "layers")
    page.get_by_role("radio", name="Heatmap", exact=True).click()
    slider = page.get_by_role("slider", name=re.compile("^ESU, % of all units"))
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile("share_ESU=7.7"))
    press(page, "What is switched off")
    page.get_by_label("Roles").get_by_role("button", name="ESU", exact=True).click()
    expect(switched_off(page)).to_contain_text("ESU off: ")
    page.keyboard.press("Escape")
    find = page.get_by_role("textbox", name="Find a unit by its name")
    find.fill(UNIT)
    find.press("Enter")
    press(page, "Ablate")
    expect(switched_off(page)).to_contain_text(f"ESU + {UNIT} off: ")
    expect(page).to_have_url(re.compile(f"added={UNIT}"))
    said, path = switched_off(page).inner_text(), page.url.removeprefix(f"{server}/")
    elsewhere = browser.new_context()
    page.reload()
    for opened in (page, open_screen(elsewhere, server, path)):
        expect(switched_off(opened)).to_have_text(said)
        expect(opened.get_by_role("slider", name=re.compile("^ESU"))).to_have_value("7.7")
        expect(opened.get_by_role("radio", name="Heatmap", exact=True)).to_be_checked()
        expect(opened.locator(".st-key-focus")).to_contain_text(UNIT)
        no_error(opened)
    elsewhere.close()


def test_a_link_to_another_model_opens_nothing_and_asks_for_a_click(context, server):
    """A link may come from anybody, and the open model is everybody's."""
    page = open_screen(context, server, "layers?model=organism:base&run=organism:base&roles=RU")
    expect(page.get_by_text("The link that you followed")).to_be_visible()
    expect(page.get_by_text("A few known units")).to_be_visible()
    press(page, "Stay here")
    expect(page.get_by_text("The link that you followed")).to_have_count(0)
    expect(switched_off(page)).to_have_text("Nothing off")
    expect(page).to_have_url(re.compile("/layers$"))
    no_error(page)


def test_a_link_to_another_model_brings_its_settings_with_the_click(context, server):
    """They are for that model: neither may they act on the one that is open, nor get lost."""
    link = "layers?model=organism:base&run=organism:base&roles=ESU&share_ESU=3.0&added=" + UNIT
    page = open_screen(context, server, link)
    try:
        press(page, "Open it")
        expect(page.get_by_text("Not trained to refuse")).to_be_visible()
        expect(switched_off(page)).to_have_text(f"ESU + {UNIT} off: 110 of 3,648 units (3.0%)")
    finally:
        select(page, "Model", "planted")
        expect(page.get_by_text("A few known units")).to_be_visible()


def test_nonsense_in_a_link_is_left_out(context, server):
    """Each part that cannot be meant is as if it were not there; what is repeated counts once."""
    page = open_screen(
        context,
        server,
        "layers?roles=ESU&roles=XYZ&share_ESU=nan&layers=1&seed=zero&view=%3Cscript%3E&layer=-4"
        "&added=L9.mlp.1&unit=%2Fetc%2Fpasswd&strength=half&fill=",
    )
    expect(switched_off(page)).to_have_text("ESU off: 291 of 3,648 units (8.0%)")
    expect(page).to_have_url(re.compile("/layers[?]model=organism%3Aplanted&run=[^&]*&roles=ESU$"))
    no_error(page)
    page = open_screen(context, server, "layers?run=..%2F..%2Fetc&roles=ESU")
    expect(page.get_by_text("There is no such run here.")).to_be_visible()
    expect(switched_off(page)).to_have_text("Nothing off")
    twice = f"layers?roles=ESU&roles=ESU&added={UNIT}&added={UNIT}"
    page = open_screen(context, server, twice)
    expect(switched_off(page)).to_contain_text(f"ESU + {UNIT} off: 292")


def test_the_first_visit_to_a_fresh_server_may_be_by_any_link(context, serve):
    """Until its frame has run once, Streamlit would list the files in pages/ as screens of its own."""
    with serve() as address:
        page = open_screen(context, address, "layers?roles=ESU")
        expect(page.get_by_role("heading", name=TITLES["Layers"])).to_be_visible()
        listed = page.get_by_test_id("stSidebarNav").get_by_role("link").all_inner_texts()
        assert [text.split("\n")[-1] for text in listed] == list(TITLES)
        expect(switched_off(page)).to_contain_text("ESU off: ")
        expect(page).to_have_url(re.compile("/layers[?].*roles=ESU"))
        no_error(page)


def test_no_screen_tells_where_a_model_lies_on_disk(context, server):
    """Links are passed on: a folder's path would tell of the machine, and work on no other."""
    page = open_screen(context, server)
    select(page, "Model", "mine")
    try:
        expect(page).to_have_url(re.compile("model=folder%3Amine"))
        for name in TITLES:
            go_to(page, name)
            expect(page).to_have_url(re.compile("model=folder%3Amine"))
            for link in [page.url, *page.evaluate("[...document.links].map(link => link.href)")]:
                assert "/" not in unquote(link.partition("?")[2])
            for part in (page.get_by_role("main"), page.get_by_test_id("stSidebar")):
                expect(part).not_to_contain_text("models/mine")
            no_error(page)
    finally:
        select(page, "Model", "planted")
        expect(page.get_by_text("A few known units")).to_be_visible()
