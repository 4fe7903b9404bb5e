"""The family: every size's geometry, encoders, language model and default way of sharding. No torch here.

The one table of sizes; the model is built from it, `sphinx-x plan` calculates from it, the pipelines offer its names.
Sizes are those of the paper (arXiv 2402.05935, section 3) and of the published backbones' configurations.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from model.contracts.base import Part
from model.errors import ConfigError
from model.sphinx_x.views import tokens_per_view


class ViewGeometry(Part):
    """How a padded square picture is cut: one global view and grid x grid sub-images."""

    grid: int = Field(default=2, ge=1)
    """Sub-images per side; 1 means the global view alone."""
    conv_px: int
    """Side of a view for the ConvNeXt, whose stride is 32."""
    vit_px: int
    """Side of the same view for the DINOv2, whose stride is 14; both give the same grid of tokens."""

    @property
    def num_views(self) -> int:
        return 1 if self.grid == 1 else 1 + self.grid**2

    @property
    def cells_per_side(self) -> int:
        """Patches per side of a view, the same for both encoders."""
        return self.conv_px // 32

    @property
    def tokens_per_view(self) -> int:
        """Patches, the pseudo-CLS token, the start tag and the end tag: 259 for 16 x 16 patches."""
        return tokens_per_view(self.conv_px)

    @model_validator(mode="after")
    def _grids_agree(self) -> Self:
        if self.conv_px % 32 or self.vit_px % 14 or self.conv_px // 32 != self.vit_px // 14:
            raise ValueError("conv_px / 32 and vit_px / 14 must be the same whole number, so that both encoders see one grid")
        return self


class EncoderShape(Part):
    """A frozen timm encoder."""

    name: str
    """timm model name."""
    channels: int
    parameters: int
    """Number of parameters, as counted on the model."""
    forward_tflop_per_view: float
    """Forward pass of one view, multiply-add counted as 2 (torch's FlopCounterMode)."""
    arguments: dict = {}
    """Further arguments of timm.create_model; empty for the published encoders."""


class LanguageShape(Part):
    """A transformers Llama or Mixtral."""

    kind: Literal["llama", "mixtral"] = "llama"
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    rope_theta: float = 1e4
    max_positions: int
    rms_eps: float = 1e-5
    initializer_range: float = 0.02
    """Standard deviation of initial weights, where no base brings any."""
    experts: int = 1
    active_experts: int = 1

    @property
    def layer_parameters(self) -> int:
        head = self.hidden // self.heads
        attention = self.hidden * head * (2 * self.heads + 2 * self.kv_heads)
        router = self.hidden * self.experts if self.experts > 1 else 0
        return attention + 3 * self.hidden * self.ffn * self.experts + router + 2 * self.hidden

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + 2 * self.vocab * self.hidden + self.hidden

    @property
    def active_matmul_parameters(self) -> int:
        """Parameters that a token is multiplied with in the layers; the embedding and the head are not among them."""
        head = self.hidden // self.heads
        router = self.hidden * self.experts if self.experts > 1 else 0
        return self.layers * (
            self.hidden * head * (2 * self.heads + 2 * self.kv_heads)
            + 3 * self.hidden * self.ffn * self.active_experts
            + router
        )


class Variant(Part):
    """One member of the family."""

    name: str
    geometry: ViewGeometry
    conv: EncoderShape
    vit: EncoderShape
    language: LanguageShape
    base: str
    """Published weights that the language model starts from; a recipe names a directory that holds them."""
    base_licence: str
    gpus_per_model: int = 1
    """GPUs that evaluation asks for (141 GB each)."""

    @property
    def fused_channels(self) -> int:
        return self.conv.channels + self.vit.channels

    @property
    def fusion_parameters(self) -> int:
        """Linear, LayerNorm, start tag, end tag and skip token."""
        return self.fused_channels * self.language.hidden + 6 * self.language.hidden


CONVNEXT_XXL = EncoderShape(
    name="convnext_xxlarge.clip_laion2b_soup", channels=3072, parameters=843_398_016, forward_tflop_per_view=1.584
)
DINOV2_G = EncoderShape(
    name="vit_giant_patch14_dinov2.lvd142m", channels=1536, parameters=1_134_769_664, forward_tflop_per_view=0.599
)
# The same classes and strides, small enough to be pre-trained on two CPU cores in a minute or two. Layer scale starts at 1:
# at timm's 1e-6 a briefly trained ConvNeXt stays almost linear. Kernels of 3 learn shapes in half the time of 7.
CONVNEXT_NANO = EncoderShape(
    name="convnext_xxlarge", channels=192, parameters=572_664, forward_tflop_per_view=57.563e-6,
    arguments={"depths": [1, 1, 2, 1], "dims": [24, 48, 96, 192], "kernel_sizes": 3, "ls_init_value": 1.0},
)  # fmt: skip
DINOV2_NANO = EncoderShape(
    name="vit_giant_patch14_dinov2", channels=96, parameters=282_784, forward_tflop_per_view=9.549e-6,
    arguments={"embed_dim": 96, "depth": 2, "num_heads": 3, "mlp_ratio": 5.33334, "init_values": 0.1},
)  # fmt: skip

FULL_1K = ViewGeometry(grid=2, conv_px=512, vit_px=224)
FULL_2K = ViewGeometry(grid=3, conv_px=512, vit_px=224)

LLAMA2_13B = LanguageShape(hidden=5120, layers=40, heads=40, kv_heads=40, ffn=13824, vocab=32000, max_positions=4096)

VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(
            name="nano", geometry=ViewGeometry(grid=1, conv_px=128, vit_px=56), conv=CONVNEXT_NANO, vit=DINOV2_NANO,
            language=LanguageShape(hidden=128, layers=3, heads=4, kv_heads=2, ffn=336, vocab=832, max_positions=2048, initializer_range=0.08),
            base="made by the demo's prelude", base_licence="Apache-2.0",
        ),
        Variant(
            name="tiny", geometry=FULL_1K, conv=CONVNEXT_XXL, vit=DINOV2_G,
            language=LanguageShape(hidden=2048, layers=22, heads=32, kv_heads=4, ffn=5632, vocab=32000, max_positions=2048),
            base="TinyLlama-1.1B-intermediate-step-1195k-token-2.5T", base_licence="Apache-2.0",
        ),
        Variant(
            name="intern2", geometry=FULL_1K, conv=CONVNEXT_XXL, vit=DINOV2_G,
            language=LanguageShape(
                hidden=4096, layers=32, heads=32, kv_heads=8, ffn=14336, vocab=92544, rope_theta=1e6, max_positions=32768
            ),
            base="internlm2-7b", base_licence="other (InternLM2 weights)",
        ),
        Variant(
            name="plus", geometry=FULL_1K, conv=CONVNEXT_XXL, vit=DINOV2_G, language=LLAMA2_13B,
            base="Llama-2-13b", base_licence="LLAMA2",
        ),
        Variant(
            name="plus-2k", geometry=FULL_2K, conv=CONVNEXT_XXL, vit=DINOV2_G, language=LLAMA2_13B,
            base="Llama-2-13b", base_licence="LLAMA2",
        ),
        Variant(
            name="moe", geometry=FULL_1K, conv=CONVNEXT_XXL, vit=DINOV2_G,
            language=LanguageShape(
                kind="mixtral", hidden=4096, layers=32, heads=32, kv_heads=8, ffn=14336, vocab=32000, rope_theta=1e6,
                max_positions=32768, experts=8, active_experts=2,
            ),
            base="Mixtral-8x7B-v0.1", base_licence="Apache-2.0", gpus_per_model=2,
        ),
    )
}  # fmt: skip


def variant_named(name: str) -> Variant:
    """Look a size up.

    Raises:
        ConfigError: there is no such size; lists those that exist.
    """
    if name not in VARIANTS:
        raise ConfigError(f"there is no variant '{name}'; choose one of {', '.join(VARIANTS)}.")
    return VARIANTS[name]
