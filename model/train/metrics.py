"""What a run says of itself: sums over the steps since the last row, made into the row of the log.

Sums stay on the device until a row is due, so that no step waits for its numbers.
"""

import resource
import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from model.data.flops import pack_flops
from model.data.loader import StepBatch
from model.data.plan import PackPlan
from model.train.config import TrainConfig
from model.train.engine import StepOutcome
from model.train.ranks import Ranks
from model.variants import Variant

PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "H800": 989.0, "A100": 312.0, "L40S": 362.0, "B200": 2250.0}
"""Dense bf16 peak by a part of the device's name, as NVIDIA's data sheets give it."""
SMOOTHING = 0.7
"""Weight of the past in the speed from which the time left is told."""

_SUMS = ("samples", "tokens", "real_views", "skipped_views", "supervised_tokens", "steps", "gradient_norm", "skipped_updates")
_PER_RANK = ("waited_seconds", "seconds", "work_seconds")


class Window:
    """Sums since the last row, of this rank's losses and of the whole batch's counts."""

    def __init__(self, plan: PackPlan, config: TrainConfig, variant: Variant, ranks: Ranks) -> None:
        self.plan, self.config, self.variant, self.ranks = plan, config, variant, ranks
        self._names = [f"loss/dataset/{name}" for name in plan.dataset_names] + [
            f"loss/task/{name}" for name in plan.task_names
        ]
        self._seconds_per_step = 0.0
        self._clear()

    def _clear(self) -> None:
        size = len(self._names)
        self._losses = torch.zeros(size, dtype=torch.float64, device=self.ranks.device)
        self._counts = torch.zeros(size, dtype=torch.float64, device=self.ranks.device)
        self._sums = dict.fromkeys((*_SUMS, *_PER_RANK), 0.0)
        self._norms: list[Any] = []
        self._first_step: int | None = None
        self.started = time.monotonic()

    def add(self, batch: StepBatch, outcome: StepOutcome, seconds: float) -> None:
        """Count a step that is done."""
        num_datasets = len(self.plan.dataset_names)
        for pack, losses in zip(batch.packs, outcome.token_losses, strict=True):
            values = losses.to(torch.float64)
            ones = torch.ones_like(values)
            for places in (pack.supervised_datasets, pack.supervised_tasks + num_datasets):
                self._losses.index_add_(0, places, values)
                self._counts.index_add_(0, places, ones)
        for name in ("samples", "tokens", "real_views", "skipped_views", "supervised_tokens", "waited_seconds"):
            self._sums[name] += getattr(batch, name)
        self._sums["seconds"] += seconds
        self._sums["work_seconds"] += batch.waited_seconds + outcome.work_seconds
        self._sums["steps"] += 1
        self._sums["skipped_updates"] += outcome.skipped
        self._norms.append(outcome.gradient_norm)
        self._first_step = batch.number if self._first_step is None else self._first_step

    def totals(self) -> list[float]:
        """The sums over all ranks, for a checkpoint; on every rank."""
        return [*self._gathered().sum(0).tolist(), *(self._sums[name] for name in _SUMS)]

    def _gathered(self) -> Tensor:
        """Every rank's own sums [ranks, losses and counts by name, seconds]; on every rank."""
        self._sums["gradient_norm"] += sum(float(norm) for norm in self._norms)
        self._norms = []
        per_rank = torch.tensor([self._sums[name] for name in _PER_RANK], dtype=torch.float64)
        mine = torch.cat([self._losses.cpu(), self._counts.cpu(), per_rank])
        every = [torch.empty_like(mine) for _ in range(self.ranks.world_size)]
        dist.all_gather(every, mine, group=self.ranks.host_group)
        return torch.stack(every)

    def restore(self, totals: Sequence[float]) -> None:
        """Go on from the sums of a checkpoint; losses are counted on rank 0 alone, seconds on all ranks alike."""
        size = len(self._names)
        if self.ranks.is_first:
            self._losses += torch.tensor(totals[:size], dtype=torch.float64, device=self.ranks.device)
            self._counts += torch.tensor(totals[size : 2 * size], dtype=torch.float64, device=self.ranks.device)
        ends = 2 * size + len(_PER_RANK)
        share = [seconds / self.ranks.world_size for seconds in totals[2 * size : ends]]
        self._sums.update(zip(_PER_RANK, share, strict=True))
        self._sums.update(zip(_SUMS, totals[ends:], strict=True))

    def row(self, step: int, learning_rate: float, samples_seen: int, tokens_seen: int) -> dict[str, Any]:
        """The log's row after `step` steps, and a new window; on every rank."""
        by_rank = self._gathered()
        values, sums, size = by_rank.sum(0).tolist(), self._sums, len(self._names)
        losses, counts = values[:size], values[size : 2 * size]
        waited, seconds, worked = by_rank[:, 2 * size :].clamp(min=1e-9).unbind(1)  # of each rank
        seconds = float(seconds.mean())
        per_step = seconds / sums["steps"]
        past = self._seconds_per_step or per_step
        self._seconds_per_step = SMOOTHING * past + (1 - SMOOTHING) * per_step
        num_datasets = len(self.plan.dataset_names)
        places = sums["steps"] * self.plan.packs_per_step * self.config.packs.tokens_per_pack
        row = {
            "step": step,
            "steps": self.plan.num_steps,
            "window_steps": int(sums["steps"]),
            "time": time.time(),
            "loss": sum(losses[:num_datasets]) / max(1.0, sums["supervised_tokens"]),
            "learning_rate": learning_rate,
            "gradient_norm": sums["gradient_norm"] / sums["steps"],
            "samples_per_second": sums["samples"] / seconds,
            "tokens_per_second": sums["tokens"] / seconds,
            "seconds_left": (self.plan.num_steps - step) * self._seconds_per_step,
            "data_wait_share": float(waited.mean()) / seconds,
            "straggler_ratio": float(worked.max() / worked.mean()),
            "pack_fill": sums["tokens"] / places,
            "real_views": int(sums["real_views"]),
            "skipped_views": int(sums["skipped_views"]),
            "samples_seen": samples_seen,
            "tokens_seen": tokens_seen,
            "memory_gb": self._memory_gb(),
            **{name: loss / count for name, loss, count in zip(self._names, losses, counts, strict=True) if count},
        }
        if sums["skipped_updates"]:
            row["skipped_updates"] = int(sums["skipped_updates"])
        if (peak := self._peak_flops_per_second()) is not None and self._first_step is not None:
            flops = sum(
                pack_flops(pack, self.variant) for n in range(self._first_step, step) for pack in self.plan.step(n).packs
            )
            row["mfu"] = flops / (seconds * peak * self.ranks.world_size)
        self._clear()
        return row

    def _memory_gb(self) -> float:
        """Largest so far: of the device, or of this process where there is none."""
        if self.ranks.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.ranks.device) / 1e9
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9

    def _peak_flops_per_second(self) -> float | None:
        if self.ranks.device.type != "cuda" or self.config.engine.precision != "bf16":
            return None
        name = torch.cuda.get_device_name(self.ranks.device)
        return next((peak * 1e12 for part, peak in PEAK_TFLOPS.items() if part in name), None)


class Agreement:
    """Yes-or-no questions that one rank may answer with yes for all; the answer comes one step later, so that nobody waits."""

    def __init__(self, ranks: Ranks, questions: int) -> None:
        self.ranks = ranks
        self._flags = torch.zeros(questions, dtype=torch.int32)
        self._work: Any = None

    def exchange(self, *mine: bool) -> tuple[bool, ...]:
        """Ask with this rank's answers; returns what all said when asked last. On every rank, once a step."""
        if self._work is not None:
            self._work.wait()
        agreed: Tensor = self._flags
        self._flags = torch.tensor([int(one) for one in mine], dtype=torch.int32)
        self._work = dist.all_reduce(self._flags, op=dist.ReduceOp.MAX, group=self.ranks.host_group, async_op=True)
        return tuple(bool(one) for one in agreed.tolist())

    def finish(self) -> None:
        """Wait for the last exchange."""
        if self._work is not None:
            self._work.wait()
