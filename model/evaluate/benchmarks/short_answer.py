"""short_answer: questions with one or more accepted short answers, in a plain layout for anyone's own benchmark.

    <root>/<split>.jsonl                  a row a question: question_id, image, question, answers (list), group and choices if there are any
    <root>/images/  or  the root          pictures by `image`

Prompt: the question with the short-answer suffix. The metric is an option.
"""

from collections.abc import Iterator
from typing import Any, Literal

from model.contracts.corpus import Reject
from model.data.holdout import picture_key
from model.data.prompts import short_question
from model.data.sources.base import RawInputs, RawPicture
from model.data.sources.files import find_file, find_folder, json_lines, stay_inside
from model.evaluate.benchmarks.base import BenchmarkOptions, Request
from model.evaluate.questions import Question
from model.evaluate.scores import METRICS, Metric


class ShortAnswerOptions(BenchmarkOptions):
    """Settings of the benchmark."""

    metric: Literal["exact_match", "anls", "relaxed"] = "exact_match"
    """exact_match: equal but for case and a final full stop; anls: nearly equal, for text that is read; relaxed: numbers within 5 %."""
    images: str = ""
    """Folder of pictures below the root, where it is not `images` or the root itself."""


def metric(request: Request) -> Metric:
    """The metric that the options name, in the mode's variant."""
    name = request.options.metric
    return METRICS.get(f"{name}_sphinx", METRICS[name]) if request.is_sphinx else METRICS[name]


def inputs(request: Request) -> RawInputs:
    """The questions file and the folder of pictures."""
    spec = request.spec
    folders = (request.options.images,) if request.options.images else ("images", ".")
    return RawInputs(
        annotations=(find_file(spec.root, (f"{spec.split}.jsonl",), "questions file"),),
        pictures=find_folder(spec.root, folders, "pictures"),
    )


def read(request: Request) -> Iterator[Question | Reject]:
    """Questions in the order of the file."""
    files = inputs(request)
    for number, row in json_lines(files.annotations[0]):
        where = f"line {number + 1}"
        if (fault := _fault(row)) is not None:
            yield Reject(id=where, reason="malformed row", detail=fault, kind="part")
            continue
        image = row["image"]
        if files.pictures.endswith("/images"):
            image = image.removeprefix("images/")
        if (uri := stay_inside(files.pictures, image)) is None:
            yield Reject(id=where, reason="picture path leaves its folder", detail=image, kind="part")
            continue
        yield Question(
            id=str(row["question_id"]),
            picture=RawPicture(key=picture_key(image), uri=uri),
            prompt=short_question(row["question"].strip()),
            expected=tuple(row["answers"]),
            group=str(row.get("group") or "all"),
            choices=tuple(row.get("choices") or ()),
        )


def _fault(row: Any) -> str | None:
    """What is wrong with a row, for a person."""
    if not isinstance(row, dict):
        return f"no JSON object: {str(row)[:80]}"
    for field in ("image", "question"):
        if not isinstance(row.get(field), str) or not row[field].strip():
            return f"{field} is {str(row.get(field))[:80]!r}, a text is needed"
    if not isinstance(row.get("question_id"), str | int):
        return f"question_id is {str(row.get('question_id'))[:80]!r}, a text or a number is needed"
    for field in ("answers", "choices"):
        value = row.get(field) if field == "answers" else row.get(field) or ["none"]
        if not isinstance(value, list) or not value or not all(isinstance(text, str) and text.strip() for text in value):
            return f"{field} is {str(value)[:80]!r}, a list of texts is needed"
    return None
