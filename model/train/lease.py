"""One run, one writer: a lease on the run's folder, on a disk or in object storage alike.

The holder renews a small file; whoever finds it there takes over once it is seen not to change for `EXPIRY_SECONDS`, by its own
clock alone, or at once where the holder was a process of this very machine that is gone. A holder that finds another's name in
the file has lost it and stops.
"""

import json
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass

from model import storage
from model.errors import SphinxError, TrainError
from model.processes import start_of

RENEW_SECONDS = 5.0
EXPIRY_SECONDS = 45.0
"""A holder that could not renew for so long is taken for dead; renewing survives failures of storage below that."""
_SETTLE_SECONDS = 0.5
"""Two who take over a dead lease at once see after this long whose name stayed."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease; `renewal` counts up while it lives."""

    host: str
    pid: int
    process: str
    """Tells this process from any other that has the number: its start and its process-id namespace."""
    token: str
    renewal: int = 0


class RunLease:
    """Held from `__enter__` to `__exit__`.

    Args:
        uri: The lease file.
        run: What is held, for the sentence that another one reads.

    Raises:
        TrainError: from `__enter__`, another process trains this run.
    """

    def __init__(self, uri: str, run: str) -> None:
        self.uri, self.run = uri, run
        self.mine = Holder(socket.gethostname(), os.getpid(), _process(os.getpid()), uuid.uuid4().hex)
        self.is_lost = False
        self._ended = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="run-lease", daemon=True)

    def __enter__(self) -> "RunLease":
        while not storage.write_new(self.uri, self._file(self.mine)):
            there = self._read()
            if there is not None and not self._is_dead(there):
                raise TrainError(
                    f"{self.run} is being trained by process {there.pid} on {there.host}; wait for it or stop it, then run again."
                )
            self._take(there)
            if self.is_mine():
                break
        self._renewer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._renewer.join()
        if self.is_mine():
            storage.delete_tree(self.uri)

    def is_mine(self) -> bool:
        there = self._read()
        return there is not None and there.token == self.mine.token

    def require(self) -> None:
        """Stop if the lease is lost.

        Raises:
            TrainError: another process took the run over.
        """
        if self.is_lost:
            raise TrainError(f"{self.run} was taken over by another process while storage did not answer; this one stops.")

    def _take(self, seen: Holder | None) -> None:
        there = self._read()
        if there is None or there == seen:
            storage.write_bytes(self.uri, self._file(self.mine))
        time.sleep(_SETTLE_SECONDS)

    def _is_dead(self, there: Holder) -> bool:
        """Whether a holder is gone: told by its process where it ran here, else by waiting for a renewal that does not come."""
        if there.host == self.mine.host and _namespace(there.process) == _namespace(self.mine.process):
            return _process(there.pid) != there.process
        deadline = time.monotonic() + EXPIRY_SECONDS
        while time.monotonic() < deadline:
            time.sleep(RENEW_SECONDS / 5)
            now = self._read()
            if now != there:
                return now is None
        return True

    def _renew(self) -> None:
        renewal = 0
        while not self._ended.wait(RENEW_SECONDS):
            try:
                if not self.is_mine():
                    self.is_lost = True
                    return
                renewal += 1
                storage.write_bytes(self.uri, self._file(Holder(**{**asdict(self.mine), "renewal": renewal})))
            except SphinxError:
                continue  # storage is away; if it stays so, another takes over and this one finds out

    def _read(self) -> Holder | None:
        try:
            return Holder(**json.loads(storage.read_bytes(self.uri))) if storage.exists(self.uri) else None
        except (ValueError, TypeError):
            return None
        except SphinxError:
            if storage.exists(self.uri):
                raise
            return None  # it went away between two calls

    @staticmethod
    def _file(holder: Holder) -> bytes:
        return json.dumps(asdict(holder)).encode()


def _process(pid: int) -> str:
    """Start and process-id namespace of a process; empty if there is none."""
    started = start_of(pid)
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{started} {namespace}" if started else ""


def _namespace(process: str) -> str:
    return process.partition(" ")[2]
