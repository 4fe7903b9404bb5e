"""Labels of scenes in the official layouts of six dataset families, and held-out benchmark files in theirs.

Every label is true by construction: it is written from the description that the picture was drawn from.
"""

import json
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.demo.dialogues import instruction_turns, text_dialogues
from model.demo.questions import Asked, all_questions, ask_colour, ask_count, ask_reading, ask_shape, expressions, presence_pair
from model.demo.scenes import SHAPES, Box, Scene

FOLDERS = ("coco", "refcoco", "vqav2", "icdar", "llava", "text", "pope", "reading")
FIRST_HELD_OUT_ID = 500_000
"""Picture ids of held-out scenes start here; those of training at 0."""
TRAIN_SHARES = {"coco": 0.15, "refcoco": 0.15, "vqav2": 0.3, "icdar": 0.1, "llava": 1.0}
"""Share of the training scenes that a dataset shows: the first ones, so that datasets share pictures, as the public ones do."""
VQA_ANSWERS = 10
"""People who answer each question in VQAv2; here they all agree."""
_QUESTION_TYPES = {
    "colour": ("what color is the", "other"),
    "shape": ("what shape is", "other"),
    "count": ("how many", "number"),
    "presence": ("is there a", "yes/no"),
    "reading": ("what word is", "other"),
}
"""VQAv2's `question_type` and `answer_type`."""


def picture_files(picture_id: int) -> dict[str, str]:
    """Where a scene's picture lies, by dataset; which of them show it is decided by `shown_by`."""
    if picture_id < FIRST_HELD_OUT_ID:
        return {
            "llava": f"llava/images/{picture_id:012d}.jpg",
            "coco": f"coco/train/{picture_id:012d}.jpg",
            "refcoco": f"refcoco/images/{picture_id:012d}.jpg",
            "vqav2": f"vqav2/images/train2014/COCO_train2014_{picture_id:012d}.jpg",
            "icdar": f"icdar/images/img_{picture_id}.jpg",
        }
    return {
        "coco": f"coco/val/{picture_id:012d}.jpg",
        "refcoco": f"refcoco/images/{picture_id:012d}.jpg",
        "vqav2": f"vqav2/images/val2014/COCO_val2014_{picture_id:012d}.jpg",
        "pope": f"pope/images/{picture_id:012d}.jpg",
        "reading": f"reading/images/{picture_id:012d}.jpg",
    }


def num_scenes(dataset: str, train_scenes: int) -> int:
    """How many of the training scenes a dataset shows."""
    return math.ceil(TRAIN_SHARES[dataset] * train_scenes)


def shown_by(picture_id: int, train_scenes: int) -> list[str]:
    """Files that a scene's picture is written to."""
    files = picture_files(picture_id)
    if picture_id >= FIRST_HELD_OUT_ID:
        return list(files.values())
    return [file for dataset, file in files.items() if picture_id < num_scenes(dataset, train_scenes)]


def write_annotations(folder: Path, train: Sequence[Scene], held_out: Sequence[Scene]) -> None:
    """Annotation files of all six families for training scenes, and benchmark files about held-out ones."""
    shown = {dataset: list(enumerate(train[: num_scenes(dataset, len(train))])) for dataset in TRAIN_SHARES}
    asked_about = list(enumerate(held_out, start=FIRST_HELD_OUT_ID))
    _put_json(folder / "coco/annotations/instances_train.json", coco_file(shown["coco"]))
    _put_json(folder / "coco/annotations/instances_val.json", coco_file(asked_about))
    write_refcoco(folder / "refcoco", {"train": shown["refcoco"], "val": asked_about})
    write_vqa(
        folder / "vqav2", "train2014", [(number, all_questions(scene, _rng(scene, 1))) for number, scene in shown["vqav2"]]
    )
    (folder / "icdar/gt").mkdir(parents=True, exist_ok=True)
    for number, scene in shown["icdar"]:
        (folder / f"icdar/gt/gt_img_{number}.txt").write_text(icdar_line(scene), encoding="utf-8")
    _put_json(folder / "llava/instructions.json", [llava_row(number, scene) for number, scene in shown["llava"]])
    _put_lines(folder / "text/train.jsonl", [{"id": str(n), "data": said} for n, said in enumerate(text_dialogues())])
    _write_benchmarks(folder, asked_about)


def _write_benchmarks(folder: Path, numbered: Sequence[tuple[int, Scene]]) -> None:
    asked = []
    for number, scene in numbered:
        rng = _rng(scene, 2)
        thing, other = (scene.things[rng.integers(len(scene.things))] for _ in range(2))
        asked.append((number, [ask_colour(thing), ask_shape(other), ask_count(scene)]))
    write_vqa(folder / "vqav2", "val2014", asked)
    _put_lines(folder / "pope/val.json", [row for number, scene in numbered for row in pope_rows(number, scene)])
    _put_lines(folder / "reading/val.jsonl", [reading_row(number, scene) for number, scene in numbered])


