"""What a trained model's folder says of its making, in words."""

import json

import pytest
from tiny_models import tiny_model

from ssah_core import assign_roles, score
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.training.lineage import lineage_of
from ssah_core.training.options import TrainingOptions
from ssah_core.training.trainer import finetune
from ssah_core.training.unit_sets import UnitSet

PROMPTS = PromptSet("said", tuple(Prompt(f"what is {n}", f"it is {n}") for n in range(4)))


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def roles(model):
    return assign_roles(score(model, safety=PROMPTS, utility=PROMPTS), 0.1, 0.1, 0.2)


def trained(model, folder, **sets):
    finetune(model, PROMPTS, folder, TrainingOptions(steps=1, batch_size=4), **sets)
    return lineage_of(folder)


def test_a_trained_folder_names_its_ancestor_and_how_much_it_was_trained_on(model, tmp_path):
    lineage = trained(model, tmp_path / "plain")
    assert (lineage.ancestor, lineage.fingerprint) == (model.name, model.fingerprint)
    assert (lineage.prompts, lineage.units) == (4, "")


def test_units_that_were_frozen_or_trained_alone_are_said_with_their_roles(model, roles, tmp_path):
    frozen = UnitSet.of(roles, ["ESU", "RU"], strongest_cu=0.06)
    said = trained(model, tmp_path / "frozen", freeze=frozen).units
    assert said == (
        f"{frozen.count} units ({frozen.count / 104:.1%}) were frozen: "
        "ESU and RU and the strongest CU, 6.0% of all units"
    )
    alone = UnitSet.random_like(UnitSet.of(roles, ["RU"]), seed=3)
    said = trained(model, tmp_path / "alone", train_only=alone).units
    assert said == ("20 units (19.2%) were trained and no others: random units, as many as RU")


@pytest.mark.parametrize(
    "manifest",
    [
        None,
        "{",
        "[]",
        "null",
        json.dumps({"kind": "run"}),
        json.dumps({"kind": "fine-tuned model"}),
        json.dumps({"kind": "fine-tuned model", "model": "x", "prompts": 3}),
    ],
)
def test_a_folder_that_no_training_left_has_no_lineage(tmp_path, manifest):
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    assert lineage_of(tmp_path) is None
