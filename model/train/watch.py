"""Watching a run: a loss that jumps stops it or leaves the update out, and torch's profiler records a window of steps."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from model import storage
from model.errors import TrainError
from model.train.config import WatchConfig
from model.train.spec import PROFILE_FOLDER

MEMORY = 0.98
"""Weight of the past in the running mean of the loss."""


class SpikeWatch:
    """Asked with a step's mean loss before its update; equal on all ranks, so all decide alike.

    Args:
        mean: Running mean of the loss so far, from a checkpoint; None at the start.
    """

    def __init__(self, watch: WatchConfig, mean: float | None) -> None:
        self.watch, self.mean = watch, mean

    @property
    def is_on(self) -> bool:
        return self.watch.spike_factor > 0

    def __call__(self, loss: float) -> bool:
        """Whether to leave this update out.

        Raises:
            TrainError: the loss is a spike and `on_spike` says stop.
        """
        if self.mean is not None and not loss <= self.watch.spike_factor * self.mean:  # NaN is a spike too
            if self.watch.on_spike == "stop":
                raise TrainError(
                    f"the loss jumped to {loss:.3g}, more than {self.watch.spike_factor:g} times its mean of {self.mean:.3g}; "
                    "set watch.on_spike to skip and run again to go on from the last checkpoint, or lower the learning rate."
                )
            return True
        self.mean = loss if self.mean is None else MEMORY * self.mean + (1 - MEMORY) * loss
        return False


class StepProfiler:
    """torch's profiler over the steps that the configuration names, on one rank; a Chrome trace below the run's folder."""

    def __init__(self, watch: WatchConfig, run_uri: str) -> None:
        self.window, self.run_uri = watch.profile_steps, run_uri
        self._profiler: Any = None

    def before(self, step: int) -> None:
        if self.window is not None and step == self.window[0]:
            self._profiler = torch.profiler.profile()
            self._profiler.start()

    def after(self, step: int) -> None:
        if self._profiler is None or self.window is None or step < self.window[1]:
            return
        self._profiler.stop()
        with tempfile.TemporaryDirectory(prefix="sphinx-x-profile-") as scratch:
            name = f"steps-{self.window[0]}-{self.window[1]}.json.gz"
            self._profiler.export_chrome_trace(str(Path(scratch) / name))
            storage.upload_file(Path(scratch) / name, storage.join(self.run_uri, PROFILE_FOLDER, name))
        self._profiler = None