def coco_file(numbered: Sequence[tuple[int, Scene]]) -> dict[str, Any]:
    """COCO's `instances_*.json`: a class a shape, a box a thing."""
    images, annotations = [], []
    for number, scene in numbered:
        images.append({"id": number, "file_name": f"{number:012d}.jpg", "width": scene.width, "height": scene.height})
        for place, thing in enumerate(scene.things):
            annotations.append(
                {
                    "id": 10 * number + place,
                    "image_id": number,
                    "category_id": 1 + SHAPES.index(thing.shape),
                    "bbox": _coco_box(thing.box),
                    "area": _area(thing.box),
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    categories = [{"id": 1 + place, "name": shape, "supercategory": "shape"} for place, shape in enumerate(SHAPES)]
    return {"info": {"description": "generated scenes"}, "images": images, "annotations": annotations, "categories": categories}


def write_refcoco(root: Path, by_split: dict[str, Sequence[tuple[int, Scene]]]) -> None:
    """`refs(unc).p` and `instances.json`: as in the published set, one pair of files holds all splits."""
    refs: list[dict[str, Any]] = []
    for split, numbered in by_split.items():
        for number, scene in numbered:
            for place, thing in enumerate(scene.things):
                category_id, ann_id = 1 + SHAPES.index(thing.shape), 10 * number + place
                said = expressions(thing)
                if split == "train":  # one of them: the second would be copied from the first, not looked up in the picture
                    said = [said[(number + place) % len(said)]]
                refs.append(_ref(len(refs), number, ann_id, category_id, split, said))
    _put_json(root / "instances.json", coco_file([one for numbered in by_split.values() for one in numbered]))
    (root / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))


def _ref(ref_id: int, picture_id: int, ann_id: int, category_id: int, split: str, said: list[str]) -> dict[str, Any]:
    sent_ids = [10 * ref_id + place for place in range(len(said))]
    sentences = [
        {"sent_id": sent_id, "raw": text, "sent": text, "tokens": text.split()}
        for sent_id, text in zip(sent_ids, said, strict=True)
    ]
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "category_id": category_id,
        "image_id": picture_id,
        "file_name": f"COCO_train2014_{picture_id:012d}_{ref_id}.jpg",
        "split": split,
        "sent_ids": sent_ids,
        "sentences": sentences,
    }


def write_vqa(root: Path, split: str, asked: Sequence[tuple[int, Sequence[Asked]]]) -> None:
    """VQAv2's questions file and annotations file; question ids are the picture's id and a place of two digits."""
    questions, annotations = [], []
    for picture_id, several in asked:
        for place, one in enumerate(several):
            question_id = 100 * picture_id + place
            question_type, answer_type = _QUESTION_TYPES[one.skill]
            questions.append({"image_id": picture_id, "question": one.question, "question_id": question_id})
            answers = [
                {"answer": one.answer, "answer_confidence": "yes", "answer_id": person} for person in range(1, VQA_ANSWERS + 1)
            ]
            annotations.append(
                {
                    "question_id": question_id,
                    "image_id": picture_id,
                    "question_type": question_type,
                    "answer_type": answer_type,
                    "multiple_choice_answer": one.answer,
                    "answers": answers,
                }
            )
    head = {"info": {"description": "generated scenes"}, "data_type": "mscoco", "data_subtype": split}
    _put_json(root / f"v2_OpenEnded_mscoco_{split}_questions.json", {**head, "task_type": "Open-Ended", "questions": questions})
    _put_json(root / f"v2_mscoco_{split}_annotations.json", {**head, "annotations": annotations})


def icdar_line(scene: Scene) -> str:
    """One row of a gt file: four corners clockwise from the top left, then the transcript."""
    x1, y1, x2, y2 = scene.word.box
    return f"{x1},{y1},{x2},{y1},{x2},{y2},{x1},{y2},{scene.word.text}\r\n"


def llava_row(number: int, scene: Scene) -> dict[str, Any]:
    """A dialogue in LLaVA's form; `<image>` stands in the first question."""
    said = []
    for place, (question, answer) in enumerate(instruction_turns(scene, _rng(scene, 3))):
        said.append({"from": "human", "value": f"<image>\n{question}" if place == 0 else question})
        said.append({"from": "gpt", "value": answer})
    return {"id": f"{number:012d}", "image": f"{number:012d}.jpg", "conversations": said}


def pope_rows(number: int, scene: Scene) -> list[dict[str, Any]]:
    """Two rows of POPE: a shape that is there and one that is not."""
    return [
        {"question_id": 10 * number + place, "image": f"{number:012d}.jpg", "text": asked.question, "label": asked.answer}
        for place, asked in enumerate(presence_pair(scene, _rng(scene, 4)))
    ]


def reading_row(number: int, scene: Scene) -> dict[str, Any]:
    """A question about the written word."""
    asked = ask_reading(scene)
    return {"question_id": number, "image": f"{number:012d}.jpg", "question": asked.question, "answers": [asked.answer]}


def _rng(scene: Scene, purpose: int) -> np.random.Generator:
    """Random numbers of a scene's labels; each file has its own, so that changing one changes no other."""
    return np.random.default_rng([scene.seed, scene.index, purpose])


def _coco_box(box: Box) -> list[int]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _put_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _put_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
