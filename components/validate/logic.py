"""What can be known to be wrong before anything long starts; no torch, a few seconds."""

import os
from typing import NamedTuple, get_args

import yaml

from components.shared.kubernetes_client import namespace_to_train_in
from components.shared.mlflow_client import check_reachable
from components.shared.platform import STORE
from components.shared.task import tell
from components.validate.cluster import check_cluster
from components.validate.summary import markdown
from model import storage
from model.contracts.recipe import Recipe
from model.data.sources import check_dataset
from model.errors import ConfigError, FitError
from model.evaluate.benchmarks import check_benchmark
from model.evaluate.runner import Mode
from model.recipes import load_recipe
from model.train.config import TrainConfig, load_train_config
from model.train.estimate import fits
from model.train.machine import this_machine
from model.variants import variant_named
from model.weights import read_base

DEVICES = ("gpu", "cpu")


class Outputs(NamedTuple):
    """Parameters for the tasks that follow."""

    recipe_json: str
    recipe_digest: str
    train_config_json: str
    store_uri: str
    base_uri: str
    base_digest: str
    dataset_names: list[str]
    benchmark_names: list[str]
    registered_name: str
    eval_gpus: int
    """GPUs of each evaluation task."""


class Checked(NamedTuple):
    outputs: Outputs
    summary: str
    """Markdown: what the run will do."""


def check(
    recipe_uri: str,
    store_uri: str,
    base_uri: str,
    variant: str,
    overrides: str,
    num_nodes: int,
    processes_per_node: int,
    device: str,
    mode: str,
    model_name: str,
    here: bool,
) -> Checked:
    """Check everything in the order in which a person would correct it.

    Args:
        here: Whether training will run on this very machine, whose memory then bounds it.

    Raises:
        SphinxError: the first thing that is wrong: what, where, the remedy.
    """
    recipe = check_recipe(recipe_uri, mode, model_name)
    config = check_training(variant, overrides, num_nodes, processes_per_node, here)
    if device not in DEVICES:
        raise ConfigError(f"there is no device '{device}'; choose one of {', '.join(DEVICES)}.")
    store_uri = store_uri or store_of_platform()
    base_uri = base_uri or storage.join(store_uri, "bases", variant)
    base = read_base(base_uri)
    check_places(store_uri)
    if (namespace := namespace_to_train_in()) is not None:
        check_cluster(namespace, variant_named(variant), config, num_nodes, processes_per_node, device)
    outputs = Outputs(
        recipe_json=recipe.to_json(),
        recipe_digest=recipe.content_digest(),
        train_config_json=config.model_dump_json(),
        store_uri=store_uri,
        base_uri=base_uri,
        base_digest=base.digest,
        dataset_names=[dataset.name for dataset in recipe.datasets],
        benchmark_names=[benchmark.name for benchmark in recipe.benchmarks],
        registered_name=recipe.registered_name(variant),
        eval_gpus=variant_named(variant).gpus_per_model if device == "gpu" else 0,
    )
    note = f"{len(recipe.datasets)} datasets, {len(recipe.benchmarks)} benchmarks"
    print(f"{recipe.name}: {note}; trains {variant} for {config.epochs:g} epochs; registers {outputs.registered_name}")
    tell("validate", "", "running", note=note)
    return Checked(outputs, markdown(recipe, config, base, outputs.registered_name))


def store_of_platform() -> str:
    """The store that the platform's chart names.

    Raises:
        ConfigError: none is set.
    """
    if not (uri := os.environ.get(STORE, "")):
        raise ConfigError(f"no store is given; set data_store_uri, or store.uri in the chart's values ({STORE}).")
    return uri


def check_recipe(recipe_uri: str, mode: str = "official", model_name: str = "") -> Recipe:
    """Read a recipe and look at every raw dataset and every benchmark that it names."""
    if mode not in get_args(Mode):
        raise ConfigError(f"there is no evaluation mode '{mode}'; choose one of {', '.join(get_args(Mode))}.")
    recipe = load_recipe(recipe_uri)
    if model_name:
        recipe = Recipe.from_fields({**recipe.model_dump(), "model_name": model_name}, "the model name given to this run")
    for dataset in recipe.datasets:
        check_dataset(dataset)
    for benchmark in recipe.benchmarks:
        check_benchmark(benchmark, recipe, mode)
    return recipe


def check_places(store_uri: str) -> None:
    """Whether the store can be written and MLflow answers."""
    storage.check_writable(store_uri)
    check_reachable()


def check_training(variant: str, overrides: str, num_nodes: int, processes_per_node: int, here: bool) -> TrainConfig:
    """Resolve the training options and hold them against the number of processes and the machine."""
    try:
        fields = yaml.safe_load(overrides or "{}")
    except yaml.YAMLError as error:
        raise ConfigError(
            f"the training overrides are not YAML: {' '.join(str(error).split())[:200]}; correct them."
        ) from error
    config = load_train_config(variant, fields)
    ranks = num_nodes * processes_per_node
    if ranks < 1:
        raise ConfigError(f"{num_nodes} nodes with {processes_per_node} processes each train nothing; give 1 or more of both.")
    if config.packs.packs_multiple % ranks:
        raise ConfigError(
            f"{ranks} processes cannot share packs_multiple={config.packs.packs_multiple} packs evenly; choose a number of "
            "processes that divides it, or set packs.packs_multiple to a multiple of it."
        )
    if here and (problem := fits(variant_named(variant), config, this_machine(processes_per_node))) is not None:
        raise FitError(problem)
    return config
