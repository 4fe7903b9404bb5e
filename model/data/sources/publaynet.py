"""publaynet: pages with boxes and polygons of layout regions, in COCO's keys (PubLayNet; also M6Doc and DocLayNet files).

    <root>/<split>.json  or  instances_<split>.json  or  instances.json        COCO keys; `segmentation` is not used
    <root>/<split>/  or  images/<split>/  or  images/                          page pictures by `file_name`

Source: github.com/ibm-aur-nlp/PubLayNet. Class names come from the file, never from fixed ids.

One sample a page: `Detect the layout of the document in the image.`, all regions by class. A page of more regions than
`max_boxes` gives several samples, each about a horizontal band of the page, which its question names.
"""

from collections.abc import Iterator

from model.contracts.corpus import Reject, Turn
from model.contracts.recipe import DatasetSpec
from model.data.bands import Line, bands
from model.data.boxes import parse_boxes
from model.data.holdout import picture_key
from model.data.prompts import LAYOUT, LAYOUT_IN, layout_answer
from model.data.sources.base import RawInputs, RawPicture, RawSample, Source, options_of
from model.data.sources.coco import CocoFile, CocoPicture, boxes_by_class
from model.data.sources.coco_detection import CocoOptions, coco_inputs
from model.data.sources.files import stay_inside


def _inputs(spec: DatasetSpec) -> RawInputs:
    stems = (spec.split, f"instances_{spec.split}", f"labels/{spec.split}", f"annotations/instances_{spec.split}", "instances")
    return coco_inputs(spec, options_of(spec, CocoOptions), tuple(f"{stem}.json" for stem in stems))


def _read(spec: DatasetSpec, _seed: int, padding: str) -> Iterator[RawSample | Reject]:
    options = options_of(spec, CocoOptions)
    inputs = _inputs(spec)
    file = CocoFile(inputs.annotations[0])
    for picture in file.pictures():
        yield from _page_samples(picture, file, inputs.pictures, options, padding)
    yield from file.faults


def _page_samples(
    picture: CocoPicture, file: CocoFile, folder: str, options: CocoOptions, padding: str
) -> Iterator[RawSample | Reject]:
    uri = stay_inside(folder, picture.file)
    if uri is None:
        yield Reject(id=str(picture.id), reason="picture path leaves its folder", detail=picture.file)
        return
    boxes, left_out = boxes_by_class(picture, file.class_names, padding)
    regions = [Line(name, numbers, parse_boxes(f"[{numbers}]")[0]) for name, texts in boxes.items() for numbers in texts]
    if not regions:
        yield from left_out
        kind = "sample" if any(reject.kind == "part" for reject in left_out) else "rule"
        yield Reject(id=str(picture.id), reason="no box left", detail=f"of {len(picture.boxes)}", kind=kind)
        return
    shown = RawPicture(key=picture_key(picture.file), uri=uri, annotated_px=(picture.width_px, picture.height_px))
    for number, (area, band) in enumerate(bands(regions, options.max_boxes)):
        by_class: dict[str, list[str]] = {}
        for region in band:
            by_class.setdefault(region.text, []).append(region.numbers)
        turn = Turn(question=LAYOUT_IN.format(area) if area else LAYOUT, answer=layout_answer(by_class))
        sample_id = f"{picture.id}-{number}" if number else str(picture.id)
        yield RawSample(sample_id, "layout", (shown,), (turn,), len(band), tuple(left_out))
        left_out = []


SOURCE = Source(
    name="publaynet",
    summary="pages with layout regions in COCO's keys: PubLayNet, M6Doc, DocLayNet",
    version=1,
    options=CocoOptions,
    inputs=_inputs,
    read=_read,
)
