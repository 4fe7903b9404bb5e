"""The two frozen encoders and their fusion: views in bytes to language tokens ("mixture of visual experts", paper, section 3).

Shapes: V views, P tokens per view without tags (cells² + 1), C fused channels, D language width.
"""

from typing import Any

import timm
import torch
from torch import Tensor, nn

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_convnext(name: str, arguments: dict[str, Any]) -> nn.Module:
    """A timm ConvNeXt whose output is its head-normed, un-pooled map [V, channels, h, w]."""
    return timm.create_model(name, pretrained=False, num_classes=0, global_pool="", **arguments)


def make_dinov2(name: str, view_px: int, arguments: dict[str, Any]) -> nn.Module:
    """A timm DINOv2 with positions for views of `view_px`."""
    return timm.create_model(name, pretrained=False, num_classes=0, img_size=view_px, **arguments)


@torch.no_grad()
def encode_views(conv: nn.Module, vit: Any, conv_views: Tensor, vit_views: Tensor) -> Tensor:
    """uint8 views [V, 3, conv_px, conv_px] and [V, 3, vit_px, vit_px] to fused features [V, P, C], ConvNeXt's channels first."""
    dtype = vit.patch_embed.proj.weight.dtype  # a convolution: it keeps its floating type in a model loaded in 8 or 4 bits
    feature_map = conv(_normalised(conv_views, CLIP_MEAN, CLIP_STD, dtype).contiguous(memory_format=torch.channels_last))
    patches = feature_map.flatten(2).transpose(1, 2)
    # ConvNeXt has no CLS token; the mean over its map stands beside DINOv2's.
    conv_tokens = torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)
    vit_tokens = vit.forward_features(_normalised(vit_views, IMAGENET_MEAN, IMAGENET_STD, dtype))
    return torch.cat([conv_tokens, vit_tokens], dim=-1)


def _normalised(views: Tensor, mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    mean_3 = torch.tensor(mean, device=views.device).view(1, 3, 1, 1) * 255
    std_3 = torch.tensor(std, device=views.device).view(1, 3, 1, 1) * 255
    return ((views.float() - mean_3) / std_3).to(dtype)


class Fusion(nn.Module):
    """Linear and LayerNorm from both encoders to the language model, and the learnt tokens around and instead of views."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.start = nn.Parameter(torch.empty(width))
        self.end = nn.Parameter(torch.empty(width))
        self.skip = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """torch's own initialisation, and the three learnt tokens uniform in [0, 1), as in the original."""
        self.project.reset_parameters()
        self.norm.reset_parameters()
        for token in (self.start, self.end, self.skip):
            nn.init.uniform_(token)

    def forward(self, features: Tensor) -> Tensor:
        """Features [V, P, C] to view tokens [V, P + 2, D], start tag first and end tag last."""
        tokens = self.norm(self.project(features.to(self.norm.weight.dtype)))
        start, end = (tag.expand(len(tokens), 1, -1) for tag in (self.start, self.end))
        return torch.cat([start, tokens, end], dim=1)
