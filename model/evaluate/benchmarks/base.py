"""What every benchmark is: a reader of questions and a way of scoring; and the request that a recipe makes of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from model.contracts.base import Part
from model.contracts.corpus import Reject
from model.contracts.evaluation import Box
from model.contracts.recipe import BenchmarkSpec, DatasetSpec, Recipe
from model.data.boxes import padding_offsets
from model.data.holdout import is_held_out
from model.data.sources import check_dataset, source_named
from model.data.sources.base import RawInputs, RawSample
from model.evaluate.questions import Question, Rule
from model.evaluate.scores import Metric


class BenchmarkOptions(Part):
    """Settings that every benchmark has."""

    max_new_tokens: int = Field(default=0, ge=0, le=8192)
    """Most tokens of an answer; 0 for the benchmark's own number."""


@dataclass(frozen=True)
class Request:
    """One benchmark of a recipe, on official files or on held-out pictures."""

    spec: BenchmarkSpec
    recipe: Recipe
    options: Any
    """Of the benchmark's own options class."""
    dataset: DatasetSpec | None
    """The dataset of the recipe whose held-out pictures are asked about, or one made of root and split; None where the benchmark has a
    layout of its own."""
    is_sphinx: bool
    """Whether to do as SPHINX's own suite did, its faults included; else as the official scorer does."""

    def asks_about(self, picture_key: str) -> bool:
        """Whether a picture is among those to ask about."""
        if self.spec.held_out_of is None or self.dataset is None:
            return True
        return is_held_out(picture_key, self.recipe.seed, self.dataset.held_out_share)

    def origin(self, width_px: int, height_px: int) -> tuple[float, float]:
        """Where a picture lies in its square, see `Prediction.origin`."""
        left_px, top_px = padding_offsets(width_px, height_px, self.recipe.padding)
        if self.is_sphinx:  # the original shifts true boxes by whole pixels
            left_px, top_px = left_px // 1, top_px // 1
        side_px = max(width_px, height_px)
        return left_px / side_px, top_px / side_px

    @property
    def source_dataset(self) -> DatasetSpec:
        """The dataset, for benchmarks that have one."""
        assert self.dataset is not None, "this benchmark reads no dataset family"
        return self.dataset


@dataclass(frozen=True)
class Benchmark:
    """One kind of judging."""

    summary: str
    """One line for people: what is asked and where the official files come from."""
    read: Callable[[Request], Iterator[Question | Reject]]
    metric: Callable[[Request], Metric]
    chance: Rule
    max_new_tokens: int
    families: tuple[str, ...] = ()
    """Dataset families whose files it reads, official or held out; the first one where only a root is given."""
    options: type[BenchmarkOptions] = BenchmarkOptions
    inputs: Callable[[Request], RawInputs] = lambda request: check_dataset(request.source_dataset)
    """The files that would be read; raises where they are not there. Quick."""


def by_mode(official: Metric, sphinx: Metric | None = None) -> Callable[[Request], Metric]:
    """The metric of the mode; SPHINX's suite had the official one where no other is given."""
    return lambda request: sphinx if request.is_sphinx and sphinx is not None else official


def answer_numbers(box: Box, origin: tuple[float, float]) -> str:
    """A box of the picture as a perfect answer writes it, without brackets."""
    return ",".join(f"{side + origin[place % 2]:.2f}" for place, side in enumerate(box))


def asked_samples(request: Request) -> Iterator[RawSample | Reject]:
    """Samples of the request's dataset that show one picture to ask about, from the reader that makes training data.

    Rows that gave no sample are rejects only on official files: which of them belong to held-out pictures is not known, and all
    of them were counted when the dataset was unified.
    """
    dataset = request.source_dataset
    for found in source_named(dataset.family).read(dataset, request.recipe.seed, request.recipe.padding):
        if isinstance(found, Reject):
            if request.spec.held_out_of is None:
                yield found
        elif len(found.pictures) == 1 and request.asks_about(found.pictures[0].key):
            yield found
