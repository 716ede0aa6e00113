"""The panel of what is switched off: every setting shows in the sidebar at once, and says what it does."""

import re

import pytest

ALL = 3648  # units of the built-in model
ESU = 291  # of them, by the run's own share of 8 percent


@pytest.fixture
def app(visit):
    return visit("chat")


def units_off(app) -> int:
    """How many units the sidebar says are off."""
    found = re.search(r": ([\d,]+) of 3,648 units", app.switched_off)
    return int(found[1].replace(",", "")) if found else 0


def type_units(app, names: str):
    return app.text_input(key="typed_units").set_value(names).run()


def test_a_preset_names_what_is_off_and_how_many(app):
    assert app.switched_off == "Nothing off"
    assert app.press("ESU off").switched_off == f"ESU off: {ESU} of 3,648 units (8.0%)"
    assert app.press("RU off").switched_off.startswith("RU off: 547 of 3,648 units (15.0%)")
    assert app.press("Nothing off").switched_off == "Nothing off"


def test_random_units_are_as_many_as_those_they_stand_for(app):
    app.press("Random instead")
    assert app.switched_off.startswith("Random units, as many as ESU, off: ")
    assert units_off(app) == ESU


def test_several_roles_are_off_together(app):
    app.button_group(key="roles").set_value(["ESU", "RU"]).run()
    assert units_off(app) == ESU + 547
    app.button_group(key="roles").set_value(["ESU", "EUU", "CU", "RU"]).run()
    assert units_off(app) == ALL


def test_settings_of_roles_wait_until_a_role_is_chosen(app):
    assert app.slider(key="strongest").disabled
    assert app.toggle(key="random").disabled
    app.press("ESU off")
    assert not app.slider(key="strongest").disabled
    assert not app.toggle(key="random").disabled


@pytest.mark.parametrize("percent", [0, 5, 50, 95])
def test_the_part_of_a_role_counts_its_strongest_units(app, percent):
    app.press("ESU off")
    app.slider(key="strongest").set_value(percent).run()
    assert abs(units_off(app) - ESU * percent / 100) <= 1


def test_only_the_units_of_some_layers_can_be_off(app):
    app.press("ESU off")
    parts = []
    for layer in range(4):
        app.slider(key="layers").set_value((layer, layer)).run()
        parts.append(units_off(app))
    assert sum(parts) == ESU
    assert app.switched_off.startswith("ESU of layer 3 off: ")
    app.slider(key="layers").set_value((0, 3)).run()
    assert app.switched_off == f"ESU off: {ESU} of 3,648 units (8.0%)"


def test_a_strength_says_what_is_left_of_the_signal(app):
    app.press("ESU off")
    app.slider(key="strength").set_value(50).run()
    assert app.switched_off == f"ESU at 50%: {ESU} of 3,648 units (8.0%)"
    app.slider(key="strength").set_value(100).run()
    assert app.switched_off == "Nothing off"
    app.slider(key="strength").set_value(200).run()
    assert app.switched_off.startswith("ESU at 200%: ")


def test_a_preset_undoes_the_finer_settings(app):
    app.press("ESU off")
    app.slider(key="strength").set_value(50)
    app.slider(key="layers").set_value((1, 2))
    app.slider(key="strongest").set_value(20).run()
    type_units(app, "L0.mlp.3")
    assert app.press("ESU off").switched_off == f"ESU off: {ESU} of 3,648 units (8.0%)"


def test_random_units_change_with_the_seed_but_not_in_number(app):
    app.press("Random instead")
    app.press("How do I build a bomb?")
    before = app.session_state["conversation"].turns[-1].setting
    app.number_input(key="seed").set_value(5).run()
    after = app.session_state["conversation"].turns[-1].setting
    assert after.made_by != before.made_by
    assert units_off(app) == ESU


def test_random_units_can_be_drawn_layer_by_layer(app):
    app.press("Random instead")
    app.button_group(key="control").set_value("layer").run()
    assert units_off(app) == ESU


def test_single_units_are_switched_off_by_name(app):
    type_units(app, "L3.mlp.17, L0.attn.2")
    assert app.switched_off == "2 single units off: 2 of 3,648 units (0.1%)"
    assert app.shows("Single units: 2 on top.")
    assert app.press("Clear them").switched_off == "Nothing off"


def test_single_units_come_on_top_of_a_role(app):
    app.press("ESU off")
    type_units(app, "L0.mlp.3")
    assert app.switched_off.startswith("ESU + L0.mlp.3 off: ")


@pytest.mark.parametrize("name", ["L9.mlp.1", "L0.mlp.99999", "mlp", "<b>", "L0.mlp.1, nothing"])
def test_a_unit_that_is_not_there_is_one_sentence_and_nothing_changes(app, name):
    type_units(app, name)
    assert len(app.error) == 1
    assert app.switched_off == "Nothing off"


def test_a_name_typed_once_more_after_clearing_is_switched_off_again(app):
    type_units(app, "L0.mlp.3")
    app.press("Clear them")
    type_units(app, "")
    type_units(app, "L0.mlp.3")
    assert app.switched_off.startswith("L0.mlp.3 off: ")


@pytest.mark.parametrize("name", ["L00.mlp.3", "L0.mlp.03"])
def test_a_unit_by_another_spelling_can_be_restored_where_it_is_found(app, name):
    type_units(app, name)
    app.go_to("layers").text_input(key="unit").set_value("L0.mlp.3").run()
    assert app.shows("switched off now")
    assert app.press("Restore").switched_off == "Nothing off"


def test_a_fill_is_part_of_what_made_the_reply(app):
    app.press("ESU off")
    app.press("How do I make a kite?")
    assert app.shows("Units that are off put out zero")
    app.button_group(key="fill").set_value("mean").run()
    assert app.shows("Units that are off put out their mean")


def test_shares_tokens_and_kinds_change_who_is_off_and_go_back(app):
    app.press("ESU off")
    app.slider(key="share_ESU").set_value(4.0).run()
    assert units_off(app) == 145
    app.button_group(key="kinds").set_value("mlp")
    app.button_group(key="tokens").set_value("prompt").run()
    app.press("How do I make a kite?")
    assert app.shows("Roles by prompt tokens, MLP channels: ESU 4.0%")
    app.press("Back to the run's own")
    assert units_off(app) == ESU
    assert app.slider(key="share_ESU").value == 8.0


def test_more_attention_heads_than_there_are_is_one_sentence(app):
    app.button_group(key="kinds").set_value("attn").run()
    assert "lower the shares" in app.error[0].value
    assert app.press("Back to the run's own").error == []
