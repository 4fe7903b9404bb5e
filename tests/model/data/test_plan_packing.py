"""Best fit under two budgets: nothing too full, next to nothing wasted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.packing import best_fit


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 120), st.integers(0, 7)), max_size=200))
def test_every_sample_is_in_one_pack_within_both_budgets(sizes):
    tokens, views = np.array(sizes, np.int32).reshape(-1, 2).T
    packs, num_packs = best_fit(tokens, views, max_tokens=100, max_views=7)
    assert sorted(set(packs.tolist())) == list(range(num_packs))
    for pack in range(num_packs):
        inside = packs == pack
        assert views[inside].sum() <= 7
        # A sample beyond the token budget is alone.
        assert tokens[inside].sum() <= 100 or inside.sum() == 1


def mixture(num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Half text only, a third of the rest wide or tall, views of 259 tokens."""
    draw = np.random.default_rng(0)
    views = np.where(draw.random(num_samples) < 0.5, 0, np.where(draw.random(num_samples) < 1 / 3, 3, 5)).astype(np.int16)
    text = np.clip(draw.lognormal(5.0, 0.8, num_samples), 40, 1900).astype(np.int32)
    return np.minimum(text + 259 * views.astype(np.int32), 2048), views


# Ten views hold three pictures of three views or two of five, so about 0.976 is all that can be had of the last budget.
@pytest.mark.parametrize(("max_tokens", "max_views", "least_fill"), [(4096, 15, 0.985), (8192, 30, 0.985), (4096, 10, 0.96)])
def test_packs_are_nearly_as_few_as_the_tighter_budget_allows(max_tokens, max_views, least_fill):
    tokens, views = mixture(30_000)
    _, num_packs = best_fit(tokens, views, max_tokens, max_views)
    fewest = max(tokens.sum() / max_tokens, views.sum() / max_views)
    assert fewest / num_packs > least_fill


def test_long_samples_are_spread_over_the_run_not_heaped_at_an_end():
    tokens, views = mixture(30_000)
    packs, num_packs = best_fit(tokens, views, 4096, 15)
    by_third = [tokens[packs * 3 // num_packs == third].mean() for third in range(3)]
    assert max(by_third) / min(by_third) < 1.05
