"""refcoco: referring expressions of RefCOCO, RefCOCO+ and RefCOCOg.

    <root>/refs(unc).p  or  refs(umd).p  or  refs(google).p      pickled list of refs: ref_id, ann_id, image_id, split, sentences
    <root>/instances.json                                        COCO keys; its `file_name` counts, a ref's own has a suffix
    <root>/images/  or  train2014/  or  images/train2014/        pictures

Source: github.com/lichengunc/refer. A pickle can run code when it is opened: this reader admits containers, text and
numbers only and refuses everything else.

One dialogue a picture, one turn a sentence: the referring prompt, answered by one box.
"""

import io
import pickle
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from model.contracts.base import Part
from model.contracts.corpus import Reject, Turn
from model.contracts.recipe import DatasetSpec
from model.data.boxes import BoxFault, box_text
from model.data.holdout import picture_key
from model.data.prompts import referring_question
from model.data.sources.base import RawInputs, RawPicture, RawSample, Source, numbered, options_of, split_turns
from model.data.sources.coco import CocoBox, CocoFile, CocoPicture
from model.data.sources.files import find_file, find_folder, open_stream, stay_inside
from model.errors import DataError

MAX_PICKLE_BYTES = 1 << 30


class RefcocoOptions(Part):
    """Settings of the reader."""

    refs: str = ""
    """Name of the pickle below the root; by default unc, else umd, else google."""
    images: str = ""
    """Folder of pictures below the root, where its name is not the layout's."""
    excluded_refs: str = ""
    """Further pickles, comma-separated paths below the root: pictures that they hold for validation or test are left out.
    The train pictures of one of the three sets hold test pictures of another."""
    max_turns: int = Field(default=0, ge=0)
    """Most sentences of one sample, a picture with more gives several; 0 for no limit."""


class _DataOnly(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if module_name in ("builtins", "__builtin__") and global_name in ("set", "frozenset"):
            return {"set": set, "frozenset": frozenset}[global_name]
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def read_refs(uri: str) -> list[Any]:
    """The refs of a pickle, without running anything in it.

    Raises:
        DataError: the file is no pickled list, asks for code, or is larger than 1 GiB.
    """
    with open_stream(uri) as stream:
        data = stream.read(MAX_PICKLE_BYTES + 1)
    if len(data) > MAX_PICKLE_BYTES:
        raise DataError(f"{uri} is larger than {MAX_PICKLE_BYTES >> 20} MiB; refs files have some 50 MiB, check the file.")
    try:
        refs = _DataOnly(io.BytesIO(data), encoding="latin-1").load()
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{uri} is no pickled list of refs: {str(error)[:160]}; download it again.") from error
    if not isinstance(refs, list):
        raise DataError(f"{uri} holds a {type(refs).__name__} and no list of refs; download it again.")
    return refs


def _inputs(spec: DatasetSpec) -> RawInputs:
    options = options_of(spec, RefcocoOptions)
    names = (options.refs,) if options.refs else ("refs(unc).p", "refs(umd).p", "refs(google).p")
    folders = (options.images,) if options.images else ("images/train2014", "train2014", "images")
    excluded = [name.strip() for name in options.excluded_refs.split(",") if name.strip()]
    return RawInputs(
        annotations=(
            find_file(spec.root, names, "refs file"),
            find_file(spec.root, ("instances.json",), "annotation file"),
            *(find_file(spec.root, (name,), "excluded refs file") for name in excluded),
        ),
        pictures=find_folder(spec.root, folders, "pictures"),
    )


def _read(spec: DatasetSpec, _seed: int, padding: str) -> Iterator[RawSample | Reject]:
    options = options_of(spec, RefcocoOptions)
    inputs = _inputs(spec)
    refs_uri, instances_uri, *excluded_uris = inputs.annotations
    refs_by_picture: dict[int, list[dict]] = {}
    held_by_others: set[int] = set()
    for uri in excluded_uris:
        held_by_others |= {ref["image_id"] for ref in read_refs(uri) if isinstance(ref, dict) and ref.get("split") != "train"}
    for number, ref in enumerate(read_refs(refs_uri)):
        if not _is_ref(ref):
            yield Reject(id=f"ref {number}", reason="malformed row", detail=str(ref)[:120], kind="part")
        elif ref["split"] == spec.split:
            refs_by_picture.setdefault(ref["image_id"], []).append(ref)
    file = CocoFile(instances_uri)
    for picture in file.pictures():
        refs = refs_by_picture.pop(picture.id, [])
        if refs and picture.id in held_by_others:
            yield Reject(id=str(picture.id), reason="held for test by another set", kind="rule")
        elif refs:
            yield from _picture_samples(picture, refs, inputs.pictures, options, padding)
    for picture_id in sorted(refs_by_picture):
        yield Reject(id=str(picture_id), reason="picture not listed", detail=f"image {picture_id} of a ref")
    yield from file.faults


def _is_ref(ref: Any) -> bool:
    if not isinstance(ref, dict) or not isinstance(ref.get("split"), str) or not isinstance(ref.get("sentences"), list):
        return False
    return isinstance(ref.get("image_id"), int) and isinstance(ref.get("ann_id"), int)


def _picture_samples(
    picture: CocoPicture, refs: list[dict], folder: str, options: RefcocoOptions, padding: str
) -> Iterator[RawSample | Reject]:
    if (uri := stay_inside(folder, picture.file)) is None:
        yield Reject(id=str(picture.id), reason="picture path leaves its folder", detail=picture.file)
        return
    boxes = {box.id: box for box in picture.boxes}
    turns: list[tuple[Turn, int]] = []
    left_out: list[Reject] = []
    for ref in refs:
        where = f"{picture.id}/ref {ref.get('ref_id')}"
        answer = _answer(boxes.get(ref["ann_id"]), picture, padding, where)
        if isinstance(answer, Reject):
            left_out.append(answer)
            continue
        for sentence in ref["sentences"]:
            text = sentence.get("sent") if isinstance(sentence, dict) else None
            if not isinstance(text, str) or not text.strip():
                left_out.append(Reject(id=where, reason="empty sentence", detail=str(sentence)[:120], kind="part"))
                continue
            turns.append((Turn(question=referring_question(" ".join(text.split())), answer=answer), 1))
    if not turns:
        yield from left_out
        yield Reject(id=str(picture.id), reason="no sentence left", detail=f"of {len(refs)} refs")
        return
    shown = RawPicture(key=picture_key(picture.file), uri=uri, annotated_px=(picture.width_px, picture.height_px))
    for sample_id, part, num_sentences in numbered(str(picture.id), split_turns(turns, options.max_turns, 0)):
        yield RawSample(sample_id, "grounding", (shown,), part, num_sentences, tuple(left_out))
        left_out = []


def _answer(box: CocoBox | None, picture: CocoPicture, padding: str, where: str) -> str | Reject:
    if box is None:
        return Reject(id=where, reason="annotation not listed", kind="part")
    if box.crowd:
        return Reject(id=where, reason="crowd box", kind="rule")
    try:
        return box_text(box.box_px, picture.width_px, picture.height_px, padding)
    except BoxFault as fault:
        return Reject(id=where, reason=fault.reason, detail=fault.detail, kind="rule" if fault.by_rule else "part")


SOURCE = Source(
    name="refcoco",
    summary="referring expressions with a box each: RefCOCO, RefCOCO+, RefCOCOg (refs pickle and instances.json)",
    version=1,
    options=RefcocoOptions,
    inputs=_inputs,
    read=_read,
)
