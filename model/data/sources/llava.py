"""llava: instructions about pictures in LLaVA's form; LLaVA-Instruct-150K, LVIS-Instruct4V, ShareGPT4V, LLaVAR.

    <root>/<file>.json  or  .jsonl       [{"id", "image": "coco/train2017/000000033471.jpg", "conversations": [{"from", "value"}]}]
    <root>/  or  images/                 pictures by `image`; rows without it are text only

The file is `annotations` of the options, else `<split>.json`, else the only JSON file of the root. Source:
huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K.

Turns as given, `<image>` taken out. Boxes within the text stay as they are: LLaVA's own mix measures them on a
centre-padded square, so use `padding: centre` with it, or a file that was converted.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from model.contracts.base import Part
from model.contracts.corpus import Reject
from model.contracts.recipe import DatasetSpec
from model.data.holdout import picture_key
from model.data.sources.base import RawInputs, RawPicture, RawSample, Source, numbered, options_of, split_turns
from model.data.sources.conversations import RowFault, turns_of
from model.data.sources.files import find_file, find_folder, json_lines, json_rows, list_top, stay_inside
from model.errors import DataError


class LlavaOptions(Part):
    """Settings of the reader."""

    annotations: str = ""
    """Annotation file below the root, where there are several."""
    images: str = ""
    """Folder below the root that `image` is relative to; default `images` where it exists, else the root."""
    max_turns: int = Field(default=0, ge=0)
    """Most turns of one sample, a longer dialogue gives several; 0 for no limit."""


def _inputs(spec: DatasetSpec) -> RawInputs:
    options = options_of(spec, LlavaOptions)
    folder = find_folder(spec.root, (options.images,) if options.images else ("images", ""), "pictures")
    if options.annotations:
        return RawInputs((find_file(spec.root, (options.annotations,), "annotation file"),), folder)
    names = [name for name in list_top(spec.root) if name.endswith((".json", ".jsonl"))]
    names = [name for name in names if name.rsplit(".", 1)[0] == spec.split] or names
    if len(names) != 1:
        found = f"there are {', '.join(names[:5])}" if names else "there is no .json or .jsonl"
        raise DataError(f"which file of {spec.root} is to be read? {found}; name it as `annotations` in options.")
    return RawInputs((find_file(spec.root, names, "annotation file"),), folder)


def _read(spec: DatasetSpec, _seed: int, _padding: str) -> Iterator[RawSample | Reject]:
    options = options_of(spec, LlavaOptions)
    inputs = _inputs(spec)
    for number, row in rows_of_file(inputs.annotations[0]):
        # `id` is not unique in the published files (one a picture and kind of dialogue), the row's number is.
        given = str(row.get("id", ""))[:80] if isinstance(row, dict) else ""
        row_id = f"{number:07d}" + (f".{given}" if given else "")
        try:
            turns = turns_of(row)
            pictures = _pictures(row.get("image"), inputs.pictures)
        except RowFault as fault:
            yield Reject(id=row_id, reason=fault.reason, detail=fault.detail)
            continue
        parts = split_turns([(turn, 1) for turn in turns], options.max_turns, 0)
        for sample_id, part, num_turns in numbered(row_id, parts):
            yield RawSample(sample_id, "instruction", pictures, part, num_turns)


def rows_of_file(uri: str) -> Iterator[tuple[int, Any]]:
    """Number and content of each row of a JSON list or a JSONL file; `MALFORMED` for a line that is no JSON."""
    if uri.endswith(".jsonl"):
        yield from json_lines(uri)
        return
    for number, (key, row) in enumerate(json_rows(uri)):
        if key:
            raise DataError(f"{uri} begins with an object, not with a list of rows; check that it is the dataset's file.")
        yield number, row


def _pictures(image: Any, folder: str) -> tuple[RawPicture, ...]:
    names = image if isinstance(image, list) else [image] if image not in (None, "") else []
    pictures = []
    for name in names:
        uri = stay_inside(folder, name) if isinstance(name, str) else None
        if uri is None:
            raise RowFault("picture path leaves its folder", str(name)[:120])
        pictures.append(RawPicture(key=picture_key(name), uri=uri))
    return tuple(pictures)


SOURCE = Source(
    name="llava",
    summary="dialogues about pictures in LLaVA's JSON: LLaVA-Instruct-150K, LVIS-Instruct4V, ShareGPT4V, LLaVAR",
    version=1,
    options=LlavaOptions,
    inputs=_inputs,
    read=_read,
)
