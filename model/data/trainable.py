"""What of each sample is trained on under a variant's geometry and the budgets of a pack, or why nothing is."""

from dataclasses import dataclass

import numpy as np

from model.data.lengths import Lengths
from model.sphinx_x.views import kept_views
from model.train.config import PackConfig
from model.variants import Variant

REASONS = ("", "too many views for a pack", "no answer fits into a pack", "no supervised answer")
"""Why a sample is not trained on, by code; 0 is trained on."""


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
    real_views, skipped_views = _views(lengths, variant, padding)
    picture_tokens = real_views * np.int32(variant.geometry.tokens_per_view) + skipped_views
    longest = min(budgets.tokens_per_pack, variant.language.max_positions)
    # Ends grow within a sample, so the turns that end in time are its first ones.
    in_time = lengths.turn_ends <= np.repeat(longest - picture_tokens, np.diff(lengths.turn_starts))
    totals = np.concatenate([[0], np.cumsum(in_time, dtype=np.int32)])
    turns = totals[lengths.turn_starts[1:]] - totals[lengths.turn_starts[:-1]]
    last_turn = lengths.turn_starts[:-1] + np.maximum(turns, 1) - 1
    text_tokens, supervised = (np.where(turns > 0, ends[last_turn], 0) for ends in (lengths.turn_ends, lengths.turn_supervised))
    cut_tokens = lengths.text_tokens - text_tokens
    reason = np.select(
        [real_views > budgets.views_per_pack, (supervised == 0) & (cut_tokens > 0), supervised == 0], [1, 2, 3], 0
    ).astype(np.int8)
    return Trainable(
        reason=reason,
        turns=turns,
        tokens=text_tokens + picture_tokens,
        supervised_tokens=supervised,
        real_views=real_views.astype(np.int16),
        skipped_views=skipped_views.astype(np.int16),
        cut_tokens=np.where(reason == 0, cut_tokens, 0),
    )


def _views(lengths: Lengths, variant: Variant, padding: str) -> tuple[np.ndarray, np.ndarray]:
    """Real and skipped views of each sample, [N] int32 each; geometry is asked once for every size that occurs."""
    sizes = (lengths.picture_widths.astype(np.int64) << 32) | lengths.picture_heights
    distinct, which = np.unique(sizes, return_inverse=True)
    geometry = variant.geometry
    real = [sum(kept_views(size >> 32, size & 0xFFFFFFFF, geometry.grid, padding)) for size in distinct.tolist()]
    totals = np.concatenate([[0], np.cumsum(np.array(real, np.int32)[which], dtype=np.int64)])
    real_views = (totals[lengths.picture_starts[1:]] - totals[lengths.picture_starts[:-1]]).astype(np.int32)
    return real_views, np.diff(lengths.picture_starts) * np.int32(geometry.num_views) - real_views
