"""What every metric is: a judge of one answer, and perhaps further figures over all answers.

A judge sees the answer and what was expected, both of which lie in `predictions.jsonl`, so scores can be computed again without
a model. Questions and predictions both satisfy `Asked`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from model.contracts.evaluation import Box, Prediction


class Asked(Protocol):
    """What a judge may know of a question."""

    @property
    def expected(self) -> tuple[str, ...]: ...
    @property
    def expected_boxes(self) -> tuple[Box, ...]: ...
    @property
    def expected_labels(self) -> tuple[str, ...]: ...
    @property
    def origin(self) -> tuple[float, float]: ...


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one answer; the fields end up in a `Prediction`."""

    score: float
    parsed: str | None
    """What it read in the answer; None where it could read nothing."""
    boxes: tuple[Box, ...] = ()
    labels: tuple[str, ...] = ()


def _none(_: Sequence[Prediction]) -> dict[str, float]:
    return {}


@dataclass(frozen=True)
class Metric:
    """One way of scoring; a benchmark's score is the mean over its questions."""

    name: str
    words: str
    """For people and for `Result.metric`: what is measured, after whom; unique among the metrics."""
    judge: Callable[[str, Asked], Verdict]
    further: Callable[[Sequence[Prediction]], dict[str, float]] = _none
    """Figures that are no mean over questions, by name."""
