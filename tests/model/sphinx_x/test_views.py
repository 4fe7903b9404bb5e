"""Which views hold picture, proved against pixels; a picture never loses a pixel to a skipped view."""

import doctest

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from model.sphinx_x import views
from model.sphinx_x.image_processing_sphinx_x import FILL, _padded_square, cut_views
from model.sphinx_x.views import SKIP_ID, VIEW_ID, image_tokens, kept_views, picture_ids, tokens_per_view

sizes = st.integers(1, 40)
grids = st.integers(1, 4)
paddings = st.sampled_from(["corner", "centre"])


def brute_force(width_px: int, height_px: int, grid: int, padding: str) -> tuple[bool, ...]:
    """Paint the padded square at `grid` times its size, so that cells begin and end between pixels, and look."""
    longest = max(width_px, height_px)
    left, top = (0, 0) if padding == "corner" else ((longest - width_px) // 2, (longest - height_px) // 2)
    square = np.zeros((longest * grid, longest * grid), bool)
    square[top * grid : (top + height_px) * grid, left * grid : (left + width_px) * grid] = True
    cells = square.reshape(grid, longest, grid, longest).any(axis=(1, 3))
    return (True,) if grid == 1 else (True, *cells.flatten().tolist())


@given(sizes, sizes, grids, paddings)
def test_a_view_is_kept_if_and_only_if_a_pixel_of_the_picture_lies_in_it(
    width_px: int, height_px: int, grid: int, padding: str
) -> None:
    assert kept_views(width_px, height_px, grid, padding) == brute_force(width_px, height_px, grid, padding)


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(2, 3), paddings)
@example(10_000, 1, 2, "centre")
@example(1, 10_000, 2, "centre")
@example(5000, 7, 3, "corner")
@settings(max_examples=60, deadline=None)
def test_the_scaled_picture_lies_wholly_in_kept_views(width_px: int, height_px: int, grid: int, padding: str) -> None:
    black = Image.new("RGB", (width_px, height_px))
    canvas = np.asarray(_padded_square(black, grid * 32, padding))
    drawn = (canvas != np.array(FILL)).any(-1).reshape(grid, 32, grid, 32).any(axis=(1, 3)).flatten()
    kept = np.array(kept_views(width_px, height_px, grid, padding)[1:])
    assert drawn.any()
    assert not (drawn & ~kept).any()


@pytest.mark.parametrize(
    ("size_px", "grid", "real"),
    [
        ((640, 480), 2, 5),
        ((1000, 500), 2, 3),
        ((1000, 501), 2, 5),
        ((500, 1000), 2, 3),
        ((900, 600), 3, 7),
        ((900, 601), 3, 10),
        ((900, 300), 3, 4),
        ((10, 10_000), 3, 4),
    ],
)
def test_corner_padding_skips_what_the_record_says(size_px: tuple[int, int], grid: int, real: int) -> None:
    assert sum(kept_views(*size_px, grid)) == real


def test_a_wide_picture_of_five_views_costs_779_positions_instead_of_1295() -> None:
    assert tokens_per_view(512) == 259
    assert image_tokens(kept_views(800, 800, 2), 259) == 1295
    assert image_tokens(kept_views(800, 400, 2), 259) == 779


@given(sizes, sizes, grids)
def test_placeholders_are_as_many_as_counted_and_stand_in_view_order(width_px: int, height_px: int, grid: int) -> None:
    kept = kept_views(width_px, height_px, grid)
    ids = picture_ids(kept, 64)
    assert len(ids) == image_tokens(kept, tokens_per_view(64))
    place = 0
    for keep in kept:
        width = 7 if keep else 1
        assert ids[place : place + width] == ([VIEW_ID] * 7 if keep else [SKIP_ID])
        place += width


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_each_sub_image_shows_its_own_part_and_the_first_view_the_whole(grid: int) -> None:
    pixels = np.zeros((96 * grid, 96 * grid, 3), np.uint8)
    for number in range(grid * grid):
        row, column = divmod(number, grid)
        pixels[row * 96 : (row + 1) * 96, column * 96 : (column + 1) * 96] = 20 + 20 * number
    cut = cut_views(Image.fromarray(pixels), grid, 64, 28)
    count = 1 if grid == 1 else 1 + grid * grid
    assert cut.conv.shape == (count, 3, 64, 64)
    assert cut.vit.shape == (count, 3, 28, 28)
    for views_of in (cut.conv, cut.vit):
        for number, view in enumerate(views_of[1:]):
            assert abs(view[:, 8:-8, 8:-8].astype(int) - (20 + 20 * number)).max() <= 1
        assert abs(views_of[0].mean() - pixels.mean()) < 2


def test_skipped_views_are_cut_out_and_the_rest_keep_their_order() -> None:
    pixels = np.zeros((50, 100, 3), np.uint8)
    pixels[:, 50:] = 200
    cut = cut_views(Image.fromarray(pixels), 2, 64, 28)
    assert cut.kept == (True, True, True, False, False)
    assert cut.conv[1].max() < 50
    assert cut.conv[2].min() > 150
    assert cut.conv.shape[0] == cut.vit.shape[0] == 3


def test_padding_is_at_the_right_and_bottom_or_on_both_sides() -> None:
    white = Image.new("RGB", (100, 50), (255, 255, 255))
    corner, centre = (np.asarray(_padded_square(white, 128, padding)) for padding in ("corner", "centre"))
    assert (corner[:64] == 255).all()
    assert (corner[64:] == FILL).all()
    assert (centre[32:96] == 255).all()
    assert (centre[:31] == FILL).all()
    assert (centre[97:] == FILL).all()


def test_the_examples_of_the_docstrings_hold() -> None:
    results = doctest.testmod(views)
    assert results.attempted >= 3
    assert results.failed == 0
