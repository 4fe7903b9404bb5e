"""Packed attention on a CPU, three ways, at nano's size: sample by sample (what the model does), padded samples, one masked square.

    OMP_NUM_THREADS=1 python bench/packed_attention.py

Forward and backward pass in milliseconds, the median of 20, for packs of about 1000 tokens.
"""

import itertools
import random
import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model.sphinx_x.attention import packed_attention

HEADS, KEY_VALUE_HEADS, WIDTH = 4, 2, 32
Way = Callable[[Tensor, Tensor, Tensor, Sequence[int]], Tensor]


def by_sample(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
    bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    return packed_attention(torch.nn.Module(), q, k, v, None, cu_seq_lens_q=bounds)[0]


def padded(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
    rows = [
        pad_sequence(list(one[0].transpose(0, 1).split(list(lengths))), batch_first=True).transpose(1, 2) for one in (q, k, v)
    ]
    mixed = F.scaled_dot_product_attention(rows[0], rows[1], rows[2], is_causal=True, enable_gqa=True).transpose(1, 2)
    return torch.cat([mixed[row, :length] for row, length in enumerate(lengths)])[None]


def masked(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
    sample = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    mask = (sample[:, None] == sample[None]).tril()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask[None, None], enable_gqa=True).transpose(1, 2)


def milliseconds(way: Way, lengths: Sequence[int]) -> float:
    def once() -> float:
        q, k, v = (
            torch.randn(1, sum(lengths), heads, WIDTH, requires_grad=True).transpose(1, 2)
            for heads in (HEADS, KEY_VALUE_HEADS, KEY_VALUE_HEADS)
        )
        start = time.perf_counter()
        way(q, k, v, lengths).sum().backward()
        return time.perf_counter() - start

    return 1e3 * statistics.median([once() for _ in range(23)][3:])


def main() -> None:
    torch.set_num_threads(1)
    draw = random.Random(0)
    packs = {
        "5 samples of 180 to 220 tokens": [draw.randint(180, 220) for _ in range(5)],
        "12 samples of 60 to 100 tokens": [draw.randint(60, 100) for _ in range(12)],
        "25 samples of 30 to 50 tokens": [draw.randint(30, 50) for _ in range(25)],
        "11 samples of 30 to 300 tokens": [300, 40, 40, 40, 150, 30, 30, 60, 200, 40, 90],
    }
    print("| pack | sample by sample | samples padded to the longest | one masked square |\n| --- | --- | --- | --- |")
    for name, lengths in packs.items():
        print(f"| {name} | " + " | ".join(f"{milliseconds(way, lengths):.1f}" for way in (by_sample, padded, masked)) + " |")


if __name__ == "__main__":
    main()
