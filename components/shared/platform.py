"""Names that the pipeline, the launcher, the reaper, the chart and the command line share on a cluster; constants only.

The chart's templates repeat them, since Helm cannot read Python; `tests/helm` holds both against each other.
"""

import hashlib

PREFIX = "sphinx-x"
MANAGED_BY = {"app.kubernetes.io/managed-by": PREFIX}

PIPELINE_RUN_LABEL = f"{PREFIX}/pipeline-run"
"""Id of the pipeline run: Kubeflow's, or the command line's."""
RUN_LABEL = f"{PREFIX}/run"
"""First twelve characters of the training run's digest."""
VARIANT_LABEL = f"{PREFIX}/variant"

SETTINGS_CONFIG_MAP = f"{PREFIX}-settings"
"""Environment of every pod of ours; its keys are the names below."""
S3_SECRET, MLFLOW_SECRET = f"{PREFIX}-s3", f"{PREFIX}-mlflow"
"""Names in the compiled pipelines; the uploader puts in those of the chart's values."""

STORE, QUEUE, DEADLINE_HOURS, MLFLOW_UI, KUBEFLOW_UI, TRAINJOB_UI = (
    f"SPHINX_X_{name}" for name in ("STORE", "QUEUE", "TRAIN_DEADLINE_HOURS", "MLFLOW_UI", "KUBEFLOW_UI", "TRAINJOB_UI")
)
GPUS_AUTOSCALED, GPU_MEMORY_GB = "SPHINX_X_GPUS_AUTOSCALED", "SPHINX_X_GPU_MEMORY_GB"
"""For checks before a run: "true" where GPU nodes come when they are asked for; memory of one GPU where nodes have no label for it."""
TRAIN_NAMESPACE = "SPHINX_X_TRAIN_NAMESPACE"
"""Namespace to train in, for a DAG that runs elsewhere; without it a pod trains in its own, a laptop on itself."""

SETTINGS = (
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    STORE,
    QUEUE,
    DEADLINE_HOURS,
    MLFLOW_UI,
    KUBEFLOW_UI,
    TRAINJOB_UI,
    GPUS_AUTOSCALED,
    GPU_MEMORY_GB,
)
S3_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
MLFLOW_CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")

IMAGE_DIGEST = "SPHINX_X_IMAGE_DIGEST"
"""The train image's digest, or its name and tag where it is not pinned: put into every task by the uploader, a tag of each version."""

ATTEMPT = "SPHINX_X_ATTEMPT"
"""How often JobSet has restarted the nodes; 0 at first."""
EXIT_FINAL = 64
"""Exit code of a node that would fail again however often it is restarted: bad configuration, bad data."""


def runtime_name(variant: str) -> str:
    """The chart's TrainingRuntime of a variant."""
    return f"{PREFIX}-{variant}"


def trainjob_name(variant: str, pipeline_run: str, run_digest: str) -> str:
    """The same for every try of the same training in the same pipeline run, so that a retried launcher finds it."""
    identity = hashlib.sha256(f"{pipeline_run}\0{run_digest}".encode()).hexdigest()
    return f"{PREFIX}-{variant}-{identity[:10]}"
