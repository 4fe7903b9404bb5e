"""A picture as the encoders see it: padded to a square, resized bicubically, seen whole and cut into sub-images.

One function, `cut_views`, serves training, evaluation and the exported processor. It returns bytes: normalisation happens in the
model, on the device, each encoder with its own mean and standard deviation.
"""

import io
import warnings
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from transformers import BaseImageProcessor

from .views import kept_views, picture_offset

FILL = (122, 116, 104)
"""CLIP's mean colour: padding is about zero after normalisation, as in the original."""
MAX_PIXELS = 100_000_000

# Sizes are judged here, by `max_pixels`; one filter for the process, because setting it around a call is not safe in threads.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


class Views(NamedTuple):
    """The real views of one picture, in view order."""

    conv: np.ndarray
    """uint8 [V, 3, conv_px, conv_px]."""
    vit: np.ndarray
    """uint8 [V, 3, vit_px, vit_px]."""
    kept: tuple[bool, ...]
    """Per view, global first: whether it is among the V; each other becomes a skip token."""


def open_picture(data: bytes, upright: bool = False, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode untrusted bytes to RGB, transparency over white.

    Args:
        upright: apply the rotation that the EXIF tag asks for; without it the tag is forgotten.

    Raises:
        ValueError: no picture, broken, or more than `max_pixels`; in one sentence.
    """
    try:
        image = Image.open(io.BytesIO(data))
    except Exception as error:
        raise _undecodable(error) from error
    if image.width * image.height > max_pixels:
        raise ValueError(f"the picture has {image.width} x {image.height} pixels, more than {max_pixels}")
    try:
        image.load()
        return flat_rgb(ImageOps.exif_transpose(image) if upright else image)
    except Exception as error:
        raise _undecodable(error) from error


def flat_rgb(image: Image.Image) -> Image.Image:
    """Any picture as a new RGB one: transparency over white, 16-bit grey scaled, no metadata."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    flat = image.copy() if image.mode == "RGB" else image.convert("RGB")
    flat.info = {}
    return flat


def cut_views(image: Image.Image, grid: int, conv_px: int, vit_px: int, padding: str = "corner") -> Views:
    """Views of an RGB picture for both encoders; the whole and the sub-images come from one padded canvas of grid x conv_px."""
    kept = kept_views(image.width, image.height, grid, padding)
    canvas = _padded_square(image, grid * conv_px, padding)
    return Views(_cut(canvas, grid, conv_px, kept), _cut(canvas, grid, vit_px, kept), kept)


def _padded_square(image: Image.Image, side_px: int, padding: str) -> Image.Image:
    longest_px = max(image.size)
    left_px, top_px = picture_offset(image.width, image.height, padding)
    left, right = _scaled(left_px, image.width, side_px, longest_px)
    top, bottom = _scaled(top_px, image.height, side_px, longest_px)
    square = Image.new("RGB", (side_px, side_px), FILL)
    square.paste(image.resize((right - left, bottom - top), Image.Resampling.BICUBIC), (left, top))
    return square


def _scaled(start_px: int, length_px: int, side_px: int, longest_px: int) -> tuple[int, int]:
    """An interval of the padded picture on a canvas of `side_px`; whole numbers only, at least one pixel, never outside its cells."""
    start, end = ((2 * edge * side_px + longest_px) // (2 * longest_px) for edge in (start_px, start_px + length_px))
    if start < end:
        return start, end
    start = start_px * side_px // longest_px
    return start, start + 1


def _cut(canvas: Image.Image, grid: int, view_px: int, kept: tuple[bool, ...]) -> np.ndarray:
    views = [np.asarray(_resized(canvas, view_px))]
    if grid > 1:
        pixels = np.asarray(_resized(canvas, grid * view_px))
        for number in (number for number, keep in enumerate(kept[1:]) if keep):
            top, left = number // grid * view_px, number % grid * view_px
            views.append(pixels[top : top + view_px, left : left + view_px])
    return np.ascontiguousarray(np.stack(views).transpose(0, 3, 1, 2))


def _resized(square: Image.Image, side_px: int) -> Image.Image:
    return square if square.width == side_px else square.resize((side_px, side_px), Image.Resampling.BICUBIC)


def _undecodable(error: Exception) -> ValueError:
    return ValueError(f"the picture cannot be decoded ({type(error).__name__}: {' '.join(str(error).split())[:80]})")


class SphinxXImageProcessor(BaseImageProcessor):
    """The geometry of a model's views, saved beside it."""

    model_input_names = ["conv_views", "vit_views"]

    def __init__(self, grid: int = 2, conv_px: int = 512, vit_px: int = 224, padding: str = "corner", **kwargs: Any):
        super().__init__(**kwargs)
        self.grid, self.conv_px, self.vit_px, self.padding = grid, conv_px, vit_px, padding

    def views(self, image: Image.Image) -> Views:
        """Views of a picture as a person sees it: turned upright if it says so, transparency over white."""
        upright = flat_rgb(ImageOps.exif_transpose(image))
        return cut_views(upright, self.grid, self.conv_px, self.vit_px, self.padding)
