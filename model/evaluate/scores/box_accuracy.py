"""Box accuracy: the share of expressions whose box overlaps the true one by at least half (IoU >= 0.5), RefCOCO's metric.

Official: github.com/lichengunc/refer and every paper on it; boxes in pixels of the picture, x2 and y2 exclusive. IoU does not
change with scale, so boxes are compared as fractions of the picture's longest edge. An answer's boxes are measured in the padded
square; `origin` leads from there to the picture. SPHINX's suite (LLaMA2-Accessory, accessory/eval_mm/evaluate.py, miou0.5) reads
the first pair of brackets and nothing else, and rounds the padding down to whole pixels: there `origin` is rounded by the reader.
"""

import math
import re

from model.contracts.evaluation import Box
from model.data.boxes import parse_boxes
from model.evaluate.scores.base import Asked, Metric, Verdict

THRESHOLD = 0.5
_ROUNDING = 1e-9
"""An overlap of exactly one half stays one half after scaling."""
_BRACKETS = re.compile(r"\[(.*?)\]")


def iou(first: Box, second: Box) -> float:
    """Intersection over union; 0 where either has no area."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (sum(areas) - width * height)


def overlaps(first: Box, second: Box) -> bool:
    """Whether IoU is at least one half."""
    return iou(first, second) >= THRESHOLD - _ROUNDING


def in_picture(box: Box, origin: tuple[float, float]) -> Box:
    """A box of an answer, moved from the padded square to the picture."""
    return box[0] - origin[0], box[1] - origin[1], box[2] - origin[0], box[3] - origin[1]


def official(answer: str, asked: Asked) -> Verdict:
    """The first box in the answer counts, wherever it stands."""
    return _verdict(next(iter(parse_boxes(answer)), None), asked)


def sphinx(answer: str, asked: Asked) -> Verdict:
    """The first brackets must hold four numbers and commas; anything else is the empty box."""
    found = _BRACKETS.search(answer)
    parts = (found.group(1) if found else answer.split("]")[0]).split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        return _verdict(None, asked)
    return _verdict((numbers[0], numbers[1], numbers[2], numbers[3]), asked)


def _verdict(box: Box | None, asked: Asked) -> Verdict:
    if box is None:
        return Verdict(0.0, None)
    placed = in_picture(box, asked.origin)
    parsed = "[" + ",".join(f"{side:g}" for side in box) + "]"
    return Verdict(float(overlaps(placed, asked.expected_boxes[0])), parsed, (placed,))


BOX_ACCURACY = Metric("box_accuracy", "accuracy at IoU 0.5 (official: RefCOCO)", official)
BOX_ACCURACY_SPHINX = Metric("box_accuracy_sphinx", "accuracy at IoU 0.5 (parsed as in SPHINX's suite)", sphinx)
