"""FLOPs of training, a multiply-add counted as 2: what MFU is measured by, and what packs are dealt by.

    F = 2 P sum(n) + sum(2 L d n (n + 1)) + 2 d V S      language model forward, causal attention within each sample
    J = 2 C d p v                                        fusion forward
    step = 3 (F + J) + v e                               backward counts twice; the frozen encoders run forward only

n tokens of a sample, P matmul parameters that a token passes (active experts only), L layers, d width, V vocabulary, S
supervised positions, C channels of both encoders, p patches and CLS token of a view, v real views, e forward FLOPs of both
encoders for a view. Recomputed activations are never counted. F equals torch's FlopCounterMode (tests).
"""

from collections.abc import Iterable

from model.data.steps import PackRef
from model.variants import Variant


def pack_flops(pack: PackRef, variant: Variant) -> float:
    """FLOPs of forward and backward pass of one pack."""
    return train_flops(
        [sample.tokens for sample in pack.samples],
        sum(sample.supervised_tokens for sample in pack.samples),
        pack.real_views,
        variant,
    )


def train_flops(sample_tokens: Iterable[int], supervised_tokens: int, real_views: int, variant: Variant) -> float:
    """FLOPs of forward and backward pass of some samples.

    Args:
        sample_tokens: Language positions of each sample, pictures included.
    """
    return 3 * (
        language_flops(sample_tokens, supervised_tokens, variant) + fusion_flops(real_views, variant)
    ) + real_views * encoder_flops_per_view(variant)


def language_flops(sample_tokens: Iterable[int], supervised_tokens: int, variant: Variant) -> float:
    """Forward FLOPs of the language model."""
    shape = variant.language
    lengths = list(sample_tokens)
    attention = sum(2.0 * shape.layers * shape.hidden * n * (n + 1) for n in lengths)
    return (
        2.0 * shape.active_matmul_parameters * sum(lengths) + attention + 2.0 * shape.hidden * shape.vocab * supervised_tokens
    )


def fusion_flops(real_views: int, variant: Variant) -> float:
    """Forward FLOPs of the fusion."""
    patches = variant.geometry.tokens_per_view - 2  # the tags are not projected
    return 2.0 * variant.fused_channels * variant.language.hidden * patches * real_views


def encoder_flops_per_view(variant: Variant) -> float:
    """Forward FLOPs of both frozen encoders for one view."""
    return 1e12 * (variant.conv.forward_tflop_per_view + variant.vit.forward_tflop_per_view)
