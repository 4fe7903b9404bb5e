"""What a SPHINX-X model is built from: view geometry, two encoders, a Llama or Mixtral."""

from typing import Any

from transformers import AutoConfig, PretrainedConfig

from .views import tokens_per_view


class SphinxXConfig(PretrainedConfig):
    """
    Args:
        variant: name of the family member.
        grid, conv_px, vit_px, padding: see `views.py`; conv_px / 32 equals vit_px / 14.
        conv_name, conv_arguments, conv_channels: timm ConvNeXt and the channels of its last map.
        vit_name, vit_arguments, vit_channels: timm DINOv2 and its width.
        text_config: configuration of the language model (model_type llama or mixtral).
        balance_loss_weight: weight of the experts' load-balance loss in training.
    """

    model_type = "sphinx_x"
    sub_configs = {"text_config": AutoConfig}  # pyright: ignore[reportAssignmentType] (transformers types it as its own descriptor)

    def __init__(
        self,
        variant: str = "nano",
        grid: int = 2,
        conv_px: int = 64,
        vit_px: int = 28,
        padding: str = "corner",
        conv_name: str = "convnext_xxlarge",
        conv_arguments: dict[str, Any] | None = None,
        conv_channels: int = 3072,
        vit_name: str = "vit_giant_patch14_dinov2",
        vit_arguments: dict[str, Any] | None = None,
        vit_channels: int = 1536,
        text_config: dict[str, Any] | PretrainedConfig | None = None,
        balance_loss_weight: float = 0.0,
        **kwargs: Any,
    ):
        self.variant, self.grid, self.conv_px, self.vit_px, self.padding = variant, grid, conv_px, vit_px, padding
        self.conv_name, self.conv_arguments, self.conv_channels = conv_name, conv_arguments or {}, conv_channels
        self.vit_name, self.vit_arguments, self.vit_channels = vit_name, vit_arguments or {}, vit_channels
        self.balance_loss_weight = balance_loss_weight
        if not isinstance(text_config, PretrainedConfig):
            text_config = AutoConfig.for_model(**{"model_type": "llama", **(text_config or {})})
        self.text_config = text_config
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)

    @property
    def tokens_per_view(self) -> int:
        """Patches, the pseudo-CLS token, the start and the end tag."""
        return tokens_per_view(self.conv_px)

    def get_text_config(self, *args: Any, **kwargs: Any) -> PretrainedConfig:
        return self.text_config
