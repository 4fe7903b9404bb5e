"""Contracts refuse what they do not know, say which field is wrong, and have one digest for one content."""

import json
import subprocess
import sys

import pytest

from model.contracts.evaluation import GateDecision
from model.contracts.recipe import Recipe
from model.errors import ConfigError, ContractError
from model.train.config import load_train_config
from model.variants import VARIANTS

FIELDS = {
    "name": "shapes",
    "datasets": [{"name": "cells", "family": "coco_detection", "root": "/data/cells", "held_out_share": 0.1}],
    "benchmarks": [{"name": "cells-val", "benchmark": "detection", "held_out_of": "cells"}],
}


def test_equal_content_has_one_digest_whatever_the_order_of_its_keys():
    turned = dict(reversed(list(FIELDS.items())))
    assert Recipe.from_fields(FIELDS, "a").content_digest() == Recipe.from_fields(turned, "b").content_digest()


def test_a_contract_survives_its_own_json():
    recipe = Recipe.from_fields(FIELDS, "a")
    assert Recipe.from_json(recipe.to_json(), "a") == recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": 1}, "unknown field 'colour'"),
        ({"datasets": []}, "datasets"),
        ({"padding": "left"}, "padding"),
        ({"benchmarks": [{"name": "b", "benchmark": "detection", "held_out_of": "cats"}]}, "none of the datasets"),
        ({"benchmarks": [{"name": "b", "benchmark": "vqav2"}]}, "give either root"),
        ({"gate": {"minimum_scores": {"pope": 0.5}}}, "none of the benchmarks"),
    ],
)
def test_a_wrong_recipe_names_the_file_and_the_field(change, words):
    with pytest.raises(ConfigError, match="my.yaml") as caught:
        Recipe.from_fields({**FIELDS, **change}, "my.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_schema_version_is_refused_and_not_guessed_at():
    text = json.dumps({"schema_version": 7})
    with pytest.raises(ContractError, match="schema version 7"):
        GateDecision.from_json(text, "gate.json")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_preset_resolves_and_its_digest_ignores_how_it_is_watched(variant):
    config = load_train_config(variant)
    watched = load_train_config(variant, {"watch": {"log_every_steps": 1}, "checkpoint": {"keep": 5}})
    assert config.digest == watched.digest
    assert config.digest != load_train_config(variant, {"seed": 7}).digest


def test_an_unknown_training_field_is_an_error():
    with pytest.raises(ConfigError, match="learning_rte"):
        load_train_config("tiny", {"optimizer": {"learning_rte": 1}})


def test_published_sizes_are_counted_to_the_parameter():
    counts = {name: VARIANTS[name].language.parameters for name in ("tiny", "intern2", "plus", "moe")}
    assert counts == {"tiny": 1_100_048_384, "intern2": 7_737_708_544, "plus": 13_015_864_320, "moe": 46_702_792_704}


def test_contracts_import_nothing_but_pydantic():
    blocked = ("torch", "numpy", "yaml", "fsspec", "PIL", "mlflow", "kfp")
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import model.contracts.recipe, model.contracts.release, model.variants"
    subprocess.run([sys.executable, "-c", code], check=True)
