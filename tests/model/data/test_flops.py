"""FLOPs: the formula against torch's own counter and the published table, and packs dealt by them."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from model.data.deal import deal
from model.data.flops import language_flops, pack_flops, train_flops
from model.data.steps import PackRef, SampleRef, StepPlan
from model.errors import ConfigError
from model.variants import LanguageShape, variant_named

TINY = variant_named("tiny")


def test_the_language_models_flops_are_those_that_torch_counts():
    shape = LanguageShape(hidden=64, layers=2, heads=4, kv_heads=2, ffn=96, vocab=160, max_positions=64)
    config = LlamaConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
        vocab_size=160, attn_implementation="eager",
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    tokens = 24
    with FlopCounterMode(display=False) as forward:
        loss = model(torch.arange(tokens)[None]).logits.sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    # Eager attention computes all pairs; the formula counts those that a causal kernel computes.
    causal, all_pairs = 2 * 2 * 64 * tokens * (tokens + 1), 2 * 4 * 64 * tokens**2
    variant = TINY.model_copy(update={"language": shape})
    assert forward.get_total_flops() == language_flops([tokens], tokens, variant) - causal + all_pairs
    assert backward.get_total_flops() == 2 * forward.get_total_flops()


@pytest.mark.parametrize(
    ("name", "tokens", "real_views", "tflop"),
    [
        ("tiny", 1423, 5, 19.8),
        ("tiny", 907, 3, 12.1),
        ("tiny", 387, 1, 4.5),
        ("intern2", 1423, 5, 72.4),
        ("plus", 907, 3, 76.8),
        ("moe", 1423, 5, 120.4),
    ],
)
def test_a_sample_costs_what_the_table_of_sizes_says(name, tokens, real_views, tflop):
    assert train_flops([tokens], 64, real_views, variant_named(name)) / 1e12 == pytest.approx(tflop, abs=0.06)


def pack_of(tokens: int, views: int) -> PackRef:
    return PackRef((SampleRef(0, 1, tokens, tokens // 3, views, 0),) if tokens else ())


packs = st.lists(st.builds(pack_of, st.integers(0, 4096), st.integers(0, 15)), min_size=8, max_size=64)


@settings(deadline=None)
@given(packs, st.sampled_from([1, 2, 4, 8]))
def test_ranks_get_equally_many_packs_and_the_busiest_little_more_than_its_part(packs, num_ranks):
    packs = packs[: len(packs) // 8 * 8]
    step = StepPlan(0, tuple(packs))
    dealt = deal(step, num_ranks, TINY)
    work = [pack_flops(pack, TINY) for pack in packs]
    loads = [sum(work[pack] for pack in rank) for rank in dealt]
    assert sorted(pack for rank in dealt for pack in rank) == list(range(len(packs)))
    assert {len(rank) for rank in dealt} == {len(packs) // num_ranks}
    assert max(loads) <= sum(work) / num_ranks + max(work)
    assert all(work[one] >= work[next_one] for rank in dealt for one, next_one in pairwise(rank))


def test_ranks_that_do_not_divide_the_packs_are_refused_in_one_sentence():
    with pytest.raises(ConfigError, match="3 ranks do not divide the 8 packs of a step; set packs.packs_multiple to 3"):
        deal(StepPlan(0, (PackRef(),) * 8), 3, TINY)
