"""Checkpoint and Model: what training leaves behind, for its own resumption and for everyone else."""

from typing import Literal

from model.contracts.base import Contract, Part

COMMITTED_FILE = "COMMITTED"
"""Name of the checkpoint's manifest; written last, so a folder without it is torn and never read."""
MODEL_MANIFEST_FILE = "sphinx_x_manifest.json"


class StoredFile(Part):
    """A file and what it must contain."""

    path: str
    """Path under the manifest's folder."""
    sha256: str
    bytes: int


class CheckpointManifest(Contract):
    """One committed step of one run: sharded model and optimizer state."""

    step: int
    """Optimizer steps done; the next step to run has this number."""
    run_digest: str
    """Digest of corpus, configuration and base: a checkpoint of another run is refused."""
    plan_digest: str
    world_size: int
    zero_stage: Literal[0, 1, 2, 3]
    expert_parallel_size: int
    parameters_digest: str
    """Digest of the names and shapes of all trained parameters."""
    files: tuple[StoredFile, ...]


class BaseModel(Part):
    """Weights that a model started from."""

    name: str
    uri: str
    digest: str
    licence: str
    licences: dict[str, str] = {}
    """Licence by dataset that an earlier run of ours trained them on; they bind what is made of them too."""


class ModelManifest(Contract):
    """A Hugging Face directory that a run exported; beside config.json in that directory."""

    variant: str
    digest: str
    """Digest of the files below."""
    run_digest: str
    corpus_digest: str
    plan_digest: str
    train_config: dict
    """The resolved training configuration."""
    steps: int
    samples_seen: int
    tokens_seen: int
    train_seconds: float
    """Seconds in optimizer steps, summed over restarts."""
    bases: tuple[BaseModel, ...]
    licences: dict[str, str]
    """Licence by dataset name."""
    files: tuple[StoredFile, ...]
