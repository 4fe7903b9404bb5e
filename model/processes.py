"""Helper processes that end with the one that made them, even where that one is killed. Standard library only."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


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
