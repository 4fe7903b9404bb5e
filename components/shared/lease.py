"""A workspace belongs to one run at a time: a lock whose holder renews it, so that a dead holder's lock lapses.

On the same machine the holder's process decides at once; on a disk shared by machines the lease's age does.
"""

import fcntl
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model import storage
from model.errors import StorageError
from model.processes import start_of

LEASE_SECONDS = 60.0
"""Age at which a lease that nobody renews has lapsed."""


@contextmanager
def workspace_lease(workspace: Path, what: str) -> Iterator[None]:
    """Hold a workspace while the body runs, which `ask_to_stop` from another process interrupts.

    Args:
        workspace: Folder; made if it is not there.
        what: What the holder does, for the sentence that another one reads.

    Raises:
        StorageError: another run holds it; says which and since when.
        KeyboardInterrupt: Ctrl-C or `ask_to_stop`.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    path = workspace / "lease.json"
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": start_of(os.getpid()), "what": what}
    with _alone(workspace):
        holder = _read(path)
        if holder is not None and _holds(holder):
            raise StorageError(
                f"{workspace} is in use by process {holder['pid']} on {holder['host']} ({holder['what']}); wait for it, stop it, "
                "or give another --workspace."
            )
        _write(path, mine)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LEASE_SECONDS / 4):
            _write(path, mine)

    renewer = threading.Thread(target=renew, daemon=True, name="lease")
    renewer.start()
    try:
        with _interrupted_by_sigterm():
            yield
    finally:
        ended.set()
        renewer.join()
        path.unlink(missing_ok=True)


def holder(workspace: Path) -> dict | None:
    """Who holds a workspace: host, pid and what it does; None if nobody does."""
    found = _read(workspace / "lease.json")
    return found if found is not None and _holds(found) else None


def ask_to_stop(holder: dict) -> None:
    """Interrupt the holder of a workspace of this machine, as Ctrl-C in its terminal does."""
    os.kill(holder["pid"], signal.SIGTERM)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does, whose own signal a run ignores that a shell has started in the background."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _alone(workspace: Path) -> Iterator[None]:
    """Only one process at a time reads and writes the lease."""
    with open(workspace / ".lease.guard", "wb") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> dict | None:
    try:
        holder = json.loads(path.read_bytes())
        return holder if {"host", "pid", "started", "what", "renewed"} <= set(holder) else None
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _write(path: Path, mine: dict) -> None:
    storage.write_text(str(path), json.dumps({**mine, "renewed": time.time()}))


def _holds(holder: dict) -> bool:
    if holder["host"] == socket.gethostname():
        return start_of(holder["pid"]) == holder["started"] is not None
    return time.time() - holder["renewed"] < LEASE_SECONDS
