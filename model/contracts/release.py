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
    PIPELINE_RUN = "sphinx_x.pipeline_run"
    BASES = "sphinx_x.bases"
    LICENCES = "sphinx_x.licences"
    GATE = "sphinx_x.gate"
    GATE_REASON = "sphinx_x.gate_reason"
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
