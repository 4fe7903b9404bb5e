"""A node of a TrainJob without Kubernetes: two of them as processes on this machine, told by the environment that Trainer would give."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.shared.platform import EXIT_FINAL
from components.train import node
from components.train.torchrun import EXIT_STOPPED, End
from model import storage
from model.train.spec import LOG_FILE, TrainSpec, finished_model, run_uri
from tests.support.tiny import make_spec

START_SECONDS = 240
"""Six processes import torch and DeepSpeed."""


def start(spec_file: Path, rank: int, port: int, folder: Path, attempt: int = 0) -> subprocess.Popen:
    environment = {
        **os.environ,
        "PET_NNODES": "2",
        "PET_NPROC_PER_NODE": "1",
        "PET_NODE_RANK": str(rank),
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(port),
        "SPHINX_X_ATTEMPT": str(attempt),
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    }
    command = [sys.executable, "-m", "components.train.node", "--spec", str(spec_file), "--run-id", "run-1", "--job", "job"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_both(spec: TrainSpec, folder: Path, attempt: int = 0) -> list[subprocess.Popen]:
    spec_file = folder / "spec.json"
    spec.write(spec_file)
    port = free_port()
    return [start(spec_file, rank, port, folder, attempt) for rank in (0, 1)]


def ends_of(nodes: list[subprocess.Popen]) -> tuple[list[int], str]:
    logs = [one.communicate(timeout=START_SECONDS)[0] for one in nodes]
    return [one.returncode for one in nodes], "\n".join(logs)


def test_a_final_failure_of_one_node_is_told_before_its_peer_ends(tmp_path):
    # Three packs a step cannot be dealt to two ranks: rank 0 says so, the other leaves without a word.
    spec = make_spec(tmp_path / "a", packs={"packs_multiple": 3, "batch_size": 1})
    nodes = start_both(spec, tmp_path)
    seen_first = None
    deadline = time.monotonic() + START_SECONDS
    while seen_first is None and time.monotonic() < deadline:
        seen_first = next((rank for rank, one in enumerate(nodes) if one.poll() is not None), None)
        time.sleep(0.2)
    assert seen_first == 0, nodes[1].communicate()[0]
    nodes[1].send_signal(signal.SIGTERM)  # as Kubernetes does once the job has failed
    codes, log = ends_of(nodes)
    assert codes[0] == EXIT_FINAL, log[-3000:]
    assert codes[1] == EXIT_STOPPED, log[-3000:]
    assert "2 ranks" in storage.read_text(f"{run_uri(spec)}/errors/job-0.txt")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_node_that_is_asked_to_stop_saves_and_its_peer_stops_with_it(tmp_path):
    spec = make_spec(tmp_path / "a", epochs=6, checkpoint={"every_steps": 1000})
    nodes = start_both(spec, tmp_path)
    log = Path(run_uri(spec)) / LOG_FILE
    deadline = time.monotonic() + START_SECONDS
    while not (log.exists() and len(log.read_text().splitlines()) >= 5):
        assert time.monotonic() < deadline
        assert nodes[0].poll() is None, nodes[0].communicate()[0]
        time.sleep(0.1)
    nodes[1].send_signal(signal.SIGTERM)
    codes, words = ends_of(nodes)
    assert codes == [143, 143], words[-3000:]
    assert "is saved, run again to go on" in storage.read_text(f"{run_uri(spec)}/errors/job-0.txt")
    codes, words = ends_of(start_both(spec, tmp_path, attempt=1))
    assert codes == [0, 0], words[-3000:]
    assert finished_model(spec) is not None


def test_the_first_reason_stays_and_goes_where_kubernetes_and_the_launcher_look(tmp_path, monkeypatch):
    message = tmp_path / "termination-log"
    message.touch()
    monkeypatch.setattr(node, "TERMINATION_LOG", message)
    run = str(tmp_path / "run")
    node.report("the disk\nis full.", run, "job-2.txt")
    node.report("a peer was lost.", run, "job-2.txt")
    assert storage.read_text(f"{run}/errors/job-2.txt") == "the disk is full."
    assert message.read_text() == "a peer was lost."
    node.report("nowhere to store it.", None, "job-3.txt")


def test_processes_that_the_kernel_killed_for_memory_are_counted(tmp_path, monkeypatch):
    events = tmp_path / "memory.events"
    monkeypatch.setattr(node, "_OOM_COUNTS", (tmp_path / "absent", events))
    assert node.memory_kills() == 0
    events.write_text("low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n")
    assert node.memory_kills() == 2


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (End(143), "asked to stop"),
        (End(3), "lost the others"),
        (End(1, has_started=False), "no rank of this node started"),
        (End(1), "killed from outside"),
    ],
)
def test_ranks_without_a_word_get_one(end, words):
    assert words in node.silent_end(end)
