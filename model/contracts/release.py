"""Release: a registered model version, with enough in its tags to run its training again."""

from model.contracts.base import Contract

CANDIDATE = "candidate"
CHAMPION = "champion"


class Tag:
    """Names of the tags on a registered version."""

    VARIANT = "sphinx_x.variant"
    GIT_SHA = "sphinx_x.git_sha"
    IMAGE_DIGEST = "sphinx_x.image_digest"
    RECIPE_DIGEST = "sphinx_x.recipe_digest"
    CORPUS_DIGEST = "sphinx_x.corpus_digest"
    MODEL_DIGEST = "sphinx_x.model_digest"
    RUN_DIGEST = "sphinx_x.run_digest"
    RESULTS_DIGEST = "sphinx_x.results_digest"
    """Digest of what the benchmarks said; with MODEL_DIGEST it identifies a version."""
    PIPELINE_RUN = "sphinx_x.pipeline_run"
    BASES = "sphinx_x.bases"
    LICENCES = "sphinx_x.licences"
    GATE = "sphinx_x.gate"
    """open or closed."""
    GATE_REASON = "sphinx_x.gate_reason"
    GATE_CHAMPION = "sphinx_x.gate_champion"
    """Version that the gate compared with; empty where there was no champion."""
    SCORE_PREFIX = "sphinx_x.score."


class Release(Contract):
    """A registered version."""

    name: str
    version: str
    model_id: str
    """MLflow LoggedModel id."""
    model_digest: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    uri: str
    """models:/<name>/<version>."""
