"""vqav2: open questions with ten answers each; VQAv2 and OK-VQA.

    <root>/v2_OpenEnded_mscoco_<split>_questions.json      {"questions": [{"image_id", "question", "question_id"}]}
    <root>/v2_mscoco_<split>_annotations.json              {"annotations": [{"question_id", "image_id", "answers": [{"answer"}]}]}
    <root>/<split>/  or  images/<split>/  or  images/      COCO_<split>_<image_id, 12 digits>.jpg

<split> is COCO's name of it: `train` stands for train2014, `val` for val2014. OK-VQA's names have no `v2_`. Source:
visualqa.org/download.html.

All questions about a picture make one dialogue. The answer is what most of the ten people said; of equals, what was said first.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from model.contracts.base import Part
from model.contracts.corpus import Reject, Turn
from model.contracts.recipe import DatasetSpec
from model.data.holdout import picture_key
from model.data.prompts import short_question
from model.data.sources.base import RawInputs, RawPicture, RawSample, Source, numbered, options_of, split_turns
from model.data.sources.files import find_file, find_folder, json_rows
from model.errors import DataError


class VqaOptions(Part):
    """Settings of the reader."""

    images: str = ""
    """Folder of pictures below the root, where its name is not the layout's."""
    max_turns: int = Field(default=0, ge=0)
    """Most questions of one sample, a picture with more gives several; 0 for no limit."""


def coco_split(split: str) -> str:
    """COCO's name of a split: train2014 for train."""
    return f"{split}2014" if split in ("train", "val") else split


def majority_answer(answers: list[str]) -> str:
    """The most frequent answer; of equals, the one given first."""
    return Counter(answers).most_common(1)[0][0]


def _inputs(spec: DatasetSpec) -> RawInputs:
    options = options_of(spec, VqaOptions)
    split = coco_split(spec.split)
    questions = [f"{prefix}OpenEnded_mscoco_{split}_questions.json" for prefix in ("v2_", "")]
    annotations = [f"{prefix}mscoco_{split}_annotations.json" for prefix in ("v2_", "")]
    folders = (options.images,) if options.images else (f"images/{split}", split, "images")
    return RawInputs(
        annotations=(
            find_file(spec.root, questions, "questions file"),
            find_file(spec.root, annotations, "annotations file (test splits have none, they cannot be trained on)"),
        ),
        pictures=find_folder(spec.root, folders, "pictures"),
    )


def _read(spec: DatasetSpec, _seed: int, _padding: str) -> Iterator[RawSample | Reject]:
    options = options_of(spec, VqaOptions)
    inputs = _inputs(spec)
    questions_uri, annotations_uri = inputs.annotations
    answers: dict[int, str] = {}
    for key, row in json_rows(annotations_uri):
        if key == "annotations":
            question_id, answer = _answer(row)
            if question_id is None or not answer:
                yield Reject(id=f"annotation {question_id}", reason="no answer", detail=str(row)[:120], kind="part")
            else:
                answers[question_id] = answer
    by_picture: dict[int, list[tuple[int, str]]] = {}
    for key, row in json_rows(questions_uri):
        if key != "questions":
            continue
        if not _is_question(row):
            yield Reject(id="question", reason="malformed row", detail=str(row)[:120], kind="part")
            continue
        by_picture.setdefault(row["image_id"], []).append((row["question_id"], row["question"]))
    if not by_picture:
        raise DataError(f"{questions_uri} holds no questions; check that it is the file of the split.")
    for picture_id, asked in by_picture.items():
        yield from _picture_samples(picture_id, asked, answers, inputs.pictures, coco_split(spec.split), options)


def _picture_samples(
    picture_id: int, asked: list[tuple[int, str]], answers: dict[int, str], folder: str, split: str, options: VqaOptions
) -> Iterator[RawSample | Reject]:
    turns: list[tuple[Turn, int]] = []
    left_out: list[Reject] = []
    for question_id, question in asked:
        if (answer := answers.get(question_id)) is None:
            left_out.append(Reject(id=f"{picture_id}/question {question_id}", reason="question without answer", kind="part"))
        else:
            turns.append((Turn(question=short_question(question.strip()), answer=answer), 1))
    if not turns:
        yield from left_out
        yield Reject(id=str(picture_id), reason="no question left", detail=f"of {len(asked)}")
        return
    file = f"COCO_{split}_{picture_id:012d}.jpg"
    shown = RawPicture(key=picture_key(file), uri=f"{folder}/{file}")
    for sample_id, part, num_questions in numbered(str(picture_id), split_turns(turns, options.max_turns, 0)):
        yield RawSample(sample_id, "vqa", (shown,), part, num_questions, tuple(left_out))
        left_out = []


def _is_question(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("question"), str) or not row["question"].strip():
        return False
    return all(
        isinstance(row.get(key), int) and not isinstance(row[key], bool) and row[key] >= 0
        for key in ("image_id", "question_id")
    )


def _answer(row: Any) -> tuple[int | None, str]:
    """A row's question and majority answer; None where the row names no question, an empty text where nobody answered."""
    if not isinstance(row, dict) or not isinstance(row.get("question_id"), int):
        return None, ""
    listed = row.get("answers")
    said = [
        str(one["answer"]).strip()
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict) and "answer" in one
    ]
    said = [answer for answer in said if answer]
    return row["question_id"], majority_answer(said) if said else ""


SOURCE = Source(
    name="vqav2",
    summary="open questions with ten answers each: VQAv2, OK-VQA",
    version=1,
    options=VqaOptions,
    inputs=_inputs,
    read=_read,
)
