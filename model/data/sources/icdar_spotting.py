"""icdar_spotting: pictures with the text of every line or word and its four corners; ICDAR 2015, SROIE 2019.

    <root>/gt/gt_<id>.txt        a line a text: x1,y1,x2,y2,x3,y3,x4,y4,transcript; the transcript may hold commas, ### = do not care
    <root>/images/<id>.jpg       any picture format; ICDAR 2015's own folder names are known too
    <root>/key/<id>.json         with the option key_fields (SROIE): {"company", "date", "address", "total"}

Source: rrc.cvc.uab.es (challenges 4 of 2015 and 13 of 2019). Files are UTF-8, with a byte order mark or not, or Latin-1.

One sample a picture: the key fields as short questions, then the spotting prompt with all texts in reading order, each with
the box around its corners. With `max_lines` a picture of more lines gives several samples, each about a band of the picture.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from model import storage
from model.contracts.base import Part
from model.contracts.corpus import Reject, Turn
from model.contracts.recipe import DatasetSpec
from model.data.bands import Line, bands
from model.data.boxes import BoxFault, box_numbers, parse_boxes
from model.data.holdout import picture_key
from model.data.pictures import MAX_PICTURE_BYTES, PictureFault, picture_frames
from model.data.prompts import KEY_FIELDS, SPOTTING, SPOTTING_IN, short_question, spotting_answer
from model.data.sources.base import RawInputs, RawPicture, RawSample, Source, options_of
from model.data.sources.files import decode_text, find_folder, list_top, read_small

DO_NOT_CARE = "###"
_PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_CORNERS = re.compile(r"\s*" + r"\s*,\s*".join([r"(-?\d{1,7}(?:\.\d{1,6})?)"] * 8) + r"\s*,(.*)", re.DOTALL)


class IcdarOptions(Part):
    """Settings of the reader."""

    gt: str = ""
    """Folder of gt_<id>.txt below the root, where its name is not the layout's; `.` is the root."""
    images: str = ""
    """Folder of pictures below the root, where its name is not the layout's."""
    key_fields: bool = False
    """Also ask for the key fields of `key/<id>.json` (SROIE)."""
    max_lines: int = Field(default=0, ge=0)
    """Most lines of one answer; 0 for no limit."""


def read_lines(data: bytes) -> tuple[list[tuple[list[tuple[float, float]], str]], list[str], bool]:
    """The texts of a gt file.

    Returns:
        (corners, transcript) of each text, the lines that are no such row, and whether the file was UTF-8.
    """
    text, is_utf8 = decode_text(data)
    rows: list[tuple[list[tuple[float, float]], str]] = []
    malformed: list[str] = []
    for line in re.split(r"\r\n|\n|\r", text):
        if not line.strip():
            continue
        if (found := _CORNERS.fullmatch(line)) is None:
            malformed.append(line)
            continue
        numbers = [float(number) for number in found.groups()[:8]]
        rows.append((list(zip(numbers[::2], numbers[1::2], strict=True)), " ".join(found.group(9).split())))
    return rows, malformed, is_utf8


def _folders(spec: DatasetSpec, options: IcdarOptions) -> tuple[str, str, str]:
    """URIs of the folders of ground truth, pictures and, if they are asked for, keys."""
    train = spec.split == "train"
    texts = "ch4_training_localization_transcription_gt" if train else "Challenge4_Test_Task4_GT"
    pictures = "ch4_training_images" if train else "ch4_test_images"
    gt_names = (options.gt,) if options.gt else (f"{spec.split}/gt", "gt", texts)
    picture_names = (options.images,) if options.images else (f"{spec.split}/images", "images", pictures)
    keys = find_folder(spec.root, (f"{spec.split}/key", "key"), "key files") if options.key_fields else ""
    return find_folder(spec.root, gt_names, "gt files"), find_folder(spec.root, picture_names, "pictures"), keys


def _inputs(spec: DatasetSpec) -> RawInputs:
    gt, pictures, keys = _folders(spec, options_of(spec, IcdarOptions))
    files = [f"{gt}/{name}" for name in list_top(gt) if _id_of(name)]
    files += [f"{keys}/{name}" for name in list_top(keys)] if keys else []
    return RawInputs(tuple(files), pictures)


def _id_of(name: str) -> str:
    return name[3:-4] if name.startswith("gt_") and name.endswith(".txt") else ""


def _read(spec: DatasetSpec, _seed: int, padding: str) -> Iterator[RawSample | Reject]:
    options = options_of(spec, IcdarOptions)
    gt, pictures, keys = _folders(spec, options)
    picture_files = {name.rsplit(".", 1)[0]: name for name in list_top(pictures) if name.lower().endswith(_PICTURE_ENDINGS)}
    key_files = {name.rsplit(".", 1)[0]: f"{keys}/{name}" for name in list_top(keys)} if keys else {}
    ids = {_id_of(name): name for name in list_top(gt) if _id_of(name)}
    for picture_id in sorted(set(ids) | set(picture_files)):
        if picture_id not in ids:
            yield Reject(id=picture_id, reason="no gt file", detail=f"gt_{picture_id}.txt")
        elif picture_id not in picture_files:
            yield Reject(id=picture_id, reason="picture missing", detail=f"{pictures}/{picture_id}.*")
        else:
            file = picture_files[picture_id]
            left_out: list[Reject] = []
            asked = _key_turns(picture_id, key_files.get(picture_id), left_out) if keys else []
            text = read_small(f"{gt}/{ids[picture_id]}")
            yield from _picture_samples(picture_id, f"{pictures}/{file}", text, asked, left_out, options, padding)


