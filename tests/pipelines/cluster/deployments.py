"""A deployment's configuration for tests, and changes to it."""

from typing import Any

from pipelines.cluster.config import SyncConfig

OPS, TRAIN = "registry.example/ops@sha256:" + "a" * 64, "registry.example/train@sha256:" + "b" * 64
NIGHTLY = {"name": "nightly", "cron": "0 0 2 * * *", "parameters": {"data_recipe_uri": "s3://bucket/recipe.yaml"}}


def deployment(**changes: Any) -> SyncConfig:
    """What the chart would write, with changes."""
    fields = {"release": "sphinx-x", "namespace": "ml", "images": {"ops": OPS, "train": TRAIN}}
    return SyncConfig.from_fields(fields | changes, "sync.yaml")
