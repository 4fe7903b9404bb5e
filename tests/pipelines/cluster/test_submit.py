"""A recipe handed to the cluster: what its pods could not read is refused here, in a sentence."""

import pytest
import yaml

from model.contracts.recipe import Recipe
from model.errors import ConfigError, StorageError
from model.recipes import load_recipe
from pipelines.cluster.submit import cluster_recipe
from tests.support.small_world import write_recipe


@pytest.fixture
def remote_data(tmp_path):
    """A recipe on this machine whose data lies in object storage."""
    path = write_recipe(tmp_path)
    fields = yaml.safe_load(path.read_text())
    for entry in (*fields["datasets"], *fields["benchmarks"]):
        if "root" in entry:
            entry["root"] = f"s3://bucket/{entry['root']}"
    path.write_text(yaml.safe_dump(fields))
    return path


def test_data_on_this_machine_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match="dataset cups of .* lies at .*raw/coco on this machine, which the cluster's pods cannot see"
    ):
        cluster_recipe(str(write_recipe(tmp_path)), "s3://bucket/store")


@pytest.mark.parametrize("store", ["", "/a/folder"])
def test_a_recipe_on_this_machine_needs_a_store_of_the_cluster(remote_data, store):
    with pytest.raises(ConfigError, match="give --store s3://"):
        cluster_recipe(str(remote_data), store)


def test_a_recipe_on_this_machine_is_copied_into_the_store_by_its_content(remote_data, s3):
    store = s3.uri("store")
    uri, name = cluster_recipe(str(remote_data), store)
    assert uri.startswith(f"{store}/recipes/{name}-")
    assert cluster_recipe(str(remote_data), store) == (uri, name)
    assert load_recipe(uri) == load_recipe(str(remote_data))
    assert cluster_recipe(uri, "") == (uri, name)
    assert isinstance(load_recipe(uri), Recipe)


def test_a_remote_recipe_that_only_the_pods_may_read_goes_as_it_is(s3):
    store = s3.uri("store")
    assert cluster_recipe(f"{store}/recipes/mine.yaml", "") == (f"{store}/recipes/mine.yaml", "mine")
    with pytest.raises(StorageError):
        cluster_recipe("/nowhere/recipe.yaml", "s3://bucket/store")