def _picture_samples(
    picture_id: str, uri: str, text: bytes, asked: list[Turn], left_out: list[Reject], options: IcdarOptions, padding: str
) -> Iterator[RawSample | Reject]:
    rows, malformed, is_utf8 = read_lines(text)
    left_out += [_left(picture_id, "malformed row", line[:120], "part") for line in malformed]
    if not is_utf8:
        left_out.append(_left(picture_id, "text is not UTF-8, read as Latin-1", "", "rule"))
    # The layout records no picture size, and the boxes' fractions need it: this picture is read here.
    data = storage.read_bytes(uri)
    try:
        size = _frame(data, rows)
    except PictureFault as fault:
        yield Reject(id=picture_id, reason=fault.reason, detail=fault.detail)
        return
    lines = _usable_lines(picture_id, rows, size, padding, left_out)
    if not lines and not asked:
        yield from left_out
        faulty = any(reject.kind == "part" for reject in left_out)
        yield _left(picture_id, "no readable text", f"of {len(rows)} rows", "sample" if faulty else "rule")
        return
    shown = RawPicture(key=picture_key(uri), uri=uri, data=data, annotated_px=size)
    spotted = list(bands(lines, options.max_lines)) if lines else [("", [])]
    for number, (area, band) in enumerate(spotted):
        turns = list(asked) if number == 0 else []
        if band:
            question = SPOTTING_IN.format(area) if area else SPOTTING
            turns.append(Turn(question=question, answer=spotting_answer([(line.text, line.numbers) for line in band])))
        sample_id = f"{picture_id}-{number}" if number else picture_id
        yield RawSample(sample_id, "spotting", (shown,), tuple(turns), max(1, len(band)), tuple(left_out))
        left_out = []


def _frame(data: bytes, rows: list[tuple[list[tuple[float, float]], str]]) -> tuple[int, int]:
    """The size that the corners were drawn on: upright, unless only the stored picture holds them all."""
    if len(data) > MAX_PICTURE_BYTES:
        raise PictureFault("picture too large", f"{len(data)} bytes, at most {MAX_PICTURE_BYTES} are read")
    stored, upright = picture_frames(data)
    right = max((x for corners, _ in rows for x, _ in corners), default=0)
    bottom = max((y for corners, _ in rows for _, y in corners), default=0)
    fits_upright = right <= upright[0] and bottom <= upright[1]
    fits_stored = right <= stored[0] and bottom <= stored[1]
    return stored if fits_stored and not fits_upright else upright


def _usable_lines(
    picture_id: str,
    rows: list[tuple[list[tuple[float, float]], str]],
    size: tuple[int, int],
    padding: str,
    left_out: list[Reject],
) -> list[Line]:
    lines: list[Line] = []
    for corners, transcript in rows:
        if transcript == DO_NOT_CARE:
            left_out.append(_left(picture_id, "do-not-care region", "", "rule"))
            continue
        if not transcript:
            left_out.append(_left(picture_id, "empty transcript", str(corners), "part"))
            continue
        across, down = [x for x, _ in corners], [y for _, y in corners]
        try:
            numbers = box_numbers((min(across), min(down), max(across), max(down)), *size, padding, widen_small=True)
        except BoxFault as fault:
            left_out.append(_left(picture_id, fault.reason, fault.detail, "rule" if fault.by_rule else "part"))
            continue
        lines.append(Line(transcript, numbers, parse_boxes(f"[{numbers}]")[0]))
    return lines


def _key_turns(picture_id: str, uri: str | None, left_out: list[Reject]) -> list[Turn]:
    fields: Any = None
    if uri is not None:
        try:
            fields = json.loads(decode_text(read_small(uri))[0])
        except (ValueError, RecursionError):
            fields = None
    if not isinstance(fields, dict):
        left_out.append(_left(picture_id, "no key fields", uri or "no file", "part"))
        return []
    turns: list[Turn] = []
    for field, question in KEY_FIELDS.items():
        value = fields.get(field)
        if isinstance(value, str) and value.strip():
            turns.append(Turn(question=short_question(question), answer=" ".join(value.split())))
        else:
            left_out.append(_left(picture_id, "key field absent", field, "rule"))
    return turns


def _left(picture_id: str, reason: str, detail: str, kind: str) -> Reject:
    return Reject.model_validate({"id": picture_id, "reason": reason, "detail": detail, "kind": kind})


SOURCE = Source(
    name="icdar_spotting",
    summary="texts with four corners each: ICDAR 2015, SROIE receipts (with key fields)",
    version=1,
    options=IcdarOptions,
    inputs=_inputs,
    read=_read,
)
