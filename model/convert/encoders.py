"""The published encoders' weights in the form the model loads: timm names, no heads, DINOv2's positions for 16 x 16 patches.

DINOv2 was published for 37 x 37 patches. The authors' hub code resizes its positional embedding for a 224 px picture bicubically,
without antialiasing and with the scale (16 + 0.1) / 37; timm and transformers each do it in another way. It is done here once,
the authors' way, so that the features are the ones SPHINX was trained on.
"""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F

from model.errors import DataError

_HUB_OFFSET = 0.1
"""`interpolate_offset` of the authors' `dinov2_vitg14`."""


def convnext_to_timm(tensors: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """CLIP-ConvNeXt out of an open_clip checkpoint (`visual.trunk.*`) or a timm one; the CLIP projection is dropped."""
    for name, tensor in tensors:
        if name.startswith("visual."):
            if not name.startswith("visual.trunk."):
                continue
            name = name.removeprefix("visual.trunk.")
        elif not name.startswith(("stem.", "stages.", "head.", "norm_pre.")):
            continue  # the text tower and the temperature of the open_clip checkpoint
        if not name.startswith("head.fc."):
            yield name, tensor


def dinov2_to_timm(
    tensors: Iterable[tuple[str, torch.Tensor]], patches_per_side: int = 16
) -> Iterator[tuple[str, torch.Tensor]]:
    """DINOv2 out of the authors' checkpoint or a timm one, with positions for `patches_per_side`².

    Raises:
        DataError: a checkpoint with register tokens, which is another model.
    """
    for name, tensor in tensors:
        if "register_tokens" in name or name == "reg_token":
            raise DataError("this DINOv2 checkpoint has register tokens; SPHINX-X uses the one without (dinov2_vitg14).")
        if name in ("mask_token", "head.weight", "head.bias"):
            continue
        if name == "pos_embed":
            tensor = resize_positions(tensor, patches_per_side)
        yield name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2."), tensor


def resize_positions(positions: torch.Tensor, patches_per_side: int) -> torch.Tensor:
    """Positional embedding [1, 1 + n², C] for another grid, as the authors' hub code does it."""
    side = round((positions.shape[1] - 1) ** 0.5)
    if side == patches_per_side:
        return positions
    cls_token, grid = positions[:, :1], positions[:, 1:].float()
    grid = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = (patches_per_side + _HUB_OFFSET) / side
    grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    flat = grid.permute(0, 2, 3, 1).reshape(1, patches_per_side**2, -1)
    return torch.cat([cls_token, flat.to(positions.dtype)], dim=1)
