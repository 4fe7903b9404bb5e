"""A few hand-written raw rows of every dataset family, in the layouts their authors publish."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

from PIL import Image

from model.contracts.corpus import Reject
from model.contracts.recipe import BenchmarkSpec, DatasetSpec, Recipe
from model.data.sources import SOURCES
from model.data.sources.base import RawSample

FAMILIES = ("coco_detection", "refcoco", "vqav2", "icdar_spotting", "llava", "text_dialogue", "publaynet")
"""Families whose raw files can be written without a further program."""


def picture(width_px: int, height_px: int, shade: int = 90, orientation: int = 1, kind: str = "JPEG") -> bytes:
    """The bytes of a small picture."""
    buffer = io.BytesIO()
    image = Image.new("RGB", (width_px, height_px), (shade, 120, 200))
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


def put(path: Path, content: bytes | str | Any) -> Path:
    """Write bytes, text, or anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def instances(num_pictures: int = 4) -> dict:
    """COCO keys: pictures of 80 x 40 with two cups and a table each."""
    boxes = ((1, [8, 4, 16, 8]), (1, [40, 20, 24, 16]), (2, [0, 0, 80, 40]))
    return {
        "info": {"year": 2017},
        "images": [{"id": n, "file_name": f"{n:012d}.jpg", "width": 80, "height": 40} for n in range(1, num_pictures + 1)],
        "annotations": [
            {"id": 10 * n + k, "image_id": n, "category_id": category, "bbox": box, "iscrowd": 0, "area": 1, "segmentation": []}
            for n in range(1, num_pictures + 1)
            for k, (category, box) in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "dining table"}],
    }


def write_coco(root: Path, content: dict | None = None) -> Path:
    content = content or instances()
    put(root / "annotations/instances_train.json", content)
    for number, image in enumerate(content["images"]):
        put(root / "train" / image["file_name"], picture(image["width"], image["height"], shade=number % 250))
    return root


def ref(ref_id: int, picture_id: int, ann_id: int, split: str, *sentences: str) -> dict:
    """A ref as in the published pickles; its own file name misleads."""
    said = [{"sent_id": n, "raw": s, "sent": s, "tokens": s.split()} for n, s in enumerate(sentences)]
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "category_id": 1,
        "image_id": picture_id,
        "file_name": f"COCO_train2014_{picture_id:012d}_{ref_id}.jpg",
        "split": split,
        "sent_ids": [0],
        "sentences": said,
    }


def write_refcoco(root: Path, refs: Any = None) -> Path:
    content = instances()
    put(root / "instances.json", content)
    for number, image in enumerate(content["images"]):
        put(root / "images" / image["file_name"], picture(80, 40, shade=number))
    if refs is None:
        refs = [
            ref(0, 1, 10, "train", "the left cup", "cup on the left"),
            ref(1, 1, 11, "train", "the right cup"),
            ref(2, 2, 20, "val", "the other cup"),
            ref(3, 3, 30, "train", "a cup"),
        ]
    put(root / "refs(unc).p", pickle.dumps(refs, protocol=2))
    return root


def answers(*said: str) -> list[dict]:
    return [{"answer": text, "answer_confidence": "yes", "answer_id": n} for n, text in enumerate(said, start=1)]


def write_vqav2(root: Path) -> Path:
    asked = [(7, 7000, "What is this?"), (7, 7001, "Is it red? "), (9, 9000, "How many?")]
    said = {7000: ["net"] * 4 + ["cup"] * 6, 7001: ["no", "yes", "yes", "no"], 9000: ["2"] * 10}
    put(
        root / "v2_OpenEnded_mscoco_train2014_questions.json",
        {"info": {}, "questions": [{"image_id": p, "question": q, "question_id": i} for p, i, q in asked]},
    )
    rows = [{"question_id": i, "image_id": p, "multiple_choice_answer": "?", "answers": answers(*said[i])} for p, i, _ in asked]
    put(root / "v2_mscoco_train2014_annotations.json", {"annotations": rows})
    for picture_id in (7, 9):
        put(root / "train2014" / f"COCO_train2014_{picture_id:012d}.jpg", picture(64, 48, shade=picture_id))
    return root


