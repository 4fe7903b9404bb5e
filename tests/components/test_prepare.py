"""prepare: nothing new ends the run, a champion becomes a base, and everything else trains from the base that was given."""

from pathlib import Path

import pytest

from components.prepare import logic as prepare
from components.promote import logic as promote
from components.register import logic as register
from model.build import build_model
from model.contracts.release import Tag
from model.errors import ConfigError
from model.train.spec import read_corpus_manifest
from model.variants import variant_named
from model.weights import read_base, read_model_manifest
from tests.support.tiny import make_corpus


@pytest.fixture
def arguments(judged_model, mlflow):
    return {
        "corpus_uri": judged_model.corpus_uri, "variant": "nano", "start_from": "base", "when_unchanged": "stop",
        "base_uri": "given", "base_digest": "d" * 64, "store_uri": judged_model.store_uri,
    }  # fmt: skip


def released(judged_model, name, promoted=True):
    release = register.run(**judged_model.arguments(name=name))
    if promoted:
        promote.run(release.name, release.version)
    return release


def test_the_first_run_of_a_name_trains_from_the_base(arguments):
    for start_from in ("base", "champion"):
        decided = prepare.run(**{**arguments, "start_from": start_from}, registered_name="never-registered")
        assert decided[:3] == ("yes", "given", "d" * 64)
    assert "no champion yet" in decided.reason


def test_an_unchanged_corpus_ends_the_run_and_says_so(arguments, judged_model):
    released(judged_model, "unchanged", promoted=False)  # the newest version counts, champion or not
    decided = prepare.run(**arguments, registered_name="unchanged")
    assert decided.go_on == "no"
    assert decided.reason.startswith("Nothing new: version 1 of unchanged was trained on this very corpus")


def test_an_unchanged_corpus_trains_where_that_is_asked_for(arguments, judged_model):
    released(judged_model, "again")
    assert prepare.run(**{**arguments, "when_unchanged": "train"}, registered_name="again").go_on == "yes"


def test_new_data_or_another_size_trains(arguments, judged_model, tmp_path):
    released(judged_model, "grown")
    other = make_corpus(tmp_path, seed=5)
    assert read_corpus_manifest(other).digest != judged_model.manifest.corpus_digest
    assert prepare.run(**{**arguments, "corpus_uri": other}, registered_name="grown").go_on == "yes"
    assert prepare.run(**{**arguments, "variant": "tiny"}, registered_name="grown").go_on == "yes"


@pytest.mark.parametrize("in_store", [True, False])
def test_a_champion_becomes_a_base_with_its_weights(arguments, judged_model, tmp_path, in_store):
    name = f"goes-on-{in_store}"
    release = released(judged_model, name)
    # Another store does not hold the exported model: it comes from the registry.
    store = judged_model.store_uri if in_store else str(tmp_path / "another")
    asked = {**arguments, "start_from": "champion", "when_unchanged": "train", "store_uri": store, "registered_name": name}
    decided = prepare.run(**asked)
    base = read_base(decided.base_uri)
    assert (decided.go_on, decided.base_digest) == ("yes", base.digest)
    assert decided.base_uri.startswith(f"{store}/bases/{name}-{release.tags[Tag.MODEL_DIGEST][:12]}")
    assert prepare.run(**asked) == decided  # found again, not made again
    begun, ended = build_model(variant_named("nano"), decided.base_uri, seed=3), read_model_manifest(judged_model.model_uri)
    assert base.name == f"sphinx-x-nano-{ended.run_digest[:12]}"
    trained = build_model(variant_named("nano"), str(Path(judged_model.store_uri).parent / "base"), seed=0).state_dict()
    for weight, tensor in begun.state_dict().items():
        assert tensor.equal(trained[weight]), weight


def test_a_choice_that_is_none(arguments):
    with pytest.raises(ConfigError, match="start_from is 'last'; choose one of base, champion"):
        prepare.run(**{**arguments, "start_from": "last"}, registered_name="any")
