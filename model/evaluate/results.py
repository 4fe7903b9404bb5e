"""A result on its way: predictions line by line, the figures made of them, and the same figures again without a model. Torch-free.

    <store>/results/<model digest>/<name>-<key>/predictions.jsonl      appended to while a model answers, sorted when all is there
    <store>/results/<model digest>/<name>-<key>/pictures/<id>.jpg      some of the pictures, small, for the report
    <store>/results/<model digest>/<name>-<key>/result.json            written last: without it nothing is finished

The key is a digest of the questions and of how they are scored, so lines that a killed run left behind are answers to these
questions by this model, and are kept.
"""

import hashlib
import math
import os
import time
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from model import storage
from model.contracts.base import canonical_json, digest_of
from model.contracts.evaluation import PREDICTIONS_FILE, RESULT_FILE, Prediction, Result
from model.errors import ContractError, StorageError
from model.evaluate.questions import Question, QuestionSet
from model.evaluate.scores import Metric, metric_in_words
from model.evaluate.statistics import interval, picture_of

_REWRITE_EVERY_S = 60


def result_uri(store_uri: str, model_digest: str, asked: QuestionSet, mode: str) -> str:
    """The folder of a result."""
    key = digest_of({"questions": asked.digest, "mode": mode})
    return storage.join(store_uri, "results", model_digest[:12], f"{asked.name}-{key[:12]}")


def uri_of_another_model(result_uri: str, model_digest: str) -> str:
    """The folder of another model's result on the same questions, in the same store."""
    results, _, name = result_uri.rstrip("/").rsplit("/", 2)
    return storage.join(results, model_digest[:12], name)


def read_result(uri: str) -> Result | None:
    """The finished result of a folder; None where there is none."""
    file = storage.join(uri, RESULT_FILE)
    return Result.from_json(storage.read_bytes(file), file) if storage.exists(file) else None


def read_predictions(uri: str) -> list[Prediction]:
    """The predictions of a finished result.

    Raises:
        ContractError: a line is damaged.
    """
    file = storage.join(uri, PREDICTIONS_FILE)
    lines = storage.read_bytes(file).splitlines()
    predictions = [one for line in lines if (one := _prediction(line)) is not None]
    if len(predictions) != len(lines):
        raise ContractError(
            f"{len(lines) - len(predictions)} lines of {file} are damaged; remove its folder and run the evaluate step again."
        )
    return predictions


class PredictionLog:
    """The predictions of a result that is not finished; what was appended outlives a kill."""

    def __init__(self, folder_uri: str) -> None:
        self.uri = storage.join(folder_uri, PREDICTIONS_FILE)
        self._path = storage.local_path(self.uri)
        self._lines: list[bytes] = []
        self._written_at = time.monotonic()

    def read(self) -> dict[str, Prediction]:
        """What earlier runs left, by question; a torn line is no prediction."""
        if not storage.exists(self.uri):
            return {}
        data = storage.read_bytes(self.uri)
        found = [one for line in data.splitlines() if (one := _prediction(line)) is not None]
        self._lines = [_line(one) for one in found]
        if self._path is not None and data and not data.endswith(b"\n"):
            self._append(b"\n")  # ends the torn line, so that the next one stays whole
        return {one.question_id: one for one in found}

    def append(self, predictions: Iterable[Prediction]) -> None:
        """Add lines; on storage without appending the whole file is written again, once a minute."""
        lines = [_line(one) for one in predictions]
        self._lines += lines
        if self._path is not None:
            self._append(b"".join(lines))
        elif time.monotonic() - self._written_at > _REWRITE_EVERY_S:
            storage.write_bytes(self.uri, b"".join(self._lines))
            self._written_at = time.monotonic()

    def finish(self, predictions: Sequence[Prediction]) -> str:
        """Write all predictions in their final order; returns the file's sha256."""
        data = b"".join(_line(one) for one in predictions)
        storage.write_bytes(self.uri, data)
        return hashlib.sha256(data).hexdigest()

    def _append(self, data: bytes) -> None:
        assert self._path is not None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # One write call a batch: lines of two runs on the same result never mix.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StorageError(
                f"cannot write {self._path}: {error.strerror or error}; free some space and run again."
            ) from error


def predict(question: Question, answer: str, metric: Metric) -> Prediction:
    """Score one answer."""
    verdict = metric.judge(answer, question)
    return Prediction(
        question_id=question.id,
        picture=question.picture.uri,
        question=question.prompt,
        expected=question.expected,
        answer=answer,
        parsed=verdict.parsed,
        score=verdict.score,
        group=question.group,
        boxes=verdict.boxes,
        labels=verdict.labels,
        expected_boxes=question.expected_boxes,
        expected_labels=question.expected_labels,
        origin=question.origin,
    )


def figures(predictions: Sequence[Prediction], metric: Metric) -> dict[str, object]:
    """The fields of a `Result` that follow from predictions alone."""
    scores = [one.score for one in predictions]
    low, high = interval(scores, [picture_of(one) for one in predictions])
    groups: dict[str, list[float]] = {}
    for one in predictions:
        groups.setdefault(one.group, []).append(one.score)
    return {
        "score": min(1.0, math.fsum(scores) / len(scores)),
        "low": low,
        "high": high,
        "questions": len(predictions),
        "parse_failures": sum(one.parsed is None for one in predictions),
        "groups": {name: math.fsum(groups[name]) / len(groups[name]) for name in sorted(groups)},
        "group_questions": {name: len(groups[name]) for name in sorted(groups)},
        "further_metrics": metric.further(predictions),
    }


def rescore(uri: str) -> Result:
    """Judge the answers of a finished result again, with the metric it names and without a model; nothing is written.

    Raises:
        ContractError: the predictions are damaged, or the metric is unknown.
        StorageError: there is no finished result.
    """
    file = storage.join(uri, RESULT_FILE)
    result = Result.from_json(storage.read_bytes(file), file)
    metric = metric_in_words(result.metric)
    judged = []
    for one in read_predictions(uri):
        verdict = metric.judge(one.answer, one)
        fields = {"score": verdict.score, "parsed": verdict.parsed, "boxes": verdict.boxes, "labels": verdict.labels}
        judged.append(one.model_copy(update=fields))
    return Result.model_validate(result.model_dump() | figures(judged, metric))


def _line(prediction: Prediction) -> bytes:
    return (canonical_json(prediction.model_dump(mode="json")) + "\n").encode()


def _prediction(line: bytes) -> Prediction | None:
    try:
        return Prediction.model_validate_json(line)
    except ValidationError:
        return None
