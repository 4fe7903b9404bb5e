"""What the encoders are taught is true of the pixels that they see."""

import numpy as np
import pytest

from model.demo.cells import IGNORED, NOTHING, WORD, view_areas, view_targets
from model.demo.scenes import COLOURS, SHAPES, draw, make_scene

CELLS = 4
SCENES = [make_scene(77, index) for index in range(40)]
VIEWS = [(scene, area) for scene in SCENES for area in view_areas(scene.width, scene.height, 2)]


def letters_of(row: np.ndarray) -> str:
    return "".join(chr(ord("a") + letter) for letter in row)


def test_the_global_view_names_every_thing_once_unless_two_share_a_cell():
    for scene in SCENES:
        targets = view_targets(scene, view_areas(scene.width, scene.height, 1)[0], CELLS)
        named = {SHAPES[kind - 1] for kind in targets.kinds if NOTHING < kind < WORD}
        assert named <= {thing.shape for thing in scene.things}
        assert (targets.kinds > 0).sum() <= len(scene.things) + 1


def test_the_pixel_at_a_labelled_centre_has_the_labelled_colour():
    seen = 0
    for scene, (left, top, side) in VIEWS:
        pixels = np.asarray(draw(scene), np.int32)
        targets = view_targets(scene, (left, top, side), CELLS)
        for cell in np.flatnonzero((targets.kinds > 0) & (targets.kinds < WORD)):
            shape = SHAPES[targets.kinds[cell] - 1]
            x1, y1, x2, y2 = targets.boxes[cell]
            if shape == "ring" or min(x1, y1) <= 0 or max(x2, y2) >= 1:
                continue  # a ring is hollow; a box that the view cuts has another centre
            across, down = int(left + side * (x1 + x2) / 2), int(top + side * (y1 + y2) / 2)
            colour = list(COLOURS.values())[targets.colours[cell] - 1]
            assert np.abs(pixels[down, across] - colour).max() <= 2
            seen += 1
    assert seen > 50


def test_the_global_view_spells_the_word():
    for scene in SCENES:
        targets = view_targets(scene, view_areas(scene.width, scene.height, 1)[0], CELLS)
        assert letters_of(targets.word_letters) == scene.word.text
        for cell in np.flatnonzero(targets.kinds == WORD):
            assert letters_of(targets.letters[cell]) == scene.word.text


def test_letters_that_a_view_cuts_off_are_not_asked_for():
    cut = 0
    for scene, (left, top, side) in VIEWS:
        targets = view_targets(scene, (left, top, side), CELLS)
        if (targets.word_letters != IGNORED).any():
            x1, _, x2, _ = scene.word.box
            middles = [x1 + (x2 - x1) * (place + 0.5) / 3 for place in range(3)]
            assert [left <= middle <= left + side for middle in middles] == list(targets.word_letters != IGNORED)
            cut += (targets.word_letters == IGNORED).any()
    assert cut > 0


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_areas_are_the_padded_square_and_its_parts(grid):
    areas = view_areas(256, 128, grid)
    assert areas[0] == (0, 0, 256)
    assert len(areas) == (1 if grid == 1 else 1 + grid**2)
    assert sum(side**2 for *_, side in areas[1:]) == pytest.approx(256**2 if grid > 1 else 0)
