"""Finding everything: F1 of boxes at IoU 0.5, for "Detect all ..." and for the layout of a page; and of texts with their boxes.

A generated answer has no confidences, so COCO's average precision is not defined for it. The score is ours: each answer's
F1 = 2 TP / (2 TP + FP + FN), averaged over questions. An answer's boxes are matched to true ones one to one, the best overlap first,
at IoU >= 0.5; where labels are asked for they must be equal. Precision, recall and F1 over all boxes together are further figures.

For texts (spotting) this is the end-to-end rule of ICDAR 2015 (rrc.cvc.uab.es, challenge 4, task 4) without its lexicons and on
upright boxes: IoU >= 0.5 and the same transcript, case aside.
"""

from collections.abc import Callable, Sequence

from model.contracts.evaluation import Box, Prediction
from model.evaluate.scores.base import Asked, Metric, Verdict
from model.evaluate.scores.box_accuracy import in_picture, iou, overlaps
from model.evaluate.scores.labelled import parse_labelled_boxes


def count_matches(boxes: Sequence[Box], labels: Sequence[str], true_boxes: Sequence[Box], true_labels: Sequence[str]) -> int:
    """Pairs of a box and a true box that overlap by half, each used once; without `true_labels` labels do not matter."""
    pairs = [
        (-iou(box, true), place, true_place)
        for place, box in enumerate(boxes)
        for true_place, true in enumerate(true_boxes)
        if overlaps(box, true) and (not true_labels or labels[place].casefold() == true_labels[true_place].casefold())
    ]
    used: set[int] = set()
    used_true: set[int] = set()
    for _, place, true_place in sorted(pairs):
        if place not in used and true_place not in used_true:
            used.add(place)
            used_true.add(true_place)
    return len(used)


def _judge(counted: bool) -> Callable[[str, Asked], Verdict]:
    def judge(answer: str, asked: Asked) -> Verdict:
        listed = parse_labelled_boxes(answer, counted)
        boxes = tuple(in_picture(box, asked.origin) for _, box in listed)
        labels = tuple(label for label, _ in listed)
        true = count_matches(boxes, labels, asked.expected_boxes, asked.expected_labels)
        score = 2 * true / (len(boxes) + len(asked.expected_boxes))
        return Verdict(score, f"{len(boxes)} boxes" if boxes else None, boxes, labels)

    return judge


def further(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Precision, recall and F1 over all boxes of all answers."""
    true = sum(count_matches(one.boxes, one.labels, one.expected_boxes, one.expected_labels) for one in predictions)
    found = sum(len(one.boxes) for one in predictions)
    wanted = sum(len(one.expected_boxes) for one in predictions)
    return {
        "precision": true / found if found else 0.0,
        "recall": true / wanted if wanted else 0.0,
        "f1": 2 * true / (found + wanted) if found + wanted else 0.0,
    }


DETECTION = Metric("detection", "mean F1 of boxes at IoU 0.5", _judge(counted=True), further)
SPOTTING = Metric("spotting", "mean F1 of texts with boxes at IoU 0.5", _judge(counted=False), further)
