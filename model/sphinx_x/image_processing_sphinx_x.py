"""A picture as the encoders see it: padded to a square, resized bicubically, seen whole and cut into sub-images.

One function, `cut_views`, serves training, evaluation and the exported processor. It returns bytes: normalisation happens in the
model, on the device, each encoder with its own mean and standard deviation.
"""

import io
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from transformers import BaseImageProcessor

from .views import kept_views, picture_offset

FILL = (122, 116, 104)
"""CLIP's mean colour: padding is about zero after normalisation, as in the original."""
MAX_PIXELS = 100_000_000


class Views(NamedTuple):
    """The real views of one picture, in view order."""

    conv: np.ndarray
    """uint8 [V, 3, conv_px, conv_px]."""
    vit: np.ndarray
    """uint8 [V, 3, vit_px, vit_px]."""
    kept: tuple[bool, ...]
    """Per view, global first: whether it is among the V; each other becomes a skip token."""


def open_picture(data: bytes, upright: bool = False, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode untrusted bytes to RGB.

    Args:
        upright: apply the rotation that the EXIF tag asks for.

    Raises:
        ValueError: no picture, broken, or more than `max_pixels`; in one sentence.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > max_pixels:
                raise ValueError(f"the picture has {image.width} x {image.height} pixels, more than {max_pixels}")
            image.load()
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"the picture cannot be decoded ({type(error).__name__}: {str(error)[:80]})") from error
    if upright:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "P", "PA"):
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def cut_views(image: Image.Image, grid: int, conv_px: int, vit_px: int, padding: str = "corner") -> Views:
    """Views of a picture for both encoders."""
    kept = kept_views(image.width, image.height, grid, padding)
    conv_square = _padded_square(image, grid * conv_px, padding)
    vit_square = conv_square.resize((grid * vit_px, grid * vit_px), Image.Resampling.BICUBIC)
    return Views(_cut(conv_square, grid, conv_px, kept), _cut(vit_square, grid, vit_px, kept), kept)


def _padded_square(image: Image.Image, side_px: int, padding: str) -> Image.Image:
    scale = side_px / max(image.width, image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    left_px, top_px = picture_offset(image.width, image.height, padding)
    square = Image.new("RGB", (side_px, side_px), FILL)
    square.paste(image.resize(size, Image.Resampling.BICUBIC), (round(left_px * scale), round(top_px * scale)))
    return square


def _cut(square: Image.Image, grid: int, view_px: int, kept: tuple[bool, ...]) -> np.ndarray:
    whole = np.asarray(square if grid == 1 else square.resize((view_px, view_px), Image.Resampling.BICUBIC))
    views = [whole]
    pixels = np.asarray(square)
    for number, keep in enumerate(kept[1:]):
        if keep:
            top_px, left_px = (number // grid) * view_px, (number % grid) * view_px
            views.append(pixels[top_px : top_px + view_px, left_px : left_px + view_px])
    return np.ascontiguousarray(np.stack(views).transpose(0, 3, 1, 2))


class SphinxXImageProcessor(BaseImageProcessor):
    """The geometry of a model's views, saved beside it."""

    model_input_names = ["conv_views", "vit_views"]

    def __init__(self, grid: int = 2, conv_px: int = 512, vit_px: int = 224, padding: str = "corner", **kwargs):
        super().__init__(**kwargs)
        self.grid, self.conv_px, self.vit_px, self.padding = grid, conv_px, vit_px, padding

    def views(self, image: Image.Image) -> Views:
        return cut_views(image.convert("RGB"), self.grid, self.conv_px, self.vit_px, self.padding)
