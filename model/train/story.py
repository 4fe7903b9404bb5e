"""What rank 0 prints, for whoever reads the log of the first node: what trains, how it goes, what is saved. Figures are in log.jsonl."""

import time
from collections.abc import Mapping
from typing import Any

from torch import nn

from model.data.plan import PackPlan
from model.train.ranks import Ranks
from model.train.spec import TrainSpec

SAY_SECONDS = 30.0
"""Between two lines on steps; the first and the last are always told."""


class Story:
    """Silent on every rank but the first."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._said = 0.0

    def begins(self, spec: TrainSpec, plan: PackPlan, model: nn.Module) -> None:
        """Before the model is sharded."""
        engine, packs, ranks = spec.config.engine, spec.config.packs, self._ranks
        sizes = [(one.numel(), one.requires_grad) for one in model.parameters()]
        total, trained = sum(size for size, _ in sizes), sum(size for size, is_trained in sizes if is_trained)
        self._say(
            f"{spec.config.variant}: {_many(total)} parameters, {_many(trained)} of them trained, in {engine.precision} on "
            f"{_ranks(ranks.world_size)} ({ranks.device.type}), ZeRO {engine.zero_stage}"
        )
        shown = plan.statistics
        self._say(
            f"{shown.samples:,} samples of {spec.corpus_uri} in {plan.num_steps:,} steps of {plan.packs_per_step} packs, each of up to "
            f"{packs.tokens_per_pack:,} tokens and {packs.views_per_pack} views, {shown.pack_fill_tokens:.0%} full"
        )
        if shown.rejected:
            self._say("left out by the plan: " + ", ".join(f"{count:,} {reason}" for reason, count in shown.rejected.items()))

    def goes_on(self, step: int, saved_ranks: int) -> None:
        """From a checkpoint."""
        self._say(f"goes on after step {step:,}, from the checkpoint of {_ranks(saved_ranks)}")

    def step(self, row: Mapping[str, Any]) -> None:
        """A row of the log; tells some of them."""
        if row["step"] < row["steps"] and time.monotonic() - self._said < SAY_SECONDS:
            return
        self._said = time.monotonic()
        self._say(line_of(row))

    def saved(self, step: int) -> None:
        """A checkpoint is committed."""
        self._say(f"checkpoint of step {step:,} is committed")

    def exported(self, uri: str) -> None:
        """The model is there."""
        self._say(f"model: {uri}")

    def _say(self, line: str) -> None:
        if self._ranks.is_first:
            print(line, flush=True)


def line_of(row: Mapping[str, Any]) -> str:
    """A row of the log for a person."""
    parts = [
        f"step {row['step']:,} of {row['steps']:,}: loss {row['loss']:.4f}",
        f"learning rate {row['learning_rate']:.2e}",
        f"gradient norm {row['gradient_norm']:.3g}",
        f"{row['tokens_per_second']:,.0f} tokens/s",
        f"{row['samples_per_second']:.3g} samples/s",
        *([f"MFU {row['mfu']:.1%}"] if "mfu" in row else []),
        f"data wait {row['data_wait_share']:.0%}",
        f"{row['memory_gb']:.1f} GB",
        f"{int(row['seconds_left']) // 3600}:{int(row['seconds_left']) // 60 % 60:02d} h left",
    ]
    return ", ".join(parts)


def _ranks(count: int) -> str:
    return f"{count} {'rank' if count == 1 else 'ranks'}"


def _many(count: float) -> str:
    """Three digits and a unit."""
    for size, unit in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.3g}"
