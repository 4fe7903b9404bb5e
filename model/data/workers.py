"""Threads that do jobs in the order they were given, and end when told: daemon threads, so a read that hangs keeps no process."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Made = TypeVar("Made")


class Workers:
    """A fixed number of threads."""

    def __init__(self, num_threads: int, name: str) -> None:
        self.num_threads = num_threads
        self._jobs: queue.SimpleQueue[tuple[Future, Callable] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(num_threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Callable[[], Made]) -> "Future[Made]":
        """The future of `job()`."""
        future: Future[Made] = Future()
        self._jobs.put((future, job))
        return future

    def close(self, timeout_s: float = 2.0) -> None:
        """End all threads; those that hang in a read are left behind after the time-out, and end with the read."""
        deadline = time.monotonic() + timeout_s
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (given := self._jobs.get()) is not None:
            _do(*given)


def _do(future: Future, job: Callable) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except BaseException as error:  # handed to whoever waits
        future.set_exception(error)
