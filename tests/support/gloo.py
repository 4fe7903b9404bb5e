"""Several gloo processes for a test: a free port, a time limit, and the first failing rank's traceback raised here.

`run_gloo(2, function, arguments)` runs `function(*arguments)` on two ranks and returns both results. Processes are forked from
a server that has imported torch and DeepSpeed once, so a run costs a tenth of a second and not ten.
"""

import multiprocessing
import os
import pickle
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPAWN_TIMEOUT_S = 240
"""Importing torch and DeepSpeed takes half a minute on a busy machine; a hang takes for ever."""
_PRELOADED = ["torch", "deepspeed", "transformers", "timm", "model.train.run", "model.build", "model.export"]


class RankFailed(Exception):
    """A rank raised or died; the message is its traceback."""


class GlooRun:
    """Ranks at work; `wait` for their results, `kill` them, or send them a signal."""

    def __init__(self, num_ranks: int, function: Callable[..., Any], arguments: tuple[Any, ...] = ()) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sphinx-x-gloo-")
        context = multiprocessing.get_context("forkserver")
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ["DS_ACCELERATOR"] = "cpu"
        context.set_forkserver_preload(_PRELOADED)
        port = free_port()
        self.processes = [
            context.Process(
                target=_rank_main,
                args=(rank, num_ranks, port, dict(os.environ), self._folder.name, function, arguments),
                daemon=True,
            )
            for rank in range(num_ranks)
        ]
        for process in self.processes:
            process.start()

    def wait(self, timeout_s: float = SPAWN_TIMEOUT_S) -> list[Any]:
        """Results by rank.

        Raises:
            RankFailed: the traceback of the first rank that failed; the others are ended.
            TimeoutError: the ranks hang.
        """
        deadline = time.monotonic() + timeout_s
        try:
            while any(process.is_alive() for process in self.processes):
                if any(process.exitcode not in (None, 0) for process in self.processes):
                    time.sleep(1.0)  # the others may be about to say why
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(self.processes)} ranks were not done after {timeout_s:g} s")
                time.sleep(0.02)
            self._raise_failure()
            return [self._outcome(rank)[1] for rank in range(len(self.processes))]
        finally:
            self.kill()

    def kill(self) -> None:
        """End every rank at once, as kill -9 does."""
        for process in self.processes:
            if process.is_alive():
                process.kill()
            process.join()

    def signal(self, number: int) -> None:
        """Send a signal to every rank."""
        for process in self.processes:
            if process.is_alive():
                os.kill(process.pid, number)

    def exit_codes(self) -> list[int | None]:
        return [process.exitcode for process in self.processes]

    def join(self, timeout_s: float = SPAWN_TIMEOUT_S) -> list[int | None]:
        """Wait for the end, however it comes; exit codes by rank."""
        deadline = time.monotonic() + timeout_s
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        ended = not any(process.is_alive() for process in self.processes)
        self.kill()
        assert ended, f"ranks were not done after {timeout_s:g} s"
        return self.exit_codes()

    def error(self, rank: int) -> str:
        """Traceback of a rank that failed; empty where it did not or was killed."""
        outcome = self._outcome(rank)
        return outcome[1] if outcome is not None and not outcome[0] else ""

    def _outcome(self, rank: int) -> tuple[bool, Any] | None:
        path = Path(self._folder.name) / f"{rank}.pickle"
        return pickle.loads(path.read_bytes()) if path.exists() else None

    def _raise_failure(self) -> None:
        failed = [path for path in Path(self._folder.name).glob("*.pickle") if not pickle.loads(path.read_bytes())[0]]
        if failed:
            first = min(failed, key=lambda path: path.stat().st_mtime_ns)
            raise RankFailed(f"rank {first.stem}:\n{pickle.loads(first.read_bytes())[1]}")
        codes = self.exit_codes()
        if any(codes):
            raise RankFailed(f"exit codes by rank: {codes}")


def run_gloo(num_ranks: int, function: Callable[..., Any], *arguments: Any, timeout_s: float = SPAWN_TIMEOUT_S) -> list[Any]:
    """Run a module's function on every rank and return the results by rank."""
    return GlooRun(num_ranks, function, arguments).wait(timeout_s)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _rank_main(
    rank: int,
    num_ranks: int,
    port: int,
    environment: dict[str, str],
    folder: str,
    function: Callable[..., Any],
    arguments: tuple,
) -> None:
    os.environ.update(environment)  # the server that this process was forked from has that of the first test
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(num_ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    code = 0
    try:
        outcome = (True, function(*arguments))
    except SystemExit as leaving:
        outcome, code = (True, None), leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:
        outcome, code = (False, traceback.format_exc()), getattr(error, "exit_code", 1)
    temporary = Path(folder) / f".{rank}.part"
    temporary.write_bytes(pickle.dumps(outcome))
    temporary.rename(Path(folder) / f"{rank}.pickle")
    os._exit(code)  # threads of a failed rank must not keep it alive
