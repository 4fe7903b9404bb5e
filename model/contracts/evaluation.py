"""Result, report and gate: what judging leaves behind. Every number says what it counts, over how many, and how sure it is."""

from typing import Literal

from pydantic import Field

from model.contracts.base import Contract, Part

PREDICTIONS_FILE = "predictions.jsonl"
RESULT_FILE = "result.json"

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 as fractions of the picture's longest edge from its top-left corner."""


class Prediction(Part):
    """One question and the model's answer; a line of predictions.jsonl. Scores can be computed again from these alone."""

    question_id: str
    picture: str | None
    """URI of the picture, or of its held-out sample."""
    question: str
    """The prompt's human turn, as the model saw it."""
    expected: tuple[str, ...]
    """Accepted answers, ten of them for VQA; a box as text for grounding."""
    answer: str
    """What the model said, untouched."""
    parsed: str | None
    """What the scorer read in it; None where it could read nothing."""
    score: float
    group: str = "all"
    """Sub-task by which scores are also reported."""
    boxes: tuple[Box, ...] = ()
    """Boxes in the answer, for drawing."""
    labels: tuple[str, ...] = ()
    """Class or text of each of `boxes`, where the answer gives one."""
    expected_boxes: tuple[Box, ...] = ()
    """True boxes, unrounded."""
    expected_labels: tuple[str, ...] = ()
    """Class or text of each of `expected_boxes`, where the question asks for it."""
    origin: tuple[float, float] = (0.0, 0.0)
    """The picture's top-left corner in the padded square that boxes in `answer` are measured in, as fractions of its side."""


class Result(Contract):
    """One benchmark's verdict on one model."""

    name: str
    """Name in the recipe."""
    benchmark: str
    metric: str
    """The official metric in words, for example accuracy at IoU 0.5."""
    mode: Literal["official", "sphinx"]
    score: float = Field(ge=0, le=1)
    low: float
    """Lower end of the 95 % confidence interval of `score`."""
    high: float
    questions: int
    chance: float
    """Score of a guess: uniform over closed choices or the majority answer, whichever is higher; 0 for boxes and free text."""
    parse_failures: int
    groups: dict[str, float] = {}
    """Score by sub-task."""
    group_questions: dict[str, int] = {}
    group_chance: dict[str, float] = {}
    """Score of a guess by sub-task."""
    rejects: dict[str, int] = {}
    """Rows and pictures that could not be asked about, by reason; they are not among `questions`."""
    further_metrics: dict[str, float] = {}
    """Precision, recall, yes-share and the like."""
    benchmark_digest: str
    """Digest of questions, accepted answers and prompt: only results with equal ones may be compared."""
    model_digest: str
    predictions_sha256: str
    seconds: float
    """Spent on answering by the run that finished; one that was resumed answers only what was left."""
    device: str
    questions_per_second: float
    """Of that run."""


class Comparison(Part):
    """One benchmark of the gate's decision."""

    name: str
    candidate: float
    champion: float | None
    minimum: float | None
    passed: bool
    reason: str
    """One sentence."""


class GateDecision(Contract):
    """Whether a candidate becomes champion, and why."""

    promote: bool
    reason: str
    """One sentence."""
    model_digest: str
    champion_version: str | None
    comparisons: tuple[Comparison, ...]
