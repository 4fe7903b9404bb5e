"""What of each sample is trained on under a variant's geometry and the budgets of a pack, or why nothing is."""

import functools
from dataclasses import dataclass

import numpy as np

from model.data.lengths import Lengths
from model.sphinx_x.views import kept_views
from model.train.config import PackConfig
from model.variants import Variant

REASONS = ("", "too many views for a pack", "no answer fits into a pack", "no supervised answer")
"""Why a sample is not trained on, by code; 0 is trained on."""
_ROWS_AT_ONCE = 1 << 20
"""Samples looked at together, so that what is needed on the way takes little memory."""


@dataclass(frozen=True, eq=False)
class Trainable:
    """Numpy columns over the N samples of a corpus."""

    reason: np.ndarray
    """[N] int8, see `REASONS`."""
    turns: np.ndarray
    """[N] int32: turns kept."""
    tokens: np.ndarray
    """[N] int32: language positions, with pictures, up to the end of the last turn kept."""
    supervised_tokens: np.ndarray
    """[N] int32"""
    real_views: np.ndarray
    """[N] int16"""
    skipped_views: np.ndarray
    """[N] int16"""
    cut_tokens: np.ndarray
    """[N] int32: text tokens of the turns that are not kept; 0 for a sample that is not trained on."""


def trainable_samples(lengths: Lengths, variant: Variant, padding: str, budgets: PackConfig) -> Trainable:
    """Cut what is longer than a pack or than the language model's positions at the end of a turn."""
    views_of = functools.cache(lambda width_px, height_px: sum(kept_views(width_px, height_px, variant.geometry.grid, padding)))
    num_samples = lengths.num_samples
    kinds = (np.int8, np.int32, np.int32, np.int32, np.int16, np.int16, np.int32)
    columns = [np.empty(num_samples, kind) for kind in kinds]
    for first in range(0, num_samples, _ROWS_AT_ONCE):
        last = min(first + _ROWS_AT_ONCE, num_samples)
        for column, values in zip(columns, _block(lengths, first, last, views_of, variant, budgets), strict=True):
            column[first:last] = values
    return Trainable(*columns)


def _block(
    lengths: Lengths, first: int, last: int, views_of: functools._lru_cache_wrapper, variant: Variant, budgets: PackConfig
) -> tuple[np.ndarray, ...]:
    """The columns of `Trainable` for samples `first` to `last`."""
    pictures = lengths.picture_starts[first : last + 1]
    inside = slice(pictures[0], pictures[-1])
    real_views = _sums(_real_views(lengths.picture_widths[inside], lengths.picture_heights[inside], views_of), pictures)
    skipped_views = np.diff(pictures) * variant.geometry.num_views - real_views
    picture_tokens = real_views * variant.geometry.tokens_per_view + skipped_views
    longest = min(budgets.tokens_per_pack, variant.language.max_positions)
    # Ends grow within a sample, so the turns that end in time are its first ones.
    turn_starts = lengths.turn_starts[first : last + 1]
    inside = slice(turn_starts[0], turn_starts[-1])
    in_time = lengths.turn_ends[inside] <= np.repeat(longest - picture_tokens, np.diff(turn_starts))
    turns = _sums(in_time, turn_starts)
    last_turn = turn_starts[:-1] + np.maximum(turns, 1) - 1
    text_tokens, supervised = (np.where(turns > 0, ends[last_turn], 0) for ends in (lengths.turn_ends, lengths.turn_supervised))
    cut_tokens = lengths.turn_ends[turn_starts[1:] - 1] - text_tokens
    reason = np.select(
        [real_views > budgets.views_per_pack, (supervised == 0) & (cut_tokens > 0), supervised == 0], [1, 2, 3], 0
    )
    tokens = text_tokens + picture_tokens
    return reason, turns, tokens, supervised, real_views, skipped_views, np.where(reason == 0, cut_tokens, 0)


def _real_views(widths: np.ndarray, heights: np.ndarray, views_of: functools._lru_cache_wrapper) -> np.ndarray:
    """Real views of each picture; the geometry is asked once for every size that occurs."""
    sizes, which = np.unique((widths.astype(np.int64) << 32) | heights, return_inverse=True)
    return np.array([views_of(size >> 32, size & 0xFFFFFFFF) for size in sizes.tolist()], np.int64)[which]


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sum of consecutive values from each start to the next."""
    totals = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return np.diff(totals[starts - starts[0]])
