"""Layers, shared settings and links, on the built-in model, without a browser."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.models import slot

ROOT = Path(__file__).parents[2]


def open_app(page: str, **query: str | list[str]) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    return go_to(app, page)


def go_to(app: AppTest, page: str) -> AppTest:
    app.switch_page(f"pages/{page}.py").run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    app.run()
    assert not app.exception
    return app


def switched_off(app: AppTest) -> str:
    return app.sidebar.text[0].value


@pytest.fixture(autouse=True)
def planted():
    slot().open("organism:planted")


@pytest.mark.parametrize("kind", ["mlp", "attn"])
@pytest.mark.parametrize("view", ["Distribution", "Heatmap", "Scores", "One layer"])
def test_every_view_is_drawn_of_both_kinds(view, kind):
    app = open_app("layers")
    app.button_group(key="kind").set_value(kind)
    app.button_group(key="view").set_value(view).run()
    assert not app.exception
    assert not app.error
    assert len(app.get("plotly_chart")) == 1


@pytest.mark.parametrize("quantity", ["role", "safety", "utility", "difference"])
def test_a_heatmap_has_every_colour(quantity):
    app = open_app("layers")
    app.button_group(key="view").set_value("Heatmap").run()
    app.button_group(key="quantity").set_value(quantity).run()
    assert not app.exception


def test_a_share_slider_changes_the_roles_at_once():
    app = open_app("layers")
    before = app.dataframe[0].value
    app.slider(key="share_ESU").set_value(2.0).run()
    after = app.dataframe[0].value
    assert after["ESU"].sum() < before["ESU"].sum()
    press(app, "Back to the run's own")
    assert app.dataframe[0].value["ESU"].sum() == before["ESU"].sum()


def test_the_strongest_esu_is_found_ablated_and_restored_and_stays_so_on_other_screens():
    app = press(open_app("layers"), "Strongest ESU")
    name = app.text_input(key="unit").value
    assert any(f"**{name}** is **ESU**, on now" in element.value for element in app.markdown)
    press(app, "Ablate")
    assert switched_off(app) == f"{name} off: 1 of 3,648 units (0.0%)"
    go_to(app, "chat")
    assert switched_off(app).startswith(f"{name} off")
    press(go_to(app, "layers"), "Strongest ESU")
    press(app, "Restore")
    assert switched_off(app) == "Nothing off"


def test_a_unit_of_an_ablated_role_can_be_spared():
    app = press(open_app("chat"), "ESU off")
    whole = switched_off(app)
    press(go_to(app, "layers"), "Strongest ESU")
    press(app, "Restore")
    assert switched_off(app) != whole
    assert "without" in switched_off(app)
    press(app, "Ablate")
    assert switched_off(app) == whole


def test_a_name_of_no_unit_is_one_sentence():
    app = open_app("layers")
    app.text_input(key="unit").set_value("L9.mlp.1").run()
    assert not app.exception
    assert "layers 0 to 3" in app.error[0].value


def test_another_run_is_shown_beside_on_the_same_scale():
    app = open_app("layers")
    app.selectbox(key="beside").set_value("organism:base").run()
    assert not app.exception
    assert len(app.get("plotly_chart")) == 2
    assert {"**organism:planted**", "**organism:base**"} <= {m.value for m in app.markdown}


def test_a_link_brings_roles_shares_and_ablation():
    app = open_app("chat", roles=["ESU"], share_ESU="4.0", strongest="50", added=["L0.mlp.3"])
    assert switched_off(app).startswith("Strongest 50% of ESU + L0.mlp.3 off: ")
    assert app.slider(key="share_ESU").value == 4.0


def test_the_address_says_what_is_off():
    app = press(open_app("chat"), "ESU off")
    assert app.query_params["roles"] in ("ESU", ["ESU"])
    press(app, "Nothing off")
    assert "roles" not in app.query_params


def test_junk_in_a_link_is_left_out():
    junk = {
        "roles": ["XSU"],
        "share_ESU": "lots",
        "seed": "-4",
        "tokens": "some",
        "layers": ["9", "x"],
    }
    app = open_app("chat", **junk, added=["L99.mlp.1"], fill="<b>", strength="1e9", unit="../..")
    assert switched_off(app) == "Nothing off"
    assert not app.error


def test_a_link_for_another_model_opens_nothing_until_it_is_clicked():
    settings = {"roles": ["ESU", "ESU"], "share_ESU": "3.0", "added": ["L0.mlp.1", "L0.mlp.1"]}
    app = open_app("chat", model="organism:base", run="organism:base", **settings)
    assert slot().name == "organism:planted"
    assert switched_off(app) == "Nothing off"
    press(app, "Open it")
    assert slot().name == "organism:base"
    assert switched_off(app).startswith("ESU + L0.mlp.1 off: ")
    assert app.slider(key="share_ESU").value == 3.0


def test_a_link_that_is_not_wanted_is_forgotten():
    app = press(open_app("chat", model="organism:base", roles=["RU"]), "Stay here")
    assert slot().name == "organism:planted"
    assert switched_off(app) == "Nothing off"
    assert "Stay here" not in [button.label for button in app.button]


def test_a_link_to_a_path_offers_nothing_to_open():
    app = open_app("chat", model="/etc", run="../../etc")
    assert slot().name == "organism:planted"
    assert "Open it" not in [button.label for button in app.button]


def test_many_single_units_stay_out_of_the_address():
    app = open_app("layers")
    app.session_state["added"] = [f"L0.mlp.{unit}" for unit in range(60)]
    app.run()
    assert switched_off(app).startswith("60 single units off")
    assert "added" not in app.query_params
