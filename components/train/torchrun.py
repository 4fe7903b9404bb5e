"""The ranks on one machine: started by torchrun, which tells their exit codes to nobody; so each rank leaves a note of its own end.

A rank's note says its exit code and, where a person can do something, one sentence. Of several failures the one that explains
the others counts: a rank that merely lost its peers says so by its code and is quiet.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.shared.process import start_child
from model import storage

NOTES_VARIABLE = "SPHINX_X_NOTES"
"""Folder for the ranks' notes."""
EXIT_STOPPED = 143
"""As a shell reports SIGTERM; the trainer's exit code after it saved because it was asked to stop."""
EXIT_QUIET = frozenset({2, 3})
"""Exit codes of ranks that ended because another one did, which says why."""
RENDEZVOUS_SECONDS = 3600
"""How long a node waits for the others: one of them may still pull its image or wait for a machine."""


@dataclass(frozen=True)
class Note:
    """What a rank left."""

    rank: int
    exit_code: int | None
    """None while it runs."""
    sentence: str = ""
    time: float = 0.0


@dataclass(frozen=True)
class End:
    """How the ranks of a machine ended, as one."""

    exit_code: int
    sentence: str = ""
    """Empty where no rank could say why."""
    has_started: bool = True
    """Whether any rank came as far as its first line."""


def leave_note(rank: int, exit_code: int | None, sentence: str = "", time: float = 0.0) -> None:
    """By a rank: at its start, and when it ends."""
    if folder := os.environ.get(NOTES_VARIABLE):
        note = {"rank": rank, "exit_code": exit_code, "sentence": sentence, "time": time}
        storage.write_text(str(Path(folder, f"{rank}.json")), json.dumps(note))


def run_ranks(
    arguments: Sequence[str],
    launcher_arguments: Sequence[str],
    environment: Mapping[str, str],
    scratch: Path,
    on_start: Callable[[subprocess.Popen], None] = lambda _: None,
) -> End:
    """Run `components.train.worker` on every rank of this machine, to its end.

    Args:
        arguments: Of the worker.
        launcher_arguments: Of torchrun.
        environment: Of torchrun and its ranks.
        scratch: A folder for the notes.
        on_start: Called with torchrun's process.
    """
    notes = scratch / "notes"
    notes.mkdir()
    launcher = [sys.executable, "-m", "components.train.elastic", *launcher_arguments]
    # A rank that still writes the last checkpoint of a stopped run is given a minute after the others have left.
    environment = {"PET_SHUTDOWN_TIMEOUT": "60", **environment, NOTES_VARIABLE: str(notes)}
    child = start_child([*launcher, "-m", "components.train.worker", *arguments], env=environment)
    try:
        on_start(child)
        code = child.wait()
    except BaseException:
        stop_ranks(child.pid)
        child.wait()
        raise
    return end_of(code, [Note(**json.loads(path.read_text())) for path in sorted(notes.glob("*.json"))])


def end_of(torchrun_code: int, notes: Sequence[Note]) -> End:
    """The one end that the ranks' notes tell.

    A sentence counts first. Then a rank that left none, which something killed: that torchrun then asked its neighbours
    to stop is no reason. Then those that were asked to stop, and last those that lost their peers on other machines.
    """
    if torchrun_code == 0:
        return End(0)
    said = sorted((note for note in notes if note.sentence and note.exit_code is not None), key=lambda note: note.time)
    if reasons := [note for note in said if note.exit_code != EXIT_STOPPED]:
        return End(reasons[0].exit_code or 1, reasons[0].sentence)
    if not notes or any(note.exit_code is None for note in notes):
        return End(1, has_started=bool(notes))
    if said:
        return End(EXIT_STOPPED, said[0].sentence)
    quiet = [note.exit_code for note in notes if note.exit_code in EXIT_QUIET]
    return End(quiet[0] if quiet else 1)


def stop_ranks(torchrun_pid: int) -> None:
    """Ask the ranks to save and leave.

    They are asked themselves: torchrun would pass the signal on, but kill them after half a minute. Before it has
    started any, it is asked instead.
    """
    ranks = _children_of(torchrun_pid)
    for pid in ranks or [torchrun_pid]:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            continue


def ranks_environment(processes: int) -> dict[str, str]:
    """This process's environment, with threads for each of so many ranks and the place of our packages."""
    cores = max(1, _cores() // processes)
    # The repository or the installed package, wherever this file lies: torchrun's ranks must import the same one.
    path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
    return {"OMP_NUM_THREADS": str(cores), "TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ, "PYTHONPATH": path}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _children_of(pid: int) -> list[int]:
    """Processes that a process started and that have not ended; none outside Linux."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            children.append(int(path.parent.name))
    return children
