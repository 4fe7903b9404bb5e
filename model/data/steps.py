"""What a plan is read as: steps of packs of samples, as plain values. No tensor and no byte of a sample is in them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SampleRef:
    """A sample of a pack."""

    row: int
    """Row of the corpus index."""
    turns: int
    """Turns kept, from the first on; fewer than the sample has where it is longer than a pack."""
    tokens: int
    """Language positions."""
    supervised_tokens: int
    real_views: int
    skipped_views: int


@dataclass(frozen=True, slots=True)
class PackRef:
    """A pack: samples in order. An empty one stands for nothing and keeps the ranks in step."""

    samples: tuple[SampleRef, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(sample.tokens for sample in self.samples)

    @property
    def real_views(self) -> int:
        return sum(sample.real_views for sample in self.samples)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The packs of one optimizer step, on all ranks together."""

    number: int
    packs: tuple[PackRef, ...]

    def _total(self, field: str) -> int:
        return sum(getattr(sample, field) for pack in self.packs for sample in pack.samples)

    @property
    def samples(self) -> int:
        return sum(len(pack.samples) for pack in self.packs)

    @property
    def filled_packs(self) -> int:
        """Packs that hold a sample; what is averaged over packs is averaged over these."""
        return sum(bool(pack.samples) for pack in self.packs)

    @property
    def tokens(self) -> int:
        return self._total("tokens")

    @property
    def supervised_tokens(self) -> int:
        """Exact, so no rank has to ask the others for the loss's denominator."""
        return self._total("supervised_tokens")

    @property
    def real_views(self) -> int:
        return self._total("real_views")

    @property
    def skipped_views(self) -> int:
        return self._total("skipped_views")
