"""Boxes as text: `[x1,y1,x2,y2]`, fractions of the padded square's side (the picture's longest edge), two decimals.

Writing follows the paper (`[0.25,0.30,0.52,0.38]`; several boxes of one class share one pair of brackets, joined by `;`)
and cleans what raw files hold: boxes are clipped to the picture, and those that are no box raise `BoxFault`. Reading is
tolerant of blanks, because a model's answer is read with the same function. Standard library only.
"""

import math
import re
from collections.abc import Iterable, Sequence

from model.contracts.evaluation import Box

_NUMBER = r"\s*(-?\d{1,6}(?:\.\d{1,6})?|-?\.\d{1,6})\s*"
_BRACKETS = re.compile(r"\[([^\[\]]{1,20000})\]")
_FOUR_NUMBERS = re.compile(rf"{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}")


class BoxFault(ValueError):
    """A box that cannot be written."""

    def __init__(self, reason: str, detail: str, by_rule: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        """Short and stable, for counting."""
        self.detail = detail
        self.by_rule = by_rule
        """The box is sound but too small to be written with two decimals: nothing is wrong with the file."""


def place_box(box_px: Sequence[float], width_px: int, height_px: int, padding: str) -> Box:
    """Clip a box to its picture and give it as exact fractions of the padded square.

    Args:
        box_px: x1, y1, x2, y2 in pixels from the picture's top-left corner, x2 and y2 exclusive.
        width_px: Width of the picture in which the box was drawn.
        height_px: Its height.
        padding: Where the picture lies in its square: "corner" (top left) or "centre".

    Raises:
        BoxFault: not four finite numbers, no area inside the picture, or a side under one pixel.
    """
    try:
        x1, y1, x2, y2 = (float(value) for value in box_px)
    except (TypeError, ValueError):
        raise BoxFault("box not numeric", str(box_px)[:80]) from None
    if not all(math.isfinite(value) for value in (x1, y1, x2, y2)):
        raise BoxFault("box not numeric", str(box_px)[:80])
    described = f"[{x1:g}, {y1:g}, {x2:g}, {y2:g}] in {width_px} x {height_px}"
    if x2 <= x1 or y2 <= y1:
        raise BoxFault("box without area", described)
    x1, x2 = max(0.0, x1), min(float(width_px), x2)
    y1, y2 = max(0.0, y1), min(float(height_px), y2)
    if x2 <= x1 or y2 <= y1:
        raise BoxFault("box outside the picture", described)
    if x2 - x1 < 1 or y2 - y1 < 1:
        raise BoxFault("box under one pixel", described, by_rule=True)
    side = max(width_px, height_px)
    left, top = padding_offsets(width_px, height_px, padding)
    return ((x1 + left) / side, (y1 + top) / side, (x2 + left) / side, (y2 + top) / side)


def padding_offsets(width_px: int, height_px: int, padding: str) -> tuple[float, float]:
    """Pixels of padding at the left and at the top of the picture in its square."""
    if padding == "corner":
        return 0.0, 0.0
    if padding == "centre":
        side = max(width_px, height_px)
        return (side - width_px) / 2, (side - height_px) / 2
    raise ValueError(f"padding must be corner or centre, not {padding!r}")


def box_numbers(box_px: Sequence[float], width_px: int, height_px: int, padding: str, widen_small: bool = False) -> str:
    """A box without its brackets, `0.25,0.30,0.52,0.38`.

    Args:
        box_px, width_px, height_px, padding: As `place_box`.
        widen_small: Round a side that would vanish outwards, to 0.01, and keep the box: for text, where an answer that
            left out a line would teach to leave lines out.

    Raises:
        BoxFault: as `place_box`, or the box has no area left after rounding.
    """
    x1, y1, x2, y2 = place_box(box_px, width_px, height_px, padding)
    sides = []
    for low, high in ((x1, x2), (y1, y2)):
        texts = f"{low:.2f}", f"{high:.2f}"
        if texts[0] == texts[1] and widen_small:
            texts = f"{math.floor(low * 100) / 100:.2f}", f"{math.ceil(high * 100) / 100:.2f}"
        if texts[0] == texts[1]:
            raise BoxFault("box vanishes at two decimals", f"{list(box_px)} in {width_px} x {height_px}", by_rule=True)
        sides.append(texts)
    return f"{sides[0][0]},{sides[1][0]},{sides[0][1]},{sides[1][1]}"


def box_text(box_px: Sequence[float], width_px: int, height_px: int, padding: str) -> str:
    """A box with its brackets, `[0.25,0.30,0.52,0.38]`; arguments and faults as `box_numbers`."""
    return f"[{box_numbers(box_px, width_px, height_px, padding)}]"


def boxes_text(numbers: Iterable[str]) -> str:
    """Several boxes of one class, from `box_numbers`: `[0.25,0.30,0.52,0.38;0.60,0.10,0.70,0.20]`."""
    return f"[{';'.join(numbers)}]"


def parse_boxes(text: str) -> list[Box]:
    """All boxes in a text, in order; groups of other than four numbers are no boxes.

    >>> parse_boxes("There are two cup[0.10,0.20,0.30,0.40; 0.5,0.5,0.6,0.6] in the image.")
    [(0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 0.6, 0.6)]
    """
    boxes: list[Box] = []
    for brackets in _BRACKETS.finditer(text):
        for part in brackets.group(1).split(";"):
            if (found := _FOUR_NUMBERS.fullmatch(part)) is not None:
                x1, y1, x2, y2 = (float(value) for value in found.groups())
                boxes.append((x1, y1, x2, y2))
    return boxes
