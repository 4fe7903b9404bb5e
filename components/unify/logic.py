"""Unify one dataset and say what came of it."""

from components.shared.task import tell
from model.contracts.corpus import DatasetManifest
from model.data.shards import read_dataset_manifest
from model.data.unify import unify_dataset
from model.recipes import recipe_from_json


def run(recipe_json: str, dataset: str, store_uri: str) -> tuple[str, DatasetManifest]:
    """Returns the folder's URI and its manifest.

    Raises:
        DataError, ConfigError, StorageError: see `model.data.unify.unify_dataset`.
    """
    uri = unify_dataset(recipe_from_json(recipe_json), dataset, store_uri)
    manifest = read_dataset_manifest(uri)
    note = f"{manifest.samples} samples, {manifest.pictures} pictures, {sum(manifest.rejects.values())} rejects"
    print(f"{dataset}: {note}, at {uri}")
    tell("unify", dataset, "running", note=note)
    return uri, manifest


def metadata(uri: str, manifest: DatasetManifest) -> dict[str, str | int]:
    """What Kubeflow shows beside the artifact: flat text and numbers, nothing absent."""
    return {
        "store_uri": uri,
        "digest": manifest.digest,
        "samples": manifest.samples,
        "pictures": manifest.pictures,
        "held_out_pictures": manifest.held_out_pictures,
        "rejects": sum(manifest.rejects.values()),
        "licence": manifest.licence,
    }
