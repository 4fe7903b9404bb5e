"""Train on this machine: start torchrun and turn its end into a finished run or a sentence."""

import tempfile
from pathlib import Path

from components.train.torchrun import End, ranks_environment, run_ranks
from model.errors import ConfigError, TrainError
from model.train.spec import TrainSpec


def train_here(spec: TrainSpec, run_folder: str, num_nodes: int, processes: int, device: str, run_id: str) -> None:
    """Train to the end.

    Args:
        run_folder: The run's folder in the store.
        device: "cpu" keeps off a GPU that is there.

    Raises:
        ConfigError: more machines than this one.
        TrainError: training failed: what it said, and that it goes on from the last checkpoint.
    """
    if num_nodes != 1:
        raise ConfigError(f"{num_nodes} nodes need a cluster; set train_num_nodes to 1 to train on this machine.")
    environment = ranks_environment(processes) | ({"DS_ACCELERATOR": "cpu"} if device == "cpu" else {})
    with tempfile.TemporaryDirectory(prefix="sphinx-x-train-") as scratch:
        spec_file = Path(scratch, "spec.json")
        spec.write(spec_file)
        # --standalone finds a free port by itself, so that two runs on one machine never meet.
        torchrun = ["--standalone", f"--nproc-per-node={processes}"]
        end = run_ranks(["--spec", str(spec_file), "--run-id", run_id], torchrun, environment, Path(scratch))
    if end.exit_code != 0:
        raise TrainError(end.sentence or unexplained(end, run_folder))


def unexplained(end: End, run_folder: str) -> str:
    """A sentence for ranks that ended without a word."""
    if not end.has_started:
        return f"training of {run_folder} did not start a single rank; its log above says why, correct that and run again."
    return (
        f"training of {run_folder} ended without saying why (exit code {end.exit_code}), most often for lack of memory; free some, or "
        "lower packs.tokens_per_pack, and run again: it goes on from the last checkpoint."
    )
