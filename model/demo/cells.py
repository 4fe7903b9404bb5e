"""What an encoder should know about a view, as a whole and for each cell of its grid. The pre-training's answer sheet."""

from dataclasses import dataclass

import numpy as np

from model.demo.scenes import COLOURS, SHAPES, WORD_LETTERS, Box, Scene

NOTHING, WORD = 0, len(SHAPES) + 1
NUM_KINDS = len(SHAPES) + 2
"""Nothing, the shapes, a word."""
NUM_COLOURS = len(COLOURS) + 1
"""No colour (nothing, or a word's ink), then the colours."""
NUM_LETTERS = 26
IGNORED = -100


@dataclass(frozen=True)
class ViewTargets:
    """Labels of one view: of its C cells, row by row, and of the whole. What has its centre in the view is seen in it."""

    kinds: np.ndarray
    """[C] int64: NOTHING, 1 + index in SHAPES, or WORD."""
    colours: np.ndarray
    """[C] int64: 0, or 1 + index in COLOURS."""
    boxes: np.ndarray
    """[C, 4] float32: x1, y1, x2, y2 in 0..1 of the view, cut at its edges; NaN where nothing is."""
    letters: np.ndarray
    """[C, WORD_LETTERS] int64: letters of the word at its cell; IGNORED where no word is, or where the view cuts the letter off."""
    word_letters: np.ndarray
    """[WORD_LETTERS] int64: letters of the word that the view shows; IGNORED where it shows none."""


def view_areas(width: int, height: int, grid: int) -> list[tuple[float, float, float]]:
    """x, y and side of each view in pixels of the padded square (picture at its top left): the global one, then row by row."""
    side = max(width, height)
    cell = side / grid
    parts = [(column * cell, row * cell, cell) for row in range(grid) for column in range(grid)] if grid > 1 else []
    return [(0.0, 0.0, float(side)), *parts]


def view_targets(scene: Scene, area: tuple[float, float, float], cells_per_side: int) -> ViewTargets:
    """Labels of a view: a thing belongs to the cell that its centre lies in; of two in one cell the later drawn is named."""
    num_cells = cells_per_side**2
    targets = ViewTargets(
        kinds=np.zeros(num_cells, np.int64),
        colours=np.zeros(num_cells, np.int64),
        boxes=np.full((num_cells, 4), np.nan, np.float32),
        letters=np.full((num_cells, WORD_LETTERS), IGNORED, np.int64),
        word_letters=np.full(WORD_LETTERS, IGNORED, np.int64),
    )
    word = _seen(scene.word.box, area, cells_per_side)
    if word is not None:
        cell, box = word
        targets.kinds[cell], targets.boxes[cell] = WORD, np.clip(box, 0, 1)
        for place, letter in enumerate(scene.word.text):
            centre = box[0] + (box[2] - box[0]) * (place + 0.5) / WORD_LETTERS
            if 0 <= centre <= 1:
                targets.letters[cell, place] = targets.word_letters[place] = ord(letter) - ord("a")
    for thing in scene.things:
        seen = _seen(thing.box, area, cells_per_side)
        if seen is not None:
            cell, box = seen
            targets.kinds[cell], targets.colours[cell] = 1 + SHAPES.index(thing.shape), 1 + list(COLOURS).index(thing.colour)
            targets.boxes[cell] = np.clip(box, 0, 1)
            targets.letters[cell] = IGNORED
    return targets


def _seen(box: Box, area: tuple[float, float, float], cells_per_side: int) -> tuple[int, np.ndarray] | None:
    """The cell of a box's centre and the box in 0..1 of the view; None where the centre lies elsewhere."""
    left, top, side = area
    inside = (np.array(box, np.float32) - np.array([left, top, left, top], np.float32)) / side
    x, y = (inside[0] + inside[2]) / 2, (inside[1] + inside[3]) / 2
    if not (0 <= x < 1 and 0 <= y < 1):
        return None
    return int(y * cells_per_side) * cells_per_side + int(x * cells_per_side), inside
