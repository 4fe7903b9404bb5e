"""Which views of a picture hold pixels, and how many language positions that costs. Pure arithmetic on sizes.

A picture lies in a square as wide as its longest edge, is seen once as a whole and once cut into grid x grid sub-images. A
sub-image that lies wholly in the padding is never encoded: one learnable skip token stands in its place (paper, section 3).
"""

VIEW_ID, SKIP_ID = -1, -2
"""Stand in a prompt's ids for every position of a real view, and for the skip token of a padded one; no words of any vocabulary."""


def kept_views(width_px: int, height_px: int, grid: int, padding: str = "corner") -> tuple[bool, ...]:
    """Which views hold picture: the global one first, then the sub-images row by row.

    Args:
        padding: corner (the picture at the top left) or centre (as in the original code, where no half is ever empty).

    >>> kept_views(800, 400, grid=2)  # twice as wide as tall: the lower row is padding
    (True, True, True, False, False)
    >>> kept_views(800, 400, grid=2, padding="centre")
    (True, True, True, True, True)
    """
    if grid == 1:
        return (True,)
    longest_px = max(width_px, height_px)
    left_px, top_px = picture_offset(width_px, height_px, padding)

    def touches(index: int, start_px: float, length_px: int) -> bool:
        # In whole numbers of 1/grid pixels, so that no rounding decides: cell [index, index + 1) x longest against the picture.
        return index * longest_px < (start_px + length_px) * grid and (index + 1) * longest_px > start_px * grid

    cells = ((row, column) for row in range(grid) for column in range(grid))
    return (True, *(touches(row, top_px, height_px) and touches(column, left_px, width_px) for row, column in cells))


def picture_offset(width_px: int, height_px: int, padding: str) -> tuple[int, int]:
    """Left and top edge of the picture in its padded square, in pixels of the picture."""
    if padding == "corner":
        return 0, 0
    longest_px = max(width_px, height_px)
    return (longest_px - width_px) // 2, (longest_px - height_px) // 2


def tokens_per_view(conv_px: int) -> int:
    """Language positions of a real view: its patches (the ConvNeXt's stride is 32), the CLS token, the start and the end tag.

    >>> tokens_per_view(512)
    259
    """
    return (conv_px // 32) ** 2 + 3


def picture_ids(kept: tuple[bool, ...], conv_px: int) -> list[int]:
    """Placeholder ids of one picture's positions."""
    view = [VIEW_ID] * tokens_per_view(conv_px)
    return [id for keep in kept for id in (view if keep else [SKIP_ID])]


def image_tokens(kept: tuple[bool, ...], tokens_per_view: int) -> int:
    """Language positions of one picture: all tokens of its real views and one skip token for each other."""
    return sum(tokens_per_view if keep else 1 for keep in kept)
