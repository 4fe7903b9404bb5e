"""Attention that never crosses from one sample of a pack to the next.

Registered with transformers as `sphinx_x`: with `cu_seq_lens_q` among the model's arguments a row is a pack (variable-length
kernels on a GPU, causal SDPA sample by sample on a CPU); without it, it is transformers' own SDPA with its own masks.
"""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sphinx_x"


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """[1, H, T, D] queries and [1, K, T, D] keys and values to ([1, T, H, D], None); K divides H."""
    if cu_seq_lens_q is None:
        mixed: Any = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return mixed
    grouped = query.shape[1] != key.shape[1]
    if query.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
        longest = kwargs["max_length_q"]
        # The same tensor twice: cuDNN takes its causal path only when both are one object.
        bounds = {"cu_seq_q": cu_seq_lens_q, "cu_seq_k": cu_seq_lens_q, "max_q": longest, "max_k": longest}
        mixed = varlen_attn(q, k, v, **bounds, scale=scaling, window_size=(-1, 0), enable_gqa=grouped)
        return mixed.unsqueeze(0), None
    samples = []
    for start, end in itertools.pairwise(cu_seq_lens_q.tolist()):
        q, k, v = (tensor[:, :, start:end] for tensor in (query, key, value))
        samples.append(F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=grouped))
    return torch.cat(samples, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, packed_attention)
# A pack passes a mask of four dimensions, which transformers hands on untouched and `packed_attention` ignores: no mask is built.
AttentionMaskInterface.register(NAME, sdpa_mask)
