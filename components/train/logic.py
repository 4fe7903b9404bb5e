"""train: recognise a finished run; else train on this machine, or as a TrainJob on the nodes of a cluster."""

from typing import Any, Literal, NamedTuple

from components.shared.kubernetes_client import namespace_to_train_in
from components.shared.pages import as_markdown, pipeline_run_page, training_run_page
from components.shared.task import tell
from components.train.local import train_here
from components.train.trainjob import NodeWishes
from model import storage
from model.contracts.checkpoint import ModelManifest
from model.errors import ConfigError, TrainError
from model.train.config import TrainConfig
from model.train.spec import LOG_FILE, TrainSpec, finished_model, model_uri, run_digest, run_uri
from model.weights import read_base


class Outputs(NamedTuple):
    """Parameters for the tasks that follow."""

    model_uri: str
    run_uri: str
    model_digest: str


class Trained(NamedTuple):
    outputs: Outputs
    manifest: ModelManifest
    links: str
    """Markdown."""


def run(
    corpus_uri: str,
    base_uri: str,
    base_digest: str,
    store_uri: str,
    train_config_json: str,
    num_nodes: int,
    processes_per_node: int,
    run_id: str,
    device: str = "gpu",
    task_config: Any = None,
    member: str = "",
) -> Trained:
    """Train, or recognise that it was done before.

    Args:
        device: "gpu" or "cpu": what a cluster's nodes train on; a laptop takes what it has, unless told "cpu".
        task_config: `dsl.TaskConfig`: what was set on the Kubeflow task, for the nodes.
        member: Name of the model in a family run, for whoever watches.

    Raises:
        ConfigError: the base changed since it was checked, or more than this machine was asked for.
        TrainError: training failed: what it said, and that it goes on from the last checkpoint.
        KubernetesError: the cluster does not answer or refuses.
    """
    config = TrainConfig.from_fields(TrainConfig.model_validate_json(train_config_json).model_dump(), "train_config_json")
    spec = TrainSpec(corpus_uri=corpus_uri, base_uri=base_uri, store_uri=store_uri, config=config)
    if (found := read_base(base_uri).digest) != base_digest:
        raise ConfigError(
            f"{base_uri} changed while the pipeline ran ({base_digest[:12]} before, {found[:12]} now); run again."
        )
    run_folder = run_uri(spec)
    manifest = finished_model(spec)
    log = storage.join(run_folder, LOG_FILE)
    tell("train", member, "running", log=log, note="finished before" if manifest else "")
    pages = {"pipeline run": pipeline_run_page(run_id)}
    if manifest is None:
        if (namespace := namespace_to_train_in()) is None:
            train_here(spec, run_folder, num_nodes, processes_per_node, device, run_id)
        else:
            from components.train.launch import train_on_cluster

            pages["TrainJob"] = train_on_cluster(
                spec, namespace, num_nodes, processes_per_node, _known_device(device), run_id, NodeWishes.of_task(task_config)
            )
        if (manifest := finished_model(spec)) is None:
            raise TrainError(f"training of {run_folder} ended without a model; its log says where it stopped.")
    print(f"{config.variant}: {manifest.steps} steps, {manifest.samples_seen} samples, at {model_uri(spec)}")
    pages |= {"training run in MLflow": training_run_page(run_digest(spec)), "log": log, "model": model_uri(spec)}
    return Trained(Outputs(model_uri(spec), run_folder, manifest.digest), manifest, as_markdown("Training", pages))


def _known_device(device: str) -> Literal["gpu", "cpu"]:
    if device == "gpu" or device == "cpu":
        return device
    raise ConfigError(f"the device {device!r} is unknown; choose gpu or cpu.")


def metadata(trained: Trained) -> dict[str, str | int | float]:
    """What Kubeflow shows beside the artifact."""
    manifest = trained.manifest
    return {
        "store_uri": trained.outputs.model_uri,
        "run_uri": trained.outputs.run_uri,
        "variant": manifest.variant,
        "digest": manifest.digest,
        "corpus_digest": manifest.corpus_digest,
        "framework": "transformers",
    }


def figures(manifest: ModelManifest) -> dict[str, float]:
    """Scalars for the Metrics table."""
    return {
        "steps": float(manifest.steps),
        "samples_seen": float(manifest.samples_seen),
        "tokens_seen": float(manifest.tokens_seen),
        "train_seconds": round(manifest.train_seconds, 1),
    }
