"""Parameters of the pipelines for a run on this machine."""

from collections.abc import Mapping
from typing import Any

import yaml

from model import storage
from model.contracts.family import Family
from model.errors import ConfigError
from model.families import family_from_text, family_text
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
    nodes: int = 1,
    device: str = "",
) -> dict[str, str | int]:
    """Every parameter by name; local places are absolute, since tasks have working directories of their own."""
    return {
        "data_recipe_uri": _absolute(recipe_uri),
        "data_store_uri": _absolute(store_uri),
        "train_base_uri": _absolute(base_uri),
        "train_variant": variant,
        "data_when_unchanged": when_unchanged,
        "train_start_from": start_from,
        "train_device": device or _device(),
        "train_overrides": yaml.safe_dump(overrides) if overrides else "",
        "train_num_nodes": nodes,
        "train_processes_per_node": processes,
        "eval_mode": mode,
        "register_promote": "when_better" if promote else "never",
        "register_model_name": model_name,
    }


def _absolute(uri: str) -> str:
    path = storage.local_path(uri)
    return uri if path is None else str(path.resolve())


def family_given(text_or_file: str) -> Family:
    """A family as the command line was given it.

    Args:
        text_or_file: YAML text, or the file that holds it.

    Raises:
        ConfigError: it is no family.
        StorageError: the file cannot be read.
    """
    is_file = text_or_file.endswith((".yaml", ".yml")) and "\n" not in text_or_file
    return family_from_text(storage.read_text(text_or_file) if is_file else text_or_file)


def local_family(text_or_file: str, processes: int) -> Family:
    """A family for this machine: every member on one node, with so many processes unless it says otherwise.

    Raises:
        ConfigError: it is no family, or a member asks for several machines.
        StorageError: the file cannot be read.
    """
    members = {}
    for name, member in family_given(text_or_file).members.items():
        if member.nodes > 1:
            raise ConfigError(f"the family, member {name}: {member.nodes} nodes are more than this machine; leave nodes out.")
        given = member.processes_per_node if "processes_per_node" in member.model_fields_set else processes
        members[name] = member.model_copy(update={"processes_per_node": given})
    return Family(members=members)


def family_arguments(
    recipe_uri: str, store_uri: str, family: Family, bases: Mapping[str, str], mode: str = "official", promote: bool = True
) -> dict[str, str | int]:
    """Every parameter of the family pipeline by name.

    Args:
        bases: Base directory by member.
    """
    members = {name: one.model_copy(update={"base_uri": _absolute(bases[name])}) for name, one in family.members.items()}
    return {
        "data_recipe_uri": _absolute(recipe_uri),
        "data_store_uri": _absolute(store_uri),
        "train_family": family_text(Family(members=members)),
        "train_device": _device(),
        "eval_mode": mode,
        "register_promote": "when_better" if promote else "never",
    }


def _device() -> str:
    return "gpu" if gpu_memories_gb() else "cpu"
