"""Parameters of the pipeline for a run on this machine."""

from typing import Any

import yaml

from model import storage
from model.train.machine import gpu_memories_gb


def local_arguments(
    recipe_uri: str,
    store_uri: str,
    base_uri: str,
    variant: str,
    overrides: dict[str, Any],
    processes: int,
    mode: str = "official",
    promote: bool = True,
    model_name: str = "",
    when_unchanged: str = "train",
    start_from: str = "base",
) -> dict[str, str | int]:
    """Every parameter by name; local places are absolute, since tasks have working directories of their own."""
    return {
        "data_recipe_uri": _absolute(recipe_uri),
        "data_store_uri": _absolute(store_uri),
        "train_base_uri": _absolute(base_uri),
        "train_variant": variant,
        "data_when_unchanged": when_unchanged,
        "train_start_from": start_from,
        "train_device": "gpu" if gpu_memories_gb() else "cpu",
        "train_overrides": yaml.safe_dump(overrides) if overrides else "",
        "train_num_nodes": 1,
        "train_processes_per_node": processes,
        "eval_mode": mode,
        "register_promote": "when_better" if promote else "never",
        "register_model_name": model_name,
    }


def _absolute(uri: str) -> str:
    path = storage.local_path(uri)
    return uri if path is None else str(path.resolve())
