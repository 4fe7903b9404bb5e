"""What a run has to work through: exactly, from a unified corpus, or foretold, from a draw of samples. No torch here.

Both go through the trainer's own plan: a foretold corpus is a few thousand samples with the lengths and picture sizes of the
real one, packed by `make_plan` and scaled to the number of samples.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.contracts.corpus import CorpusDataset, CorpusManifest, DatasetManifest
from model.data.lengths import Lengths
from model.data.plan import PackPlan, make_plan
from model.data.steps import StepPlan
from model.train.config import TrainConfig
from model.variants import Variant

_LOOKED_AT_STEPS = 32
"""Steps whose packs are looked at one by one; evenly spread over the run."""
_DRAWN_SAMPLES = 20_000


@dataclass(frozen=True)
class Workload:
    """A run in numbers, over all its epochs."""

    source: str
    """Where the numbers come from, for a person."""
    exact: bool
    num_steps: int
    packs_per_step: int
    samples: int
    tokens: int
    supervised_tokens: int
    real_views: int
    skipped_views: int
    pack_fill_tokens: float
    """Mean share of a pack's token budget that is used."""
    pack_fill_views: float
    rejected: dict[str, int]
    """Samples that cannot be trained on, by reason."""
    cut_samples: int
    """Samples that lose turns because they are longer than a pack."""
    steps: tuple[StepPlan, ...]
    """A few steps, pack by pack."""


@dataclass(frozen=True)
class SampleShape:
    """How large a sample is."""

    turn_ends: tuple[int, ...]
    """Text tokens up to the end of each turn."""
    turn_supervised: tuple[int, ...]
    """Supervised tokens up to the end of each turn."""
    sizes_px: tuple[tuple[int, int], ...] = ()
    """Width and height of each picture."""


@dataclass(frozen=True)
class Mixture:
    """Assumptions about a mixture of which nothing is at hand."""

    picture_share: float = 0.84
    """Samples with a picture; the paper's own data (table 9) has 12.8 of 15.3 million."""
    text_tokens: float = 160
    """Mean text tokens of a sample, the template's 45 or so among them."""
    supervised_share: float = 0.4
    """Answers' share of those."""
    aspect: float = 1.5
    """Mean of longer edge / shorter edge."""


def exact_workload(plan: PackPlan, source: str) -> Workload:
    """The workload of a plan, as it is."""
    return _workload(plan, source, exact=True, scale=1.0, num_steps=plan.num_steps)


def drawn_workload(
    shapes: Sequence[SampleShape], num_samples: int, variant: Variant, config: TrainConfig, padding: str, source: str
) -> Workload:
    """The workload of `num_samples` samples that look like `shapes`, drawn with equal chances.

    Args:
        num_samples: Of one epoch.

    Raises:
        DataError: none of the shapes can be trained on.
    """
    # At least some tens of steps, so that packs per step and fill are those of the whole.
    number = min(num_samples, max(_DRAWN_SAMPLES, 40 * config.packs.batch_size))
    drawn = random.Random(0).choices(shapes, k=number)  # noqa: S311 (a draw, no secret)
    one_epoch = config.model_copy(update={"epochs": 1.0 if number < num_samples else config.epochs})
    plan = make_plan(_corpus(number, padding), _lengths(drawn), variant, one_epoch)
    scale = num_samples * config.epochs / (number * one_epoch.epochs)
    num_steps = max(1, round(plan.statistics.samples * scale / config.packs.batch_size))
    return _workload(plan, source, exact=False, scale=scale, num_steps=num_steps)


def assumed_shapes(mixture: Mixture, seed: int = 0) -> list[SampleShape]:
    """Samples as a mixture's means have them: lengths spread like a gamma distribution, aspects like an exponential one."""
    draw = random.Random(seed)  # noqa: S311 (a draw, no secret)
    shapes = []
    for _ in range(5000):
        length = max(48, round(draw.gammavariate(2.0, mixture.text_tokens / 2.0)))
        long, short = 1000, max(1, round(1000 / (1 + draw.expovariate(1 / max(1e-6, mixture.aspect - 1)))))
        size = (long, short) if draw.random() < 0.5 else (short, long)
        supervised = max(1, round(length * mixture.supervised_share))
        shapes.append(SampleShape((length,), (supervised,), (size,) if draw.random() < mixture.picture_share else ()))
    return shapes


def _workload(plan: PackPlan, source: str, exact: bool, scale: float, num_steps: int) -> Workload:
    told = plan.statistics
    looked_at = sorted({number * plan.num_steps // _LOOKED_AT_STEPS for number in range(_LOOKED_AT_STEPS)})
    return Workload(
        source=source,
        exact=exact,
        num_steps=num_steps,
        packs_per_step=plan.packs_per_step,
        samples=round(told.samples * scale),
        tokens=round(told.tokens * scale),
        supervised_tokens=round(told.supervised_tokens * scale),
        real_views=round(told.real_views * scale),
        skipped_views=round(told.skipped_views * scale),
        pack_fill_tokens=told.pack_fill_tokens,
        pack_fill_views=told.pack_fill_views,
        rejected={reason: round(count * scale) for reason, count in told.rejected.items()},
        cut_samples=round(told.cut_samples * scale),
        steps=tuple(plan.step(number) for number in looked_at),
    )


def _lengths(shapes: Sequence[SampleShape]) -> Lengths:
    number = len(shapes)
    zeros = np.zeros(number, np.int64)
    sizes = np.array([size for shape in shapes for size in shape.sizes_px], np.int32).reshape(-1, 2)

    def starts(counts: list[int]) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)

    return Lengths(
        digest="drawn",
        tasks=("any",),
        dataset=zeros.astype(np.int16),
        task=zeros.astype(np.int16),
        shard=zeros.astype(np.int32),
        offset=zeros,
        bytes=zeros.astype(np.int32),
        picture_starts=starts([len(shape.sizes_px) for shape in shapes]),
        picture_widths=sizes[:, 0],
        picture_heights=sizes[:, 1],
        turn_starts=starts([len(shape.turn_ends) for shape in shapes]),
        turn_ends=np.array([end for shape in shapes for end in shape.turn_ends], np.int32),
        turn_supervised=np.array([count for shape in shapes for count in shape.turn_supervised], np.int32),
    )


def _corpus(number: int, padding: str) -> CorpusManifest:
    """The manifest that a drawn corpus would have."""
    told = {"name": "drawn", "family": "", "licence": "", "digest": "", "samples": number, "turns": number, "pictures": number}
    dataset = DatasetManifest.model_validate(
        told | {"held_out_pictures": 0, "tasks": {}, "rejects": {}, "padding": padding, "shards": (), "index_sha256": ""}
    )
    place = CorpusDataset(name="drawn", uri="", share=1.0, manifest=dataset)
    return CorpusManifest.model_validate(
        {"recipe": "drawn", "digest": "", "padding": padding, "samples": number, "datasets": (place,), "index_sha256": ""}
    )
