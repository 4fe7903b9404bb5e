"""refcoco: the box of what a sentence describes; RefCOCO, RefCOCO+, RefCOCOg. Layout as in `model/data/sources/refcoco.py`.

One question a sentence (as the official evaluations count), with the prompt of SPHINX's suite. True boxes are those of
instances.json, not rounded to the two decimals that answers have. Splits: val, testA, testB (RefCOCO, +), val, test (RefCOCOg).
"""

from collections.abc import Iterator
from typing import Any

from model.contracts.corpus import Reject
from model.data.boxes import BoxFault, place_box
from model.data.holdout import picture_key
from model.data.prompts import referring_question
from model.data.sources import check_dataset
from model.data.sources.base import RawPicture
from model.data.sources.coco import CocoFile, CocoPicture
from model.data.sources.files import stay_inside
from model.data.sources.refcoco import read_refs
from model.evaluate.benchmarks.base import Request, answer_numbers
from model.evaluate.questions import Question


def read(request: Request) -> Iterator[Question | Reject]:
    """Questions in the order of instances.json, then of the refs."""
    dataset = request.source_dataset
    inputs = check_dataset(dataset)
    refs_by_picture: dict[int, list[dict]] = {}
    for number, ref in enumerate(read_refs(inputs.annotations[0])):
        if not _is_ref(ref):
            yield Reject(id=f"ref {number}", reason="malformed row", detail=str(ref)[:120], kind="part")
        elif ref["split"] == dataset.split:
            refs_by_picture.setdefault(ref["image_id"], []).append(ref)
    for picture in CocoFile(inputs.annotations[1]).pictures():
        refs = refs_by_picture.pop(picture.id, [])
        if refs and request.asks_about(picture_key(picture.file)):
            yield from _about_picture(picture, refs, inputs.pictures, request)
    for picture_id, refs in sorted(refs_by_picture.items()):
        yield Reject(
            id=str(picture_id), reason="picture not listed", detail=f"image {picture_id} of {len(refs)} refs", kind="part"
        )


def _is_ref(ref: Any) -> bool:
    if not isinstance(ref, dict) or not isinstance(ref.get("split"), str) or not isinstance(ref.get("sentences"), list):
        return False
    return all(isinstance(ref.get(field), int) for field in ("image_id", "ann_id"))


def _about_picture(picture: CocoPicture, refs: list[dict], folder: str, request: Request) -> Iterator[Question | Reject]:
    uri = stay_inside(folder, picture.file)
    if uri is None:
        yield Reject(id=str(picture.id), reason="picture path leaves its folder", detail=picture.file, kind="part")
        return
    size_px = (picture.width_px, picture.height_px)
    shown = RawPicture(key=picture_key(picture.file), uri=uri, annotated_px=size_px)
    boxes = {box.id: box for box in picture.boxes}
    for number, ref in enumerate(refs):
        ref_id = f"{picture.id}-{ref.get('ref_id', f'number-{number}')}"
        box = boxes.get(ref["ann_id"])
        try:
            placed = None if box is None else place_box(box.box_px, *size_px, "corner")
        except BoxFault as fault:
            yield Reject(id=ref_id, reason=fault.reason, detail=fault.detail, kind="rule" if fault.by_rule else "part")
            continue
        if placed is None:
            yield Reject(id=ref_id, reason="annotation not listed", detail=str(ref["ann_id"]), kind="part")
            continue
        origin = request.origin(*size_px)
        for place, sentence in enumerate(ref["sentences"]):
            words = sentence.get("sent") if isinstance(sentence, dict) else None
            if not isinstance(words, str) or not words.strip():
                yield Reject(id=f"{ref_id}-{place}", reason="empty sentence", detail=str(sentence)[:120], kind="part")
                continue
            yield Question(
                id=f"{ref_id}-{place}",
                picture=shown,
                prompt=referring_question(" ".join(words.split())),
                expected=(f"[{answer_numbers(placed, origin)}]",),
                expected_boxes=(placed,),
                origin=origin,
            )
