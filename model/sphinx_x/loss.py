"""Cross-entropy at supervised positions only, in chunks: the whole vocabulary's logits never exist at once.

torch's own `linear_cross_entropy` (2.15) where it exists, else the same by activation-checkpointed chunks; a test holds them equal.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_TOKENS = 1024


def supervised_losses(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Loss of each supervised token: hidden [S, D], head [vocabulary, D], targets [S] to float32 [S], also for S = 0.

    Per-token losses are summed by the caller in float32: a bf16 sum is off by per cents.
    """
    if hasattr(F, "linear_cross_entropy"):
        return F.linear_cross_entropy(hidden, head, targets, reduction="none").float()
    return chunked_losses(hidden, head, targets)


def chunked_losses(hidden: Tensor, head: Tensor, targets: Tensor, chunk_tokens: int = CHUNK_TOKENS) -> Tensor:
    """The same by chunks whose logits are computed again in the backward pass."""
    if len(hidden) == 0:
        return (hidden.sum() + head.sum() * 0).float().expand(0)  # keeps the graph, so every rank runs the same backward
    pieces = [
        checkpoint(
            _losses, hidden[start : start + chunk_tokens], head, targets[start : start + chunk_tokens], use_reentrant=False
        )
        for start in range(0, len(hidden), chunk_tokens)
    ]
    return torch.cat(pieces)


def _losses(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy((hidden @ head.t()).float(), targets, reduction="none")
