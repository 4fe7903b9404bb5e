"""One node of a TrainJob: `python -m components.train.node --spec <uri> --run-id <id> --job <TrainJob>`.

Trainer puts PET_* into the environment (how many nodes, which one this is, where the first is); torchrun reads them by itself. This
process is the container's first: it passes SIGTERM on so that the trainer saves within the grace period, and turns how the ranks
ended into an exit code that the TrainingRuntime's failure policy understands, and into one sentence for the person who looks:

    0     done
    64    would fail again however often it is restarted: bad configuration or data
    143   was asked to stop; what was done is saved
    else  restarted, from the last checkpoint
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from components.shared.platform import ATTEMPT, EXIT_FINAL
from components.train.torchrun import (
    EXIT_QUIET,
    EXIT_STOPPED,
    RENDEZVOUS_SECONDS,
    End,
    ranks_environment,
    run_ranks,
    stop_ranks,
)
from components.train.worker import exit_code_of
from model import storage
from model.errors import SphinxError
from model.train.spec import TrainSpec, run_uri

TERMINATION_LOG = Path("/dev/termination-log")
"""What is written here becomes the container's termination message."""
ERRORS_FOLDER = "errors"
QUIET_SECONDS = 90.0
"""How long a node that only lost its peers waits before it ends: the one that failed by itself must be seen first, since Kubernetes
judges the whole job by it, and that one may spend a minute on its last word to MLflow. Its end then ends this one."""
_OOM_COUNTS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


def main() -> None:
    """Run the ranks of this node and end as they did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True, help="URI of the run's spec")
    parser.add_argument("--run-id", required=True, help="identity of the pipeline run")
    parser.add_argument("--job", default="trainjob", help="name of the TrainJob, for the file with the reason")
    arguments = parser.parse_args()
    stop = StopRequest()
    signal.signal(signal.SIGTERM, stop.handle)
    run_folder = None
    try:
        run_folder = run_uri(TrainSpec.from_json(storage.read_bytes(arguments.spec), arguments.spec))
        end = train_node(arguments.spec, arguments.run_id, stop)
    except SphinxError as error:
        print(error, file=sys.stderr, flush=True)
        end = End(exit_code_of(error), str(error))
    if end.exit_code in EXIT_QUIET and not stop.is_set:
        stop.wait(QUIET_SECONDS)
    if end.exit_code != 0 and end.exit_code != EXIT_FINAL and stop.is_set:
        end = End(EXIT_STOPPED, end.sentence if end.exit_code == EXIT_STOPPED else "")
    if end.exit_code != 0:
        report(end.sentence or silent_end(end), run_folder, f"{arguments.job}-{os.environ.get(ATTEMPT) or '0'}.txt")
    sys.exit(end.exit_code)


class StopRequest:
    """SIGTERM: remembered, and passed on to the ranks."""

    def __init__(self) -> None:
        self.is_set = False
        self.torchrun: subprocess.Popen | None = None

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True
        if self.torchrun is not None:
            stop_ranks(self.torchrun.pid)

    def follow(self, torchrun: subprocess.Popen) -> None:
        self.torchrun = torchrun
        if self.is_set:
            stop_ranks(torchrun.pid)

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than until asked to stop."""
        deadline = time.monotonic() + seconds
        while not self.is_set and time.monotonic() < deadline:
            time.sleep(0.1)


def train_node(spec_uri: str, run_id: str, stop: StopRequest) -> End:
    """Run this node's ranks to their end."""
    processes = int(os.environ.get("PET_NPROC_PER_NODE") or "1")
    killed_before = memory_kills()
    with tempfile.TemporaryDirectory(prefix="sphinx-x-node-") as scratch:
        torchrun = [f"--rdzv-conf=timeout={RENDEZVOUS_SECONDS}"]
        if "PET_MASTER_ADDR" not in os.environ:  # started by hand
            torchrun = ["--standalone", f"--nproc-per-node={processes}"]
        end = run_ranks(
            ["--spec", spec_uri, "--run-id", run_id],
            torchrun,
            ranks_environment(processes),
            Path(scratch),
            on_start=stop.follow,
        )
    if end.exit_code != 0 and not end.sentence and memory_kills() > killed_before:
        return End(
            end.exit_code,
            "the node's memory limit was reached and a process was killed; raise the limit, or lower loader.workers.",
        )
    return end


def silent_end(end: End) -> str:
    """A sentence for ranks that ended without a word."""
    if end.exit_code == EXIT_STOPPED:
        return "this node was asked to stop; training goes on from the last checkpoint."
    if end.exit_code in EXIT_QUIET:
        return "this node lost the others; training goes on from the last checkpoint."
    if not end.has_started:
        return "no rank of this node started: the other nodes did not come, or a package cannot be imported; the node's log says which."
    return "a process of this node was killed from outside; training goes on from the last checkpoint."


def report(sentence: str, run_folder: str | None, name: str) -> None:
    """Leave the reason where Kubernetes and where the launcher looks; the first node that fails has the word in the store."""
    sentence = " ".join(sentence.split())
    if TERMINATION_LOG.exists():
        try:
            TERMINATION_LOG.write_text(sentence[:4000])  # Kubernetes keeps 4096 bytes
        except OSError as error:
            print(f"{TERMINATION_LOG} cannot be written: {error}", file=sys.stderr, flush=True)
    if run_folder is None:
        return
    try:
        storage.write_new(storage.join(run_folder, ERRORS_FOLDER, name), sentence.encode())
    except SphinxError as error:
        print(f"the reason could not be stored: {error}", file=sys.stderr, flush=True)


def memory_kills() -> int:
    """How many processes of this container the kernel has killed for memory; 0 where it does not say."""
    for file in _OOM_COUNTS:
        try:
            for line in file.read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        except (OSError, ValueError):
            continue
    return 0


if __name__ == "__main__":
    main()
