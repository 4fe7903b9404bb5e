"""Reading answers that list things with their boxes: the inverse of the wording in `model/data/prompts.py`."""

import re

from model.contracts.evaluation import Box
from model.data.boxes import parse_boxes
from model.data.prompts import number_word

_OPENING = re.compile(r"^\s*There\s+(?:is|are)\s+")
_JOIN = re.compile(r"^\s*(?:,\s*and\s+|,\s*|and\s+)")
_COUNT = re.compile(rf"^(?:an?|\d+|{'|'.join(number_word(n) for n in range(21))})\s+", re.IGNORECASE)
_BRACKETS = re.compile(r"\[[^\[\]]*\]")


def parse_labelled_boxes(text: str, counted: bool) -> list[tuple[str, Box]]:
    """Label and box of everything that an answer lists, in order; several boxes in one pair of brackets share the label.

    Args:
        counted: Labels are classes, perhaps with their number before them; else they are texts, taken as they stand.

    >>> parse_labelled_boxes("There are two text[0,0,1,0.5;0,0.5,1,1] and title[0,0,0.5,0.5] in the image.", counted=True)
    [('text', (0.0, 0.0, 1.0, 0.5)), ('text', (0.0, 0.5, 1.0, 1.0)), ('title', (0.0, 0.0, 0.5, 0.5))]
    """
    found: list[tuple[str, Box]] = []
    start = 0
    for brackets in _BRACKETS.finditer(text):
        # Brackets without a box are part of a text: [A] stays in its label.
        if boxes := parse_boxes(brackets.group()):
            label = _label(text[start : brackets.start()], first=not found, counted=counted)
            found += [(label, box) for box in boxes]
            start = brackets.end()
    return found


def _label(text: str, first: bool, counted: bool) -> str:
    words = (_OPENING if first else _JOIN).sub("", text, count=1)
    words = " ".join(words.split())
    return _COUNT.sub("", words, count=1) if counted else words