def write_icdar(root: Path) -> Path:
    first = "8,10,40,10,40,20,8,20,Genaxis, the theatre\r\n60,12,90,12,90,22,60,22,EXIT\r\n5,50,30,50,30,60,5,60,###\r\n"
    put(root / "gt/gt_img_1.txt", b"\xef\xbb\xbf" + first.encode())
    put(root / "gt/gt_img_2.txt", "10,10,50,10,50,20,10,20,Caf\xe9\n".encode("latin-1"))
    put(root / "images/img_1.jpg", picture(100, 80))
    put(root / "images/img_2.png", picture(80, 100, kind="PNG"))
    for name in ("img_1", "img_2"):
        put(root / f"key/{name}.json", {"company": "GENAXIS", "date": "01/02/2018", "address": "1, A ROAD", "total": "9.00"})
    return root


def write_llava(root: Path) -> Path:
    rows = [
        {
            "id": "a",
            "image": "coco/train2017/000000000001.jpg",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat is this?"},
                {"from": "gpt", "value": "A cup at [0.10,0.20,0.30,0.40]."},
                {"from": "human", "value": "Its colour?"},
                {"from": "gpt", "value": "Blue."},
            ],
        },
        {"id": "b", "conversations": [{"from": "human", "value": "Say hello."}, {"from": "gpt", "value": "Hello."}]},
    ]
    put(root / "llava_instruct.json", rows)
    put(root / "coco/train2017/000000000001.jpg", picture(50, 60))
    return root


def write_text(root: Path) -> Path:
    lines = [
        {"id": "0", "data": ["What is training?", "It means ...", "And then?", "Rest."]},
        {"id": "t0.1", "system_prompt": "You are brief.", "question": "Capital of France?", "response": "Paris."},
    ]
    put(root / "train_0.jsonl", "\n".join(json.dumps(line) for line in lines) + "\n")
    put(root / "train_1.json", [{"instruction": "Add.", "input": "1 and 2", "output": "3"}])
    return root


def write_publaynet(root: Path) -> Path:
    boxes = ((2, [10, 5, 60, 10]), (1, [10, 20, 60, 20]), (1, [10, 45, 60, 50]))
    content = {
        "images": [{"id": 5, "file_name": "PMC1_00000.jpg", "width": 80, "height": 100}],
        "annotations": [
            {"id": k, "image_id": 5, "category_id": c, "bbox": b, "iscrowd": 0, "segmentation": [[0, 0, 1, 1, 0, 1]]}
            for k, (c, b) in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "text"}, {"id": 2, "name": "title"}],
    }
    put(root / "train.json", content)
    put(root / "train/PMC1_00000.jpg", picture(80, 100))
    return root


WRITERS = dict(
    zip(
        FAMILIES,
        (write_coco, write_refcoco, write_vqav2, write_icdar, write_llava, write_text, write_publaynet),
        strict=True,
    )
)


def recipe_of(*datasets: DatasetSpec, **fields: Any) -> Recipe:
    """A recipe around some datasets."""
    asked = BenchmarkSpec(name="any", benchmark="vqav2", root="somewhere")
    return Recipe(name="test", datasets=datasets, benchmarks=(asked,), **fields)


def spec(root: Path, family: str, **fields: Any) -> DatasetSpec:
    return DatasetSpec(name=fields.pop("name", "set"), family=family, root=str(root), **fields)


def read(root: Path, family: str, padding: str = "corner", **fields: Any) -> tuple[dict[str, RawSample], list[Reject]]:
    """Samples of a reader by id, and all rejects."""
    found = list(SOURCES[family].read(spec(root, family, **fields), 0, padding))
    samples = [one for one in found if not isinstance(one, Reject)]
    rejects = [one for one in found if isinstance(one, Reject)] + [r for one in samples for r in one.left_out]
    return {one.id: one for one in samples}, rejects


def said(sample: RawSample) -> list[tuple[str, str]]:
    """Questions and answers of a sample."""
    return [(turn.question, turn.answer) for turn in sample.turns]
