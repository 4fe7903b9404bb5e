"""Packing with two budgets: best fit, in windows of a shuffled list, many windows at once. Numbers in, numbers out.

A window is a run of consecutive samples of the shuffled order, some hundred packs long. Within it samples are placed largest
first, each into the fullest pack that still has room in both budgets. Windows know nothing of each other, so they are packed
side by side as rows of a matrix: one numpy call places one sample of every window.
"""

import numpy as np

PACKS_PER_WINDOW = 96
"""More packs in a window fill a little better and take longer, in proportion."""
_WINDOWS_AT_ONCE = 192
"""Rows of the matrix: few enough that it stays in the processor's cache."""
_NO_ROOM = np.uint32(1 << 31)


def best_fit(tokens: np.ndarray, views: np.ndarray, max_tokens: int, max_views: int) -> tuple[np.ndarray, int]:
    """Assign samples, in the order of a shuffled list, to packs within both budgets.

    Args:
        tokens: [N] int32, each from 1 to `max_tokens`; a sample with more counts as `max_tokens` and has a pack to itself.
        views: [N], each at most `max_views`.

    Returns:
        The pack of each sample [N] int32, numbered window by window without gaps, and the number of packs.
    """
    num_samples = len(tokens)
    if num_samples == 0:
        return np.zeros(0, np.int32), 0
    clipped = np.minimum(tokens, max_tokens).astype(np.int32)
    per_window = window_samples(clipped, views, max_tokens, max_views)
    packs = np.empty(num_samples, np.int32)
    num_packs = 0
    block = per_window * _WINDOWS_AT_ONCE
    for start in range(0, num_samples, block):
        rows = slice(start, start + block)
        packs[rows], found = _pack_block(clipped[rows], views[rows], per_window, max_tokens, max_views)
        packs[rows] += num_packs
        num_packs += found
    return packs, num_packs


def window_samples(tokens: np.ndarray, views: np.ndarray, max_tokens: int, max_views: int) -> int:
    """How many samples make a window."""
    least_packs = max(tokens.sum(dtype=np.int64) / max_tokens, views.sum(dtype=np.int64) / max_views)
    return max(1, min(len(tokens), round(PACKS_PER_WINDOW * len(tokens) / max(least_packs, 1))))


def _pack_block(
    tokens: np.ndarray, views: np.ndarray, per_window: int, max_tokens: int, max_views: int
) -> tuple[np.ndarray, int]:
    """Pack some windows; packs are numbered from 0 over all of them."""
    num_windows = -(-len(tokens) // per_window)
    padding = num_windows * per_window - len(tokens)
    # Padding has no tokens and no views: it comes last in its window and takes no room.
    tokens_by_window = np.pad(tokens, (0, padding)).reshape(num_windows, per_window)
    views_by_window = np.pad(views.astype(np.int32), (0, padding)).reshape(num_windows, per_window)
    places = _place(tokens_by_window, views_by_window, max_tokens, max_views)
    ids = (places + (places.max() + 1) * np.arange(num_windows)[:, None]).ravel()[: len(tokens)]
    used = np.bincount(ids) > 0
    return (np.cumsum(used) - 1)[ids], int(used.sum())


def _place(tokens: np.ndarray, views: np.ndarray, max_tokens: int, max_views: int) -> np.ndarray:
    """The pack of each sample within its window: tokens and views [W, n] to [W, n]."""
    num_windows, num_samples = tokens.shape
    windows = np.arange(num_windows)
    size = np.maximum(tokens / max_tokens, views / max_views)
    order = np.argsort(-size, axis=1, kind="stable")
    tokens_in_turn = np.ascontiguousarray(np.take_along_axis(tokens, order, axis=1).T)
    views_in_turn = np.ascontiguousarray(np.take_along_axis(views, order, axis=1).T)
    needed = max(tokens.sum(axis=1).max() / max_tokens, views.sum(axis=1).max() / max_views)
    token_room = np.full((num_windows, int(needed * 1.06) + 4), max_tokens, np.int32)
    view_room = np.full_like(token_room, max_views)
    chosen = np.empty((num_samples, num_windows), np.int32)
    for turn in range(num_samples):
        need_tokens, need_views = tokens_in_turn[turn], views_in_turn[turn]
        while True:
            # Room that would be left; a pack without room for either is negative, as unsigned the last choice of argmin.
            left = token_room - need_tokens[:, None]
            left |= (view_room - need_views[:, None]) & np.int32(-(1 << 31))
            unsigned = left.view(np.uint32)
            pack = unsigned.argmin(axis=1)
            if (unsigned[windows, pack] < _NO_ROOM).all():
                break
            more = max(4, token_room.shape[1] // 8)
            token_room = np.pad(token_room, ((0, 0), (0, more)), constant_values=max_tokens)
            view_room = np.pad(view_room, ((0, 0), (0, more)), constant_values=max_views)
        token_room[windows, pack] -= need_tokens
        view_room[windows, pack] -= need_views
        chosen[turn] = pack
    places = np.empty((num_windows, num_samples), np.int64)
    np.put_along_axis(places, order, chosen.T, axis=1)
    return places
