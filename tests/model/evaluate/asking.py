"""Questions, predictions and results with made-up contents."""

from model.contracts.base import digest_of
from model.contracts.evaluation import Prediction, Result
from model.data.sources.base import RawPicture
from model.evaluate.questions import Question


def question(question_id: str, *expected: str, picture: str = "a.jpg", **fields) -> Question:
    return Question(id=question_id, picture=RawPicture(key=picture, uri=picture), prompt="?", expected=expected, **fields)


def prediction(question_id: str, score: float, picture: str | None = None, **fields) -> Prediction:
    given = {"question": "?", "expected": ("yes",), "answer": "yes", "parsed": "yes", "picture": picture}
    return Prediction.model_validate(given | {"question_id": question_id, "score": score} | fields)


def result(name: str, score: float, **fields) -> Result:
    given = {
        "name": name,
        "benchmark": "pope",
        "metric": "accuracy of yes and no (official: POPE)",
        "mode": "official",
        "score": score,
        "low": score,
        "high": score,
        "questions": 100,
        "chance": 0.5,
        "parse_failures": 0,
        "benchmark_digest": digest_of(name),
        "model_digest": digest_of("a model"),
        "predictions_sha256": "0" * 64,
        "seconds": 1.0,
        "device": "cpu",
        "questions_per_second": 100.0,
    }
    return Result.model_validate(given | fields)
