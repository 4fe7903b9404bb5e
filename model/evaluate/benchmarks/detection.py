"""detection: all boxes of a class ("Detect all cup shown in the image."), or all regions of a page with their classes.

Layouts as in `model/data/sources/coco_detection.py` and `publaynet.py`: official files with the option `family`, or held-out
pictures of a dataset of either family. Only classes that a picture holds are asked about, as in training; a class with a crowd, one
that is not labelled throughout, and one of more than `max_boxes` are left out. True boxes are not rounded to two decimals.
"""

from collections.abc import Iterator
from typing import Literal

from model.contracts.corpus import Reject
from model.contracts.evaluation import Box
from model.data.boxes import BoxFault, place_box
from model.data.holdout import picture_key
from model.data.prompts import LAYOUT, detection_answer, detection_question, layout_answer
from model.data.sources import check_dataset
from model.data.sources.base import RawPicture, options_of
from model.data.sources.coco import CocoFile, CocoPicture
from model.data.sources.coco_detection import CocoOptions
from model.data.sources.files import stay_inside
from model.evaluate.benchmarks.base import BenchmarkOptions, Request, answer_numbers
from model.evaluate.questions import Question

MAX_CLASS_GROUPS = 20
"""With more classes than this, scores are not broken down by class."""


class DetectionOptions(BenchmarkOptions):
    """Settings of the benchmark."""

    family: Literal["coco_detection", "publaynet"] = "coco_detection"
    """Layout of the official files below root: publaynet asks for the layout of whole pages."""


def read(request: Request) -> Iterator[Question | Reject]:
    """Questions in the order of the annotation file, classes by name."""
    dataset = request.source_dataset
    inputs = check_dataset(dataset)
    max_boxes = options_of(dataset, CocoOptions).max_boxes
    file = CocoFile(inputs.annotations[0])
    grouped = dataset.family == "coco_detection" and len(file.class_names) <= MAX_CLASS_GROUPS
    for picture in file.pictures():
        if not request.asks_about(picture_key(picture.file)):
            continue
        if (uri := stay_inside(inputs.pictures, picture.file)) is None:
            yield Reject(id=str(picture.id), reason="picture path leaves its folder", detail=picture.file, kind="part")
            continue
        boxes, left_out = _boxes_by_class(picture, file.class_names)
        yield from left_out
        size_px = (picture.width_px, picture.height_px)
        shown = RawPicture(key=picture_key(picture.file), uri=uri, annotated_px=size_px)
        origin = request.origin(*size_px)
        asked = _page_question if dataset.family == "publaynet" else _class_questions
        yield from asked(str(picture.id), shown, boxes, origin, max_boxes, grouped)
    if request.spec.held_out_of is None:
        yield from file.faults


def _class_questions(
    picture_id: str,
    shown: RawPicture,
    boxes: dict[str, list[Box]],
    origin: tuple[float, float],
    max_boxes: int,
    grouped: bool,
) -> Iterator[Question | Reject]:
    for name, of_class in boxes.items():
        if len(of_class) > max_boxes:
            yield _too_many(f"{picture_id}-{name}", len(of_class), max_boxes)
            continue
        yield Question(
            id=f"{picture_id}-{name}",
            picture=shown,
            prompt=detection_question(name),
            expected=(detection_answer(name, [answer_numbers(box, origin) for box in of_class]),),
            group=name if grouped else "all",
            expected_boxes=tuple(of_class),
            origin=origin,
        )


def _page_question(
    picture_id: str,
    shown: RawPicture,
    boxes: dict[str, list[Box]],
    origin: tuple[float, float],
    max_boxes: int,
    grouped: bool,
) -> Iterator[Question | Reject]:
    num_boxes = sum(map(len, boxes.values()))
    if num_boxes == 0 or num_boxes > max_boxes:
        yield _too_many(picture_id, num_boxes, max_boxes)
        return
    labelled = [(name, box) for name, of_class in boxes.items() for box in of_class]
    yield Question(
        id=picture_id,
        picture=shown,
        prompt=LAYOUT,
        expected=(
            layout_answer({name: [answer_numbers(box, origin) for box in of_class] for name, of_class in boxes.items()}),
        ),
        expected_boxes=tuple(box for _, box in labelled),
        expected_labels=tuple(name for name, _ in labelled),
        origin=origin,
    )


def _boxes_by_class(picture: CocoPicture, class_names: dict[int, str]) -> tuple[dict[str, list[Box]], list[Reject]]:
    """Exact boxes as fractions of the picture's longest edge, by class, from top to bottom; and what was left out."""
    incomplete = {box.category_id for box in picture.boxes if box.crowd} | picture.not_exhaustive
    found: dict[str, list[Box]] = {}
    left_out: list[Reject] = []
    for box in picture.boxes:
        where = f"{picture.id}/annotation {box.id}"
        name = class_names.get(box.category_id)
        if name is None:
            left_out.append(Reject(id=where, reason="unknown class", detail=f"category {box.category_id}", kind="part"))
        elif box.category_id in incomplete:
            left_out.append(Reject(id=where, reason="class not complete in the picture", detail=name, kind="rule"))
        else:
            try:
                placed = place_box(box.box_px, picture.width_px, picture.height_px, "corner")
            except BoxFault as fault:
                kind = "rule" if fault.by_rule else "part"
                left_out.append(Reject(id=where, reason=fault.reason, detail=fault.detail, kind=kind))
                continue
            if placed not in found.setdefault(name, []):
                found[name].append(placed)
    return {name: sorted(boxes, key=lambda box: (box[1], box[0])) for name, boxes in sorted(found.items())}, left_out


def _too_many(where: str, num_boxes: int, max_boxes: int) -> Reject:
    if num_boxes == 0:
        return Reject(id=where, reason="picture without boxes", kind="rule")
    return Reject(id=where, reason="too many boxes", detail=f"{num_boxes}, at most {max_boxes} (max_boxes)", kind="rule")
