"""SIGTERM and SIGINT: between steps they are kept until the step is done and saved, anywhere else they end the run at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from model.errors import TrainError

EXIT_STOPPED = 143
"""Exit code of a run that was asked to stop, as a shell reports SIGTERM."""


class TrainStopped(TrainError):
    """Training ended because it was asked to; what was committed is kept."""

    exit_code = EXIT_STOPPED


class StopSignal:
    """Handlers of both signals while the context is open; restored afterwards.

    Args:
        run: What stops, for the sentence.
    """

    def __init__(self, run: str) -> None:
        self.run = run
        self.is_set = False
        self._is_deferred = False

    def __enter__(self) -> "StopSignal":
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within, a signal only sets `is_set`; the loop asks after every step."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True
        if not self._is_deferred:
            raise TrainStopped(f"{self.run} was asked to stop; run it again to go on from its last checkpoint.")
