"""Scenes of coloured shapes and one printed word, drawn from nothing but (seed, index): the demo's photographs.

A scene is first a description (what lies where) and then pixels, so that every label is true by construction. Lengths follow
the picture's longest edge: a shape in a wide picture is as large, relative to its padded square, as one in a square picture.
"""

import functools
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SHAPES = ("circle", "square", "triangle", "cross", "ring")
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 205, 30),
    "purple": (150, 50, 170),
    "orange": (245, 140, 30),
}
WORDS = (
    "box", "cup", "dog", "egg", "fan", "gym", "hat", "ink", "jam", "key",
    "log", "map", "net", "owl", "pig", "quiz", "rug", "sun", "van", "zoo",
)  # fmt: skip
LONG_EDGE_PX = 256
SCENE_VERSION = 1
"""Grows when the same (seed, index) would give another picture."""

_MARGIN_PX = 4
_GAP_PX = 8
_SIZES_PX = ((184, 256), (184, 128), (128, 256), (256, 256))

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels; x2 and y2 are exclusive."""


@dataclass(frozen=True)
class Thing:
    """A coloured shape and the box it fills."""

    shape: str
    colour: str
    box: Box

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Word:
    """A printed word, the box of its ink and the horizontal centre of each letter."""

    text: str
    box: Box
    font_px: int
    letter_centres_px: tuple[float, ...]


@dataclass(frozen=True)
class Scene:
    """What a picture shows. Shapes and colours differ from one another within a scene, so a name points to one thing."""

    seed: int
    index: int
    width: int
    height: int
    background: tuple[int, int, int]
    things: tuple[Thing, ...]
    word: Word
