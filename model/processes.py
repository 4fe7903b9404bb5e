"""Processes of this machine: helpers that end with the one that made them, and telling one from another. Standard library only."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait
from pathlib import Path


def end_with_parent() -> None:
    """Have this process end when the process that spawned it has; the `initializer` of every pool of processes.

    A pool's worker waits for work on a pipe that it holds open itself, so without this it would wait for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a process that multiprocessing made has a parent to watch"

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def start_of(pid: int) -> str | None:
    """When a process started, in ticks since boot, so that a reused number is not taken for it; None if there is none.

    "unknown" for one that lives where there is no /proc.
    """
    try:
        # Field 22 of proc(5) stat, counted behind the command's closing bracket, which may hold spaces itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[19] if fields[0] != "Z" else None
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
