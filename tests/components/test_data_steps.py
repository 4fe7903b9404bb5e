"""validate, unify and merge as tasks: what they hand on, and what Kubeflow shows of it."""

import pytest

from components.merge import logic as merge
from components.unify import logic as unify
from components.validate import logic as validate
from model.contracts.checkpoint import BaseModel
from model.errors import ConfigError, DataError
from model.recipes import load_recipe, recipe_from_json
from model.train.config import TrainConfig
from tests.support.small_world import write_recipe


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Recipe, store and base of a small world; MLflow in a database of its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    recipe = write_recipe(tmp_path)
    (tmp_path / "base").mkdir()
    base = BaseModel(name="some-base", uri="base", digest="d" * 64, licence="MIT")
    (tmp_path / "base/base.json").write_text(base.model_dump_json())
    return {"recipe_uri": str(recipe), "store_uri": str(tmp_path / "store"), "base_uri": str(tmp_path / "base")}


def check(places, **changes):
    arguments = {
        "variant": "nano", "overrides": "", "num_nodes": 1, "processes_per_node": 2, "device": "cpu", "mode": "official", "model_name": "", "here": True,
    }  # fmt: skip
    return validate.check(**{**places, **arguments, **changes})


def assert_flat(metadata):
    # On the backend None fails the task, a bool comes back as 1, a nested value as a struct.
    assert all(type(value) in (str, int, float) for value in metadata.values())


def test_validate_hands_on_all_that_later_tasks_read(places):
    outputs, summary = check(places, overrides="epochs: 3", model_name="mine")
    recipe = recipe_from_json(outputs.recipe_json)
    assert outputs.dataset_names == ["cups", "named", "talk"]
    assert outputs.benchmark_names == ["cups-held-out", "named-val"]
    assert (outputs.registered_name, outputs.base_digest) == ("mine", "d" * 64)
    assert all(dataset.root.startswith("/") for dataset in recipe.datasets)
    assert TrainConfig.model_validate_json(outputs.train_config_json).epochs == 3
    assert "| some-base (MIT) |" in summary


def test_validate_leaves_nothing_behind(places, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    check(places)
    left = set(tmp_path.rglob("*")) - set(before)
    assert left <= {tmp_path / "store"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"overrides": "epochs: ["}, "the training overrides are not YAML"),
        ({"overrides": "just words"}, "training overrides must be fields with values"),
        ({"overrides": "epoch: 1"}, "unknown field 'epoch'"),
        ({"num_nodes": 0}, "0 nodes with 2 processes each train nothing"),
        ({"num_nodes": 3}, "6 processes cannot share packs_multiple=2 packs evenly"),
        ({"variant": "nanno"}, "there is no variant 'nanno'"),
        ({"model_name": "Not A Name"}, "field 'model_name'"),
        ({"mode": "fair"}, "there is no evaluation mode 'fair'"),
    ],
)
def test_validate_names_the_first_thing_that_is_wrong(places, changes, words):
    with pytest.raises(ConfigError, match=words.replace("[", r"\[")):
        check(places, **changes)


def test_validate_wants_a_finished_base(places, tmp_path):
    (tmp_path / "base/base.json").unlink()
    with pytest.raises(DataError, match="base.json is missing"):
        check(places)


def test_validate_bounds_a_size_by_this_machine_only_where_training_runs_on_it(places):
    from model.errors import FitError

    with pytest.raises(FitError, match="moe needs about"):
        check(places, variant="moe")
    assert check(places, variant="moe", here=False).outputs.registered_name == "sphinx-x-moe"


def test_unify_and_merge_say_what_they_made_in_flat_words(places, tmp_path):
    text = load_recipe(places["recipe_uri"]).to_json()
    made = [unify.run(text, name, places["store_uri"]) for name in ("cups", "named", "talk")]
    for uri, manifest in made:
        assert_flat(unify.metadata(uri, manifest))
        assert unify.metadata(uri, manifest)["store_uri"] == uri
    uri, corpus = merge.run(text, [uri for uri, _ in reversed(made)], places["store_uri"])
    assert [one.name for one in corpus.datasets] == ["cups", "named", "talk"]
    assert_flat(merge.metadata(uri, corpus))
    assert unify.run(text, "cups", places["store_uri"]) == made[0]


def test_a_recipe_on_object_storage_resolves_its_roots_there(s3):
    from model import storage

    uri = s3.uri("recipes/mine.yaml")
    text = (
        "name: mine\ndatasets: [{name: a, family: llava, root: ../raw/a}, {name: b, family: llava, root: s3://other/b}]\n"
        "benchmarks: [{name: c, benchmark: vqav2, root: /data/c}]"
    )
    storage.write_text(uri, text)
    recipe = load_recipe(uri)
    assert [one.root for one in recipe.datasets] == [s3.uri("raw/a"), "s3://other/b"]
    assert recipe.benchmarks[0].root == "/data/c"
