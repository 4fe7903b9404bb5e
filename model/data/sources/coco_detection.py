"""coco_detection: COCO instances, and the sets that took over its keys (LVIS, V3Det, Objects365).

    <root>/instances_<split>.json  or  annotations/instances_<split>.json      {"images": [...], "annotations": [...], "categories": [...]}
    <root>/images/  or  <split>/  or  images/<split>/                          pictures by `file_name`

`bbox` is x, y, width, height in pixels from the top-left corner. Source: cocodataset.org/#format-data.

One dialogue a picture, one turn a class: `Detect all {class} shown in the image.` with all its boxes. A picture without
any box gives no sample, and never the answer "nothing".
"""

from collections.abc import Iterator

from pydantic import Field

from model.contracts.base import Part
from model.contracts.corpus import Reject, Turn
from model.contracts.recipe import DatasetSpec
from model.data.holdout import picture_key
from model.data.prompts import detection_answer, detection_question
from model.data.sources.base import RawInputs, RawPicture, RawSample, Source, numbered, options_of, split_turns
from model.data.sources.coco import CocoFile, CocoPicture, boxes_by_class
from model.data.sources.files import find_file, find_folder, stay_inside


class CocoOptions(Part):
    """Settings of COCO-like readers."""

    annotations: str = ""
    """Annotation file below the root, where its name is not the layout's."""
    images: str = ""
    """Folder of pictures below the root, where its name is not the layout's; `.` is the root."""
    max_boxes: int = Field(default=60, ge=1)
    """Most boxes of one class in an answer, a class with more is left out; also the most boxes of one sample, a picture
    with more gives several samples."""
    max_turns: int = Field(default=0, ge=0)
    """Most questions of one sample, a picture with more gives several; 0 for no limit."""


def coco_inputs(spec: DatasetSpec, options: CocoOptions, names: tuple[str, ...]) -> RawInputs:
    """The annotation file and the folder of pictures, by option or by the layout's names."""
    files = (options.annotations,) if options.annotations else names
    split = spec.split
    folders = (
        (options.images,) if options.images else (f"images/{split}", split, "images", f"{split}2017", f"images/{split}2017")
    )
    return RawInputs(
        annotations=(find_file(spec.root, files, "annotation file"),), pictures=find_folder(spec.root, folders, "pictures")
    )


def _inputs(spec: DatasetSpec) -> RawInputs:
    names = (
        f"instances_{spec.split}.json",
        f"annotations/instances_{spec.split}.json",
        f"annotations/instances_{spec.split}2017.json",
    )
    return coco_inputs(spec, options_of(spec, CocoOptions), names)


def _read(spec: DatasetSpec, _seed: int, padding: str) -> Iterator[RawSample | Reject]:
    options = options_of(spec, CocoOptions)
    inputs = _inputs(spec)
    file = CocoFile(inputs.annotations[0])
    for picture in file.pictures():
        yield from _picture_samples(picture, file, inputs.pictures, options, padding)
    yield from file.faults


def _picture_samples(
    picture: CocoPicture, file: CocoFile, folder: str, options: CocoOptions, padding: str
) -> Iterator[RawSample | Reject]:
    if not picture.boxes:
        yield Reject(id=str(picture.id), reason="picture without annotation", kind="rule")
        return
    if (uri := stay_inside(folder, picture.file)) is None:
        yield Reject(id=str(picture.id), reason="picture path leaves its folder", detail=picture.file)
        return
    boxes, left_out = boxes_by_class(picture, file.class_names, padding)
    for name in [name for name, texts in boxes.items() if len(texts) > options.max_boxes]:
        detail = f"{len(boxes.pop(name))} {name}, at most {options.max_boxes} are asked for (max_boxes)"
        left_out.append(Reject(id=str(picture.id), reason="too many boxes of a class", detail=detail, kind="rule"))
    if not boxes:
        yield from left_out
        kind = "sample" if any(reject.kind == "part" for reject in left_out) else "rule"
        yield Reject(id=str(picture.id), reason="no box left", detail=f"of {len(picture.boxes)}", kind=kind)
        return
    shown = RawPicture(key=picture_key(picture.file), uri=uri, annotated_px=(picture.width_px, picture.height_px))
    turns = [
        (Turn(question=detection_question(name), answer=detection_answer(name, texts)), len(texts))
        for name, texts in boxes.items()
    ]
    parts = split_turns(turns, options.max_turns, options.max_boxes)
    for sample_id, part, num_boxes in numbered(str(picture.id), parts):
        yield RawSample(sample_id, "detection", (shown,), part, num_boxes, tuple(left_out))
        left_out = []


SOURCE = Source(
    name="coco_detection",
    summary="COCO instances and the sets with its keys: boxes of every class in a picture",
    version=1,
    options=CocoOptions,
    inputs=_inputs,
    read=_read,
)
