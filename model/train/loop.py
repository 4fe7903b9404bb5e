"""The loop over optimizer steps: step, count, log, save, and stop when asked to."""

import time
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from model.data.loader import StepBatch, open_loader
from model.data.plan import PackPlan
from model.train.checkpoint import CheckpointSaver
from model.train.engine import Engine
from model.train.lease import RunLease
from model.train.log import RunLog
from model.train.metrics import Agreement, Window
from model.train.ranks import Ranks
from model.train.schedule import learning_rate
from model.train.settings import require_finite
from model.train.spec import TrainSpec
from model.train.stop import StopSignal, TrainStopped
from model.train.story import Story
from model.train.trainer_status import TrainerStatus
from model.train.watch import SpikeWatch, StepProfiler
from model.variants import variant_named

LOG_SECONDS = 2.0
"""A row is written at least so often, for the bar that is drawn from the log."""


class Tracker(Protocol):
    """Where metrics go besides the log; on rank 0 alone."""

    def log(self, step: int, metrics: dict[str, float]) -> None: ...

    def close(self, status: Literal["FINISHED", "FAILED"]) -> None: ...


@dataclass
class Progress:
    """How far a run is; travels in its checkpoints."""

    step: int = 0
    """Optimizer steps done."""
    samples_seen: int = 0
    tokens_seen: int = 0
    train_seconds: float = 0.0
    """Seconds in optimizer steps, summed over restarts."""
    mean_loss: float | None = None
    """Running mean that spikes are measured by."""

    def add(self, batch: StepBatch, seconds: float) -> None:
        self.step = batch.number + 1
        self.samples_seen += batch.samples
        self.tokens_seen += batch.tokens
        self.train_seconds += seconds


@dataclass
class Recorder:
    """What rank 0 alone does while a run goes on; does nothing on the others."""

    story: Story
    lease: RunLease | None = None
    log: RunLog | None = None
    tracker: Tracker | None = None
    profiler: StepProfiler | None = None
    status: TrainerStatus | None = None

    def before_step(self, step: int) -> None:
        if self.profiler is not None:
            self.profiler.before(step)

    def after_step(self, step: int) -> None:
        if self.profiler is not None:
            self.profiler.after(step)
        if self.lease is not None:
            self.lease.require()

    def write(self, row: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.append(row)
            self.story.step(row)
        if self.status is not None:
            self.status.show(row)
        if self.tracker is not None:
            self.tracker.log(row["step"], {name: float(value) for name, value in row.items() if name not in ("step", "time")})

    def flush(self) -> None:
        if self.log is not None:
            self.log.flush()


def run_steps(
    spec: TrainSpec,
    ranks: Ranks,
    plan: PackPlan,
    engine: Engine,
    saver: CheckpointSaver,
    progress: Progress,
    window: Window,
    recorder: Recorder,
    stop: StopSignal,
) -> None:
    """All steps from `progress.step` to the last, whose checkpoint is committed on return. On every rank.

    Raises:
        TrainStopped: a signal came; the state after the step under way is committed.
        SphinxError: whatever stops a run.
    """
    config, variant = spec.config, variant_named(spec.config.variant)
    spikes, agreement = SpikeWatch(config.watch, progress.mean_loss), Agreement(ranks, questions=2)

    def save() -> None:
        progress.mean_loss = spikes.mean
        state = {"progress": asdict(progress), "window": window.totals()}
        saver.save(progress.step, state, before_commit=recorder.flush)

    batches = open_loader(
        plan, spec.corpus_uri, spec.base_uri, variant, config, ranks.rank, ranks.world_size, progress.step, engine.encode
    )
    with batches, stop.deferred():
        began = last_row = time.perf_counter()
        for batch in batches:
            recorder.before_step(batch.number)
            rate = learning_rate(batch.number, plan.num_steps, config.epochs, config.optimizer.learning_rate, config.schedule)
            packs = [pack.to(ranks.device) for pack in batch.packs]
            outcome = engine.step(packs, batch.supervised_tokens, batch.filled_packs, rate, spikes if spikes.is_on else None)
            now = time.perf_counter()
            progress.add(batch, now - began)
            window.add(batch, outcome, now - began)
            began = now
            must_stop, row_due = agreement.exchange(stop.is_set, now - last_row > LOG_SECONDS)
            is_last = progress.step == plan.num_steps
            if is_last or row_due or progress.step % config.watch.log_every_steps == 0:
                row = window.row(progress.step, rate, progress.samples_seen, progress.tokens_seen)
                require_finite(row["loss"], progress.step)
                recorder.write(row)
                last_row = now
            if is_last or must_stop or progress.step % config.checkpoint.every_steps == 0:
                save()
            saver.check()
            recorder.after_step(batch.number)
            if must_stop and not is_last:
                saver.wait()
                raise TrainStopped(
                    f"{saver.run_uri} was asked to stop; step {progress.step} of {plan.num_steps} is saved, run again to go on."
                )
        agreement.finish()
    saver.wait()
