"""Train on this machine: recognise a finished run, else start torchrun and turn its end into a model or a sentence."""

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from components.shared.process import start_child
from components.shared.task import tell
from model import storage
from model.contracts.checkpoint import ModelManifest
from model.errors import ConfigError, TrainError
from model.train.config import TrainConfig
from model.train.spec import LOG_FILE, TrainSpec, finished_model, model_uri, run_uri
from model.weights import read_base

ERROR_FILE_VARIABLE = "SPHINX_X_ERROR_FILE"
"""File in which the first rank that fails says why, in one sentence."""


class Outputs(NamedTuple):
    """Parameters for the tasks that follow."""

    model_uri: str
    run_uri: str
    model_digest: str


class Trained(NamedTuple):
    outputs: Outputs
    manifest: ModelManifest


def run(
    corpus_uri: str,
    base_uri: str,
    base_digest: str,
    store_uri: str,
    train_config_json: str,
    num_nodes: int,
    processes_per_node: int,
    run_id: str,
) -> Trained:
    """Train, or recognise that it was done before.

    Raises:
        ConfigError: the base changed since it was checked, or more than this machine was asked for.
        TrainError: training failed: what it said, and that it goes on from the last checkpoint.
    """
    config = TrainConfig.from_fields(TrainConfig.model_validate_json(train_config_json).model_dump(), "train_config_json")
    spec = TrainSpec(corpus_uri=corpus_uri, base_uri=base_uri, store_uri=store_uri, config=config)
    if (found := read_base(base_uri).digest) != base_digest:
        raise ConfigError(
            f"{base_uri} changed while the pipeline ran ({base_digest[:12]} before, {found[:12]} now); run again."
        )
    run_folder = run_uri(spec)
    manifest = finished_model(spec)
    tell("train", "", "running", log=storage.join(run_folder, LOG_FILE), note="finished before" if manifest else "")
    if manifest is None:
        if num_nodes != 1:
            raise ConfigError(f"{num_nodes} nodes need a cluster; set train_num_nodes to 1 to train on this machine.")
        _torchrun(spec, run_folder, processes_per_node, run_id)
        if (manifest := finished_model(spec)) is None:
            raise TrainError(f"training of {run_folder} ended without a model; its log says where it stopped.")
    print(f"{config.variant}: {manifest.steps} steps, {manifest.samples_seen} samples, at {model_uri(spec)}")
    return Trained(Outputs(model_uri(spec), run_folder, manifest.digest), manifest)


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


def _torchrun(spec: TrainSpec, run_folder: str, processes: int, run_id: str) -> None:
    """Run `components.train.worker` on every rank, to its end."""
    with tempfile.TemporaryDirectory(prefix="sphinx-x-train-") as scratch:
        spec_file, error_file = Path(scratch, "spec.json"), Path(scratch, "error.txt")
        spec.write(spec_file)
        arguments = ["--spec", str(spec_file), "--run-id", run_id]
        # --standalone finds a free port by itself, so that two runs on one machine never meet.
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *launcher, "-m", "components.train.worker", *arguments]
        child = start_child(command, env={**_environment(processes), ERROR_FILE_VARIABLE: str(error_file)})
        try:
            code = child.wait()
        except BaseException:
            child.send_signal(signal.SIGTERM)
            child.wait()
            raise
        if code != 0:
            raise TrainError(_why(error_file, code, run_folder))


def _environment(processes: int) -> dict[str, str]:
    cores = max(1, len(os.sched_getaffinity(0)) // processes)
    # The repository or the installed package, wherever this file lies: torchrun's ranks must import the same one.
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    return {"OMP_NUM_THREADS": str(cores), "TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ, "PYTHONPATH": path}


def _why(error_file: Path, code: int, run_folder: str) -> str:
    if error_file.exists() and (said := error_file.read_text().strip()):
        return said
    return (
        f"training of {run_folder} ended without saying why (torchrun: {code}), most often for lack of memory; free some, or "
        "lower packs.tokens_per_pack, and run again: it goes on from the last checkpoint."
    )
