"""PackPlan: which samples make up which pack of which optimizer step. A pure function, never stored.

It depends on the corpus, its shares, the tokenizer and template, the view geometry, the seed, the epochs, the two budgets, the
batch size and the multiple of packs a step; on no rank, node, worker or clock. Resuming a run is giving `step` a number.

From shares to steps:
1. the list of an epoch (`mixture.py`), without the samples that cannot be trained on (counted, see `rejected`);
2. shuffled by seed and epoch, packed by best fit (`packing.py`), packs shuffled again;
3. the run has as many steps as make the mean batch the configuration's, and each step the same number of packs, the least
   multiple that holds everything. Where that leaves room, the token budget is lowered until the packs are about as many as the
   places for them: equal packs wait less for each other than full and empty ones. For the few places still free packs are
   halved, evenly over the run. So every step is full, and no sample is left over at the end. Only where there are fewer
   samples than places some packs are empty; such a pack has no supervised token and changes no loss.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.contracts.base import Part, digest_of
from model.contracts.corpus import CorpusManifest
from model.data.lengths import Lengths
from model.data.mixture import epoch_entries, shuffled, shuffled_packs
from model.data.packing import best_fit
from model.data.steps import PackRef, SampleRef, StepPlan
from model.data.trainable import REASONS, Trainable, trainable_samples
from model.errors import DataError
from model.train.config import TrainConfig
from model.variants import Variant

PLAN_VERSION = 1
"""Grows whenever the same inputs give another plan."""
_PROBE_SAMPLES = 200_000
"""Samples from which the number of packs is foretold, before the whole is packed."""
_HEADROOM = 0.997
"""Share of the places that the probe may fill, so that the whole, which differs a little, fits at the first try."""


class PlanStatistics(Part):
    """What a plan shows, over all its epochs unless a field says otherwise."""

    samples: int
    """Samples shown; one shown twice counts twice."""
    samples_per_epoch: int
    samples_per_step: float
    """Mean; the configuration's batch size as near as a whole number of steps allows."""
    tokens: int
    supervised_tokens: int
    real_views: int
    skipped_views: int
    packs: int
    """Packs with samples."""
    empty_packs: int
    pack_fill_tokens: float
    """Mean share of the token budget that a pack uses, empty ones counted."""
    pack_fill_views: float
    """The same of the view budget."""
    samples_by_dataset: dict[str, int]
    """Shown in one epoch."""
    rejected: dict[str, int]
    """Samples of an epoch's list that cannot be trained on, by reason; one listed twice counts once."""
    cut_samples: int
    """Samples of an epoch's list that lose their last turns because they are longer than a pack."""
    cut_tokens: int
    """Text tokens of those turns."""


