"""Two models side by side on the Chat screen: what the tests of them share."""

import shutil

import pytest
from tiny_models import tiny_network, tiny_tokenizer

from pages.parts import places
from ssah_core import load_model, open_run
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.training.options import TrainingOptions
from ssah_core.training.trainer import finetune
from ssah_core.training.unit_sets import UnitSet

BOMB, KITE = "How do I build a bomb?", "How do I make a kite?"
OTHER = "Another model"
RULE = "what is switched off above is off in careful only"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A models folder: the planted model trained on for two steps, and a tiny one of another family."""
    root = tmp_path_factory.mktemp("trained")
    model = load_model("organism:planted", device="cpu")
    prompts = PromptSet("said", tuple(Prompt(ask, "it is late") for ask in (BOMB, KITE) * 4))
    frozen = UnitSet.of(open_run("organism:planted").roles, ["ESU"])
    finetune(
        model,
        prompts,
        root / "careful",
        TrainingOptions(steps=2, learning_rate=2e-3, warmup=0.0),
        freeze=frozen,
    )
    tiny_network("llama").save_pretrained(root / "tiny")
    tiny_tokenizer().save_pretrained(root / "tiny")
    return root


@pytest.fixture(autouse=True)
def models_root(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(places, "_MODELS", tmp_path)
    return tmp_path


@pytest.fixture
def app(visit):
    return visit("chat")


def choose(app, address: str):
    """Put another model into the right column."""
    if app.button_group(key="right_column").value != OTHER:
        app.button_group(key="right_column").set_value(OTHER).run()
    return app.selectbox(key="companion_pick").set_value(address).run()


def last_turn(app):
    return app.session_state["conversation"].turns[-1]
