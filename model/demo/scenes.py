"""Scenes of coloured shapes and one printed word, drawn from nothing but (seed, index): the demo's photographs.

A scene is first a description (what lies where) and then pixels, so every label is true by construction. Lengths follow the
picture's longest edge: a shape in a wide picture is as large, relative to its padded square, as one in a square picture.
"""

import functools
import io
from dataclasses import dataclass

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
    "log", "map", "net", "owl", "pig", "rug", "sun", "van", "web", "zoo",
)  # fmt: skip
WORD_LETTERS = 3
SCENE_VERSION = 1
"""Grows when the same (seed, index) would give another picture."""

SQUARE_PX, WIDE_PX, TALL_PX = (256, 256), (256, 128), (128, 256)
_WIDE_SHARE, _TALL_SHARE = 0.15, 0.15
_EDGE_PX, _GAP_PX = 4, 8
_THING_PX = (52, 92)
_FONT_PX = (48, 60)
_INK = (25, 25, 25)

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
    """A printed word and the box of its ink."""

    text: str
    box: Box
    font_px: int


@dataclass(frozen=True)
class Scene:
    """What a picture shows. Shapes and colours differ within a scene, so that a name points to one thing."""

    seed: int
    index: int
    width: int
    height: int
    background: tuple[int, int, int]
    things: tuple[Thing, ...]
    word: Word


def make_scene(seed: int, index: int) -> Scene:
    """The scene with this number: the same arguments give the same scene on any machine."""
    rng = np.random.default_rng([SCENE_VERSION, seed, index])
    kind = rng.random()
    width, height = WIDE_PX if kind < _WIDE_SHARE else TALL_PX if kind < _WIDE_SHARE + _TALL_SHARE else SQUARE_PX
    background = (int(rng.integers(225, 256)), int(rng.integers(225, 256)), int(rng.integers(225, 256)))
    num_things = int(rng.integers(1, 5 if width == height else 4))
    shapes = [SHAPES[i] for i in rng.permutation(len(SHAPES))[:num_things]]
    colours = [list(COLOURS)[i] for i in rng.permutation(len(COLOURS))[:num_things]]
    text, font_px = WORDS[rng.integers(len(WORDS))], int(rng.integers(*_FONT_PX))
    sides_px = [int(side) for side in rng.integers(*_THING_PX, size=num_things)]
    left, top, right, bottom = _ink_box(text, font_px)
    boxes = _place(rng, [(right - left, bottom - top), *((side, side) for side in sides_px)], width, height)
    things = tuple(Thing(*thing) for thing in zip(shapes, colours, boxes[1:], strict=False))
    return Scene(seed, index, width, height, background, things, Word(text, boxes[0], font_px))


def draw(scene: Scene) -> Image.Image:
    """Pixels of a scene, RGB; drawn at twice the size and averaged, so that edges are smooth."""
    picture = Image.new("RGB", (2 * scene.width, 2 * scene.height), scene.background)
    pen = ImageDraw.Draw(picture)
    for thing in scene.things:
        _draw_thing(pen, thing)
    _draw_word(pen, scene.word.text, scene.word.font_px, (scene.word.box[0], scene.word.box[1]))
    return picture.reduce(2)


def encode(picture: Image.Image, kind: str = "JPEG") -> bytes:
    """File bytes of a picture: JPEG or PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 92, "subsampling": 0} if kind == "JPEG" else {"compress_level": 3}))
    return buffer.getvalue()


def _draw_thing(pen: ImageDraw.ImageDraw, thing: Thing) -> None:
    colour = COLOURS[thing.colour]
    x1, y1, x2, y2 = (2 * value for value in thing.box)
    x2, y2 = x2 - 1, y2 - 1  # Pillow's boxes include their last pixel
    side = x2 - x1
    if thing.shape == "circle":
        pen.ellipse((x1, y1, x2, y2), fill=colour)
    elif thing.shape == "square":
        pen.rectangle((x1, y1, x2, y2), fill=colour)
    elif thing.shape == "triangle":
        pen.polygon([(x1, y2), (x2, y2), ((x1 + x2) // 2, y1)], fill=colour)
    elif thing.shape == "cross":
        third = side // 3
        pen.rectangle((x1 + third, y1, x2 - third, y2), fill=colour)
        pen.rectangle((x1, y1 + third, x2, y2 - third), fill=colour)
    else:
        pen.ellipse((x1, y1, x2, y2), outline=colour, width=side // 6)


def _place(rng: np.random.Generator, sizes: list[tuple[int, int]], width: int, height: int) -> list[Box]:
    """Boxes of these sizes that do not touch: the first ones, as many as found a place (at least two: a word and a shape)."""
    for _ in range(200):
        boxes: list[Box] = []
        for size in sizes:
            box = _free_box(rng, size, boxes, width, height)
            if box is None:
                break
            boxes.append(box)
        if len(boxes) >= 2:
            return boxes
    raise AssertionError(f"no place for a word and a shape in {width} x {height} pixels")


def _free_box(rng: np.random.Generator, size: tuple[int, int], taken: list[Box], width: int, height: int) -> Box | None:
    for _ in range(60):
        x1 = int(rng.integers(_EDGE_PX, width - size[0] - _EDGE_PX + 1))
        y1 = int(rng.integers(_EDGE_PX, height - size[1] - _EDGE_PX + 1))
        box = (x1, y1, x1 + size[0], y1 + size[1])
        if all(
            box[2] + _GAP_PX <= other[0]
            or other[2] + _GAP_PX <= box[0]
            or box[3] + _GAP_PX <= other[1]
            or other[3] + _GAP_PX <= box[1]
            for other in taken
        ):
            return box
    return None


@functools.cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


@functools.cache
def _ink_box(text: str, font_px: int) -> Box:
    """Where the ink of a word lies, in picture pixels, when it is drawn at (0, 0); measured on pixels, a font's own box is larger."""
    origin_px = font_px
    plate = Image.new("L", (2 * (len(text) + 2) * font_px, 6 * font_px))
    ImageDraw.Draw(plate).text((2 * origin_px, 2 * origin_px), text, font=_font(2 * font_px), fill=255, stroke_width=2)
    box = plate.reduce(2).getbbox()
    assert box is not None, f"the font has no ink for {text!r}"
    left, top, right, bottom = box
    return left - origin_px, top - origin_px, right - origin_px, bottom - origin_px


def _draw_word(pen: ImageDraw.ImageDraw, text: str, font_px: int, corner: tuple[int, int]) -> None:
    left, top, _, _ = _ink_box(text, font_px)
    at = (2 * (corner[0] - left), 2 * (corner[1] - top))
    pen.text(at, text, font=_font(2 * font_px), fill=_INK, stroke_width=2, stroke_fill=_INK)