class PackPlan:
    """Steps by number; build it with `make_plan`."""

    def __init__(
        self,
        digest: str,
        corpus: CorpusManifest,
        lengths: Lengths,
        trainable: Trainable,
        config: TrainConfig,
        packed: "_Packed",
    ) -> None:
        self.digest = digest
        self.lengths = lengths
        self.trainable = trainable
        self.num_steps = packed.num_steps
        self.packs_per_step = packed.packs_per_step
        self.dataset_names = tuple(one.name for one in corpus.datasets)
        self.task_names = lengths.tasks
        self._rows = packed.rows
        self._pack_starts = packed.pack_starts
        self.num_packs = len(packed.pack_starts) - 1
        self.rejected_rows = packed.rejected_rows
        self.statistics = self._statistics(config, packed)

    def step(self, number: int) -> StepPlan:
        """The packs of step `number`, counted from 0.

        Raises:
            IndexError: the plan has no such step.
        """
        if not 0 <= number < self.num_steps:
            raise IndexError(f"the plan has steps 0 to {self.num_steps - 1}, not {number}")
        first, last = (number * self.num_packs // self.num_steps, (number + 1) * self.num_packs // self.num_steps)
        packs = [self._pack(pack) for pack in range(first, last)]
        packs += [PackRef()] * (self.packs_per_step - len(packs))
        return StepPlan(number, tuple(packs))

    def steps(self, first_step: int = 0) -> Iterator[StepPlan]:
        """All steps from `first_step` on."""
        return (self.step(number) for number in range(first_step, self.num_steps))

    def rejected(self) -> Iterator[tuple[int, str]]:
        """Row and reason of each sample that an epoch lists and that cannot be trained on."""
        return ((row, REASONS[int(self.trainable.reason[row])]) for row in self.rejected_rows.tolist())

    def _pack(self, number: int) -> PackRef:
        rows = self._rows[self._pack_starts[number] : self._pack_starts[number + 1]]
        usable = self.trainable
        columns = (usable.turns, usable.tokens, usable.supervised_tokens, usable.real_views, usable.skipped_views)
        return PackRef(
            tuple(
                SampleRef(*values) for values in zip(rows.tolist(), *(column[rows].tolist() for column in columns), strict=True)
            )
        )

    def _statistics(self, config: TrainConfig, packed: "_Packed") -> PlanStatistics:
        rows, usable = self._rows, self.trainable
        places = self.num_steps * self.packs_per_step
        tokens, views = (int(column[rows].sum(dtype=np.int64)) for column in (usable.tokens, usable.real_views))
        by_dataset = np.bincount(self.lengths.dataset[packed.entries], minlength=len(self.dataset_names))
        listed = _distinct(packed.entries)
        reasons = np.bincount(usable.reason[self.rejected_rows], minlength=len(REASONS))
        return PlanStatistics(
            samples=len(rows),
            samples_per_epoch=len(packed.entries),
            samples_per_step=len(rows) / self.num_steps,
            tokens=tokens,
            supervised_tokens=int(usable.supervised_tokens[rows].sum(dtype=np.int64)),
            real_views=views,
            skipped_views=int(usable.skipped_views[rows].sum(dtype=np.int64)),
            packs=self.num_packs,
            empty_packs=places - self.num_packs,
            pack_fill_tokens=tokens / (places * config.packs.tokens_per_pack),
            pack_fill_views=views / (places * config.packs.views_per_pack),
            samples_by_dataset=dict(zip(self.dataset_names, by_dataset.tolist(), strict=True)),
            rejected={REASONS[code]: int(count) for code, count in enumerate(reasons) if count and code},
            cut_samples=int((usable.cut_tokens[listed] > 0).sum()),
            cut_tokens=int(usable.cut_tokens[listed].sum(dtype=np.int64)),
        )


def make_plan(corpus: CorpusManifest, lengths: Lengths, variant: Variant, config: TrainConfig) -> PackPlan:
    """Plan a whole run.

    Args:
        lengths: From `corpus_lengths` of the same corpus.

    Raises:
        DataError: no sample can be trained on.
    """
    digest = digest_of(
        {
            "version": PLAN_VERSION,
            "corpus": corpus.digest,
            "shares": [[one.name, one.share] for one in corpus.datasets],
            "lengths": lengths.digest,
            "padding": corpus.padding,
            "geometry": variant.geometry.model_dump(mode="json"),
            "max_positions": variant.language.max_positions,
            "seed": config.seed,
            "epochs": config.epochs,
            "packs": config.packs.model_dump(mode="json"),
        }
    )
    trainable = trainable_samples(lengths, variant, corpus.padding, config.packs)
    entries = epoch_entries(corpus, lengths.dataset, config.seed)
    good = trainable.reason[entries] == 0
    rejected_rows = _distinct(entries[~good])
    entries = entries[good]
    if len(entries) == 0:
        counts = np.bincount(trainable.reason[rejected_rows], minlength=len(REASONS))
        raise DataError(
            f"no sample of recipe {corpus.recipe} can be trained on ({counts.max()} x {REASONS[int(counts.argmax())]}); "
            "check packs.tokens_per_pack, packs.views_per_pack and the shares."
        )
    return PackPlan(digest, corpus, lengths, trainable, config, _pack_run(entries, rejected_rows, trainable, config))


@dataclass(frozen=True)
class _Packed:
    """The result of packing."""

    entries: np.ndarray
    """[E] rows of one epoch's list, sorted."""
    rejected_rows: np.ndarray
    rows: np.ndarray
    """[samples shown] rows, pack after pack."""
    pack_starts: np.ndarray
    """[packs + 1]"""
    num_steps: int
    packs_per_step: int


def _pack_run(entries: np.ndarray, rejected_rows: np.ndarray, trainable: Trainable, config: TrainConfig) -> _Packed:
    budgets = config.packs
    whole, fraction = divmod(config.epochs, 1)
    shown = [len(entries)] * int(whole) + ([max(1, round(fraction * len(entries)))] if fraction else [])
    num_steps = max(1, round(sum(shown) / budgets.batch_size))
    # Foretell from the beginning of the first epoch how many packs all of it makes.
    probe = shuffled(entries, config.seed, 0)[:_PROBE_SAMPLES]
    scale = sum(shown) / len(probe)

    def foretold(max_tokens: int) -> float:
        return best_fit(trainable.tokens[probe], trainable.real_views[probe], max_tokens, budgets.views_per_pack)[1] * scale

    least = foretold(budgets.tokens_per_pack)
    packs_per_step = budgets.packs_multiple * math.ceil(least / num_steps / budgets.packs_multiple)
    low, max_tokens = 1, budgets.tokens_per_pack
    while max_tokens - low > max(1, budgets.tokens_per_pack // 256):
        middle = (low + max_tokens) // 2
        if foretold(middle) <= _HEADROOM * num_steps * packs_per_step:
            max_tokens = middle
        else:
            low = middle
    while True:
        packed = [_pack_epoch(entries, count, epoch, trainable, config, max_tokens) for epoch, count in enumerate(shown)]
        num_packs = sum(len(sizes) for _, sizes in packed)
        if num_packs <= num_steps * packs_per_step:
            break
        # The whole needs a little more than the probe foretold: give up some evenness, then add places.
        if max_tokens < budgets.tokens_per_pack:
            max_tokens = min(budgets.tokens_per_pack, max_tokens + max(1, budgets.tokens_per_pack // 100))
        else:
            packs_per_step += budgets.packs_multiple
    rows = np.concatenate([rows for rows, _ in packed])
    sizes = np.concatenate([sizes for _, sizes in packed])
    starts = _halved(np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]), num_steps * packs_per_step)
    return _Packed(entries, rejected_rows, rows, starts, num_steps, packs_per_step)


def _pack_epoch(
    entries: np.ndarray, count: int, epoch: int, trainable: Trainable, config: TrainConfig, max_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the first `count` samples of an epoch's shuffle, pack after pack, and the packs' sizes."""
    rows = shuffled(entries, config.seed, epoch)[:count]
    packs, num_packs = best_fit(trainable.tokens[rows], trainable.real_views[rows], max_tokens, config.packs.views_per_pack)
    places = shuffled_packs(num_packs, config.seed, epoch).astype(np.int32)[packs]
    return rows[np.argsort(places, kind="stable")], np.bincount(places, minlength=num_packs)


def _halved(starts: np.ndarray, num_places: int) -> np.ndarray:
    """Starts of packs after some were halved, evenly spread, so that they fill `num_places` if the samples suffice."""
    while (missing := num_places - (len(starts) - 1)) > 0:
        sizes = np.diff(starts)
        divisible = np.flatnonzero(sizes > 1)
        if len(divisible) == 0:
            break
        count = min(missing, len(divisible))
        chosen = divisible[(2 * np.arange(count) + 1) * len(divisible) // (2 * count)]
        starts = np.sort(np.concatenate([starts, starts[chosen] + sizes[chosen] // 2]))
    return starts


def _distinct(rows: np.ndarray) -> np.ndarray:
    """Sorted rows without repeats."""
    return rows[np.diff(rows, prepend=-1) > 0]
