"""Files with COCO's keys (`images`, `annotations`, `categories`), streamed: COCO, LVIS, V3Det, Objects365, PubLayNet, RefCOCO.

Published sizes go up to gigabytes and 25 million boxes, so only ids and boxes are kept, in flat arrays, and pictures come
one by one in the order of the file's `images`. Polygons and run-length masks are not kept.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.contracts.corpus import Reject
from model.data.boxes import BoxFault, box_numbers
from model.data.prompts import class_words
from model.data.sources.files import json_rows


@dataclass(frozen=True, slots=True)
class CocoBox:
    """One annotation."""

    id: int
    category_id: int
    box_px: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the picture's record."""
    crowd: bool
    """One box for many things (`iscrowd`)."""


@dataclass(frozen=True)
class CocoPicture:
    """One entry of `images` with its annotations."""

    id: int
    file: str
    """File name as recorded; the last two parts of `coco_url` where there is none (LVIS)."""
    width_px: int
    height_px: int
    boxes: tuple[CocoBox, ...]
    not_exhaustive: frozenset[int]
    """Classes that are not labelled throughout in this picture (LVIS)."""


class CocoFile:
    """One annotation file: its classes, its faulty rows, its pictures."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.class_names: dict[int, str] = {}
        """Name in words by category id."""
        self.faults: list[Reject] = []
        """Rows that belong to no picture or can not be read."""
        self._pictures: dict[int, CocoPicture] = {}
        self._image_ids, self._ids, self._categories = array("q"), array("q"), array("q")
        self._boxes, self._crowds = array("d"), array("b")
        readers = {"images": self._add_image, "annotations": self._add_annotation, "categories": self._add_category}
        for key, row in json_rows(uri):
            if (reader := readers.get(key)) is None:
                continue
            try:
                reader(row)
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
                self.faults.append(_fault(key, row, "malformed row", f"{type(error).__name__}: {str(error)[:120]}"))

    @property
    def num_pictures(self) -> int:
        return len(self._pictures)

    def pictures(self) -> Iterator[CocoPicture]:
        """All pictures with their boxes, in the order of `images`; annotations keep the file's order."""
        rank = {picture_id: position for position, picture_id in enumerate(self._pictures)}
        positions = np.fromiter((rank.get(i, -1) for i in self._image_ids), dtype=np.int64, count=len(self._image_ids))
        for lost in np.flatnonzero(positions < 0):
            detail = f"image {self._image_ids[lost]} is not listed"
            self.faults.append(_part(f"annotation {self._ids[lost]}", "picture not listed", detail))
        order = np.argsort(positions, kind="stable")
        starts = np.searchsorted(positions[order], np.arange(len(self._pictures) + 1))
        for position, picture in enumerate(self._pictures.values()):
            rows = order[starts[position] : starts[position + 1]]
            yield CocoPicture(
                picture.id,
                picture.file,
                picture.width_px,
                picture.height_px,
                tuple(self._box(int(row)) for row in rows),
                picture.not_exhaustive,
            )

    def _box(self, row: int) -> CocoBox:
        x, y, width, height = self._boxes[4 * row : 4 * row + 4]
        return CocoBox(self._ids[row], self._categories[row], (x, y, x + width, y + height), bool(self._crowds[row]))

    def _add_image(self, row: Any) -> None:
        picture_id = _integer(row["id"])
        if picture_id in self._pictures:
            raise ValueError(f"image {picture_id} is listed twice")
        file = row.get("file_name") or "/".join(str(row["coco_url"]).rsplit("/", 2)[-2:])
        width_px, height_px = _integer(row["width"]), _integer(row["height"])
        if width_px <= 0 or height_px <= 0 or not isinstance(file, str):
            raise ValueError(f"width {width_px}, height {height_px}, file {file!r}")
        unlabelled = frozenset(_integer(category) for category in row.get("not_exhaustive_category_ids") or ())
        self._pictures[picture_id] = CocoPicture(picture_id, file, width_px, height_px, (), unlabelled)

    def _add_annotation(self, row: Any) -> None:
        ids = _integer(row.get("id", -1)), _integer(row["image_id"]), _integer(row["category_id"])
        x, y, width, height = (float(value) for value in row["bbox"])
        crowd = bool(row.get("iscrowd", 0))
        self._ids.append(ids[0])
        self._image_ids.append(ids[1])
        self._categories.append(ids[2])
        self._boxes.extend((x, y, width, height))
        self._crowds.append(crowd)

    def _add_category(self, row: Any) -> None:
        name = (row.get("synonyms") or [row["name"]])[0]
        words = class_words(str(name))
        if not words:
            raise ValueError("a class without name")
        self.class_names[_integer(row["id"])] = words


def boxes_by_class(
    picture: CocoPicture, class_names: dict[int, str], padding: str
) -> tuple[dict[str, list[str]], list[Reject]]:
    """The usable boxes of a picture as text without brackets, by class, in reading order; and what was left out.

    Boxes are clipped and exact doubles merged. A class with a crowd, or one that is not labelled throughout, is left out
    whole, since what is listed of it is not all of it.
    """
    left_out: list[Reject] = []
    incomplete = {box.category_id for box in picture.boxes if box.crowd} | picture.not_exhaustive
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for box in picture.boxes:
        where = f"{picture.id}/annotation {box.id}"
        name = class_names.get(box.category_id)
        if name is None:
            left_out.append(_part(where, "unknown class", f"category {box.category_id}"))
            continue
        if box.category_id in incomplete:
            left_out.append(Reject(id=where, reason="class not complete in the picture", detail=name, kind="rule"))
            continue
        try:
            numbers = box_numbers(box.box_px, picture.width_px, picture.height_px, padding)
        except BoxFault as fault:
            kind = "rule" if fault.by_rule else "part"
            left_out.append(Reject(id=where, reason=fault.reason, detail=fault.detail, kind=kind))
            continue
        if numbers in found.setdefault(name, {}):
            left_out.append(Reject(id=where, reason="box doubled", detail=f"{name} [{numbers}]", kind="rule"))
        found[name].setdefault(numbers, (box.box_px[1], box.box_px[0]))
    ordered = {name: sorted(texts, key=lambda text: (texts[text], text)) for name, texts in sorted(found.items())}
    return ordered, left_out


def _integer(value: Any) -> int:
    """An id or a size: an int, or a float or text that is one."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(f"{value!r} is no whole number")
    number = int(value)
    if not -(2**62) < number < 2**62:
        raise ValueError(f"{value!r} is out of range")
    return number


def _part(where: str, reason: str, detail: str) -> Reject:
    return Reject(id=where, reason=reason, detail=detail, kind="part")


def _fault(key: str, row: Any, reason: str, detail: str) -> Reject:
    identity = row.get("id", "?") if isinstance(row, dict) else "?"
    return Reject(id=f"{key} {str(identity)[:60]}", reason=reason, detail=detail, kind="sample" if key == "images" else "part")
