"""What a report is made of, and how the pictures that it shows are chosen. No torch here.

The component that writes a report gathers a `ReportInput` from manifests, results, the training log and saved pictures; the
page is then a pure function of it.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from model import storage
from model.contracts.checkpoint import ModelManifest
from model.contracts.corpus import CorpusManifest
from model.contracts.evaluation import PREDICTIONS_FILE, GateDecision, Prediction, Result
from model.contracts.recipe import Recipe
from model.evaluate.statistics import Difference

PICTURES_FOLDER = "pictures"
SHOWN_PICTURES = 20
RIGHT = 0.5
"""Score from which an answer counts as right where only right and wrong are told apart."""


@dataclass(frozen=True)
class ShownPrediction:
    """One question of a benchmark with its picture."""

    benchmark: str
    """Name in the recipe."""
    jpeg: bytes
    width_px: int
    """Width of the picture in `jpeg`, as shown; only its ratio to the height matters."""
    height_px: int
    prediction: Prediction


@dataclass(frozen=True)
class ReportInput:
    """Everything on the page."""

    recipe: Recipe
    corpus: CorpusManifest
    model: ModelManifest
    results: list[Result]
    """The candidate's, in the recipe's order."""
    champion: list[Result] | None
    """The champion's results; None where there is no champion yet."""
    decision: GateDecision
    log: list[dict] = field(default_factory=list)
    """Rows of the run's log, see `model.train.log.read_log`."""
    shown: list[ShownPrediction] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    """Label to address: the pipeline run, the MLflow run, the registered model."""
    paired: dict[str, Difference] = field(default_factory=dict)
    """Candidate minus champion by benchmark, question by question (`statistics.paired_difference`), where the champion's
    predictions are at hand. Without it the two intervals are added, which is wider."""
    registered_name: str = ""
    """Name of the registered model; empty for the recipe's."""

    @property
    def name(self) -> str:
        return self.registered_name or self.recipe.registered_name(self.model.variant)


def choose_shown(predictions: Mapping[str, Sequence[Prediction]], number: int = SHOWN_PICTURES) -> list[tuple[str, Prediction]]:
    """A fair choice of questions to show, the same for the same predictions.

    Benchmarks take turns, so each gives equally many. Within one, right and wrong answers appear in the proportion of its
    score, and at least one of each where there are both; which ones is decided by a hash of the question, not by the answer.

    Args:
        predictions: Predictions by benchmark; only those whose picture can be shown.
        number: How many to choose in all; fewer where there are fewer.
    """
    queues = {name: _interleaved(rows) for name, rows in predictions.items() if rows}
    chosen: dict[str, list[Prediction]] = {name: [] for name in queues}
    while sum(map(len, chosen.values())) < number and any(queues.values()):
        for name, queue in queues.items():
            if queue and sum(map(len, chosen.values())) < number:
                chosen[name].append(queue.pop(0))
    return [(name, row) for name, rows in chosen.items() for row in rows]


def _interleaved(rows: Sequence[Prediction]) -> list[Prediction]:
    """Right and wrong rows, mixed evenly; where there are both, the first two are one of each."""
    shuffled = sorted(rows, key=lambda row: hashlib.sha256(f"shown {row.question_id}".encode()).digest())
    kinds = [row for row in shuffled if row.score >= RIGHT], [row for row in shuffled if row.score < RIGHT]
    # The k-th of n rows of a kind stands at (k + 1/2) / n, so every beginning holds both kinds about in proportion.
    placed = [((place + 0.5) / len(kind), row) for kind in kinds for place, row in enumerate(kind)]
    mixed = [row for _, row in sorted(placed, key=lambda pair: pair[0])]
    other = next((row for row in mixed if (row.score >= RIGHT) != (mixed[0].score >= RIGHT)), None)
    return mixed if other is None else [mixed[0], other, *(row for row in mixed[1:] if row is not other)]


def read_shown(result_uris: Mapping[str, str], number: int = SHOWN_PICTURES) -> list[ShownPrediction]:
    """Choose among the questions whose pictures evaluation saved, and read the chosen pictures.

    Args:
        result_uris: Result folder by benchmark name.
        number: How many to show in all.
    """
    askable = {name: _with_saved_picture(uri) for name, uri in result_uris.items()}
    return [_read_picture(name, row, result_uris[name]) for name, row in choose_shown(askable, number)]


def _with_saved_picture(result_uri: str) -> list[Prediction]:
    from model.evaluate.pictures import shown_name  # only here: the page itself needs no picture library

    saved = {file.path for file in storage.list_files(storage.join(result_uri, PICTURES_FOLDER))}
    if not saved:
        return []
    lines = storage.read_text(storage.join(result_uri, PREDICTIONS_FILE)).splitlines()
    rows = (json.loads(line) for line in lines if line.strip())
    return [Prediction.model_validate(row) for row in rows if f"{shown_name(row['question_id'])}.jpg" in saved]


def _read_picture(benchmark: str, prediction: Prediction, result_uri: str) -> ShownPrediction:
    from PIL import Image

    from model.evaluate.pictures import shown_name

    name = f"{shown_name(prediction.question_id)}.jpg"
    jpeg = storage.read_bytes(storage.join(result_uri, PICTURES_FOLDER, name))
    with Image.open(io.BytesIO(jpeg)) as picture:
        width_px, height_px = picture.size
    return ShownPrediction(benchmark, jpeg, width_px, height_px, prediction)
