"""TrainSpec: what one training run reads and where it writes. No torch here, so a finished run is recognised in a moment.

A run's digest covers whatever decides its result: the corpus, the base, the dialogue template, the configuration without its
`RUN_SHAPE` fields, and the trainer's version. Equal digests mean the same run, which goes on where it stopped.
"""

from model import storage
from model.contracts.base import Contract, digest_of
from model.contracts.checkpoint import MODEL_MANIFEST_FILE, ModelManifest
from model.contracts.corpus import MANIFEST_FILE, CorpusManifest
from model.errors import SphinxError
from model.sphinx_x.dialogue import TEMPLATE_ID
from model.train.config import TrainConfig
from model.weights import read_base

TRAINER_VERSION = 1
"""Grows whenever the same inputs train to another result."""
SPEC_FILE, LOG_FILE, LEASE_FILE, CHECKPOINTS_FOLDER, PROFILE_FOLDER = (
    "spec.json",
    "log.jsonl",
    "lease.json",
    "checkpoints",
    "profile",
)


class TrainSpec(Contract):
    """A training run: its inputs, its store, its configuration."""

    corpus_uri: str
    base_uri: str
    store_uri: str
    config: TrainConfig


def read_corpus_manifest(corpus_uri: str) -> CorpusManifest:
    """The corpus that a run reads.

    Raises:
        StorageError: there is none; its manifest is written last.
    """
    uri = storage.join(corpus_uri, MANIFEST_FILE)
    return CorpusManifest.from_json(storage.read_bytes(uri), uri)


def run_digest(spec: TrainSpec) -> str:
    """sha256 over everything that decides the result of a run.

    Raises:
        StorageError, DataError: the corpus or the base is not there.
    """
    return digest_of(
        {
            "trainer": TRAINER_VERSION,
            "corpus": read_corpus_manifest(spec.corpus_uri).digest,
            "base": read_base(spec.base_uri).digest,
            "template": TEMPLATE_ID,
            "config": spec.config.digest,
        }
    )


def run_uri(spec: TrainSpec) -> str:
    """Folder of a run: its spec, checkpoints and log."""
    return storage.join(spec.store_uri, "runs", run_digest(spec)[:12])


def model_uri(spec: TrainSpec) -> str:
    """Folder of the model that a run exports."""
    return storage.join(spec.store_uri, "models", f"{spec.config.variant}-{run_digest(spec)[:12]}")


def finished_model(spec: TrainSpec) -> ModelManifest | None:
    """The model that this run has exported before, if all its files are there; None where there is still work to do."""
    folder = model_uri(spec)
    uri = storage.join(folder, MODEL_MANIFEST_FILE)
    if not storage.exists(uri):
        return None
    try:
        manifest = ModelManifest.from_json(storage.read_bytes(uri), uri)
    except SphinxError:
        return None  # of an older program: exported again from the last checkpoint
    sizes = {file.path: file.bytes for file in storage.list_files(folder)}
    whole = all(sizes.get(file.path) == file.bytes for file in manifest.files)
    return manifest if whole and manifest.run_digest == run_digest(spec) else None
