"""Merge the unified datasets and say what came of it."""

from components.shared.task import tell
from model import storage
from model.contracts.corpus import MANIFEST_FILE, CorpusManifest
from model.data.unify import merge_corpus
from model.recipes import recipe_from_json


def run(recipe_json: str, dataset_uris: list[str], store_uri: str) -> tuple[str, CorpusManifest]:
    """Returns the corpus's URI and its manifest.

    Raises:
        DataError, StorageError, ContractError: see `model.data.unify.merge_corpus`.
    """
    uri = merge_corpus(recipe_from_json(recipe_json), dataset_uris, store_uri)
    where = storage.join(uri, MANIFEST_FILE)
    manifest = CorpusManifest.from_json(storage.read_bytes(where), where)
    note = f"{manifest.samples} samples of {len(manifest.datasets)} datasets, {manifest.left_out_samples} left out"
    print(f"{note}, at {uri}")
    tell("merge", "", "running", note=note)
    return uri, manifest


def metadata(uri: str, manifest: CorpusManifest) -> dict[str, str | int]:
    """What Kubeflow shows beside the artifact."""
    return {
        "store_uri": uri,
        "digest": manifest.digest,
        "samples": manifest.samples,
        "datasets": len(manifest.datasets),
        "left_out_samples": manifest.left_out_samples,
    }
