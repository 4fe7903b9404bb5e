"""vqav2: open questions with ten answers each; VQAv2, OK-VQA and the VQA of the demo. Layout as in `model/data/sources/vqav2.py`.

Prompt: the question with SPHINX's and LLaVA's suffix "Answer the question using a single word or phrase.". Groups are the
annotation's `answer_type` (yes/no, number, other) or `question_type`.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from model.contracts.corpus import Reject
from model.data.holdout import picture_key
from model.data.prompts import short_question
from model.data.sources import check_dataset
from model.data.sources.base import RawPicture
from model.data.sources.files import json_rows
from model.data.sources.vqav2 import coco_split
from model.evaluate.benchmarks.base import BenchmarkOptions, Request
from model.evaluate.questions import Question

MIN_ANSWERS = 4
"""With fewer people no answer can have the full score: three others must agree."""


class VqaBenchmarkOptions(BenchmarkOptions):
    """Settings of the benchmark."""

    groups: Literal["answer_type", "question_type"] = "answer_type"
    """Which of the annotations' fields the scores are broken down by."""


@dataclass(frozen=True)
class _Annotation:
    answers: tuple[str, ...]
    group: str
    is_yes_no: bool


def read(request: Request) -> Iterator[Question | Reject]:
    """Questions in the order of the questions file."""
    dataset = request.source_dataset
    inputs = check_dataset(dataset)
    questions_uri, annotations_uri = inputs.annotations
    annotations = dict(_annotations(annotations_uri, request.options.groups))
    split = coco_split(dataset.split)
    for key, row in json_rows(questions_uri):
        if key != "questions":
            continue
        if not _is_question(row):
            yield Reject(id="question", reason="malformed row", detail=str(row)[:120], kind="part")
            continue
        question_id, file = str(row["question_id"]), f"COCO_{split}_{row['image_id']:012d}.jpg"
        if not request.asks_about(picture_key(file)):
            continue
        annotation = annotations.get(question_id)
        if annotation is None or len(annotation.answers) < MIN_ANSWERS:
            detail = f"{0 if annotation is None else len(annotation.answers)} answers, {MIN_ANSWERS} are needed"
            yield Reject(id=question_id, reason="question without answers", detail=detail, kind="part")
            continue
        yield Question(
            id=question_id,
            picture=RawPicture(key=picture_key(file), uri=f"{inputs.pictures}/{file}"),
            prompt=short_question(row["question"].strip()),
            expected=annotation.answers,
            group=annotation.group,
            choices=("yes", "no") if annotation.is_yes_no else (),
        )


def _annotations(uri: str, group_field: str) -> Iterator[tuple[str, _Annotation]]:
    for key, row in json_rows(uri):
        if key != "annotations" or not isinstance(row, dict) or not isinstance(row.get("answers"), list):
            continue
        # The same few thousand answers stand there two million times: one text each is kept.
        answers = tuple(sys.intern(str(one["answer"])) for one in row["answers"] if isinstance(one, dict) and "answer" in one)
        group = row.get(group_field)
        is_yes_no = row.get("answer_type") == "yes/no"
        yield str(row.get("question_id")), _Annotation(answers, group if isinstance(group, str) and group else "all", is_yes_no)


def _is_question(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("question"), str) or not row["question"].strip():
        return False
    ids = (row.get("image_id"), row.get("question_id"))
    return all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in ids)
