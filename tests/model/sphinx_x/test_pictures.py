"""Any file that people send becomes RGB, or one sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from model.sphinx_x.image_processing_sphinx_x import SphinxXImageProcessor, open_picture


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def huge_png(width_px: int, height_px: int) -> bytes:
    """A PNG whose header claims a size; a few hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot be decoded"),
        (b"<html>not found</html>", "cannot be decoded"),
        (encoded(Image.new("RGB", (400, 400)), "JPEG")[:200], "cannot be decoded"),
        (encoded(Image.effect_noise((300, 300), 50))[:2000], "cannot be decoded"),
        (huge_png(12_000, 12_000), "12000 x 12000 pixels, more than 100000000"),
        (huge_png(100_000, 100_000), "cannot be decoded"),
    ],
    ids=["empty", "html", "half a jpeg", "half a png", "huge", "bomb"],
)
def test_a_broken_or_huge_picture_is_refused_in_one_sentence(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refusal:
        open_picture(data)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    grey = 255 if mode == "1" else 200
    source = Image.new("L", (9, 7), grey)
    image = Image.fromarray(np.full((7, 9), 200 * 257, np.uint16)) if mode == "I;16" else source.convert(mode)
    opened = open_picture(encoded(image, kind))
    assert opened.mode == "RGB"
    assert opened.size == (9, 7)
    assert abs(np.asarray(opened).astype(int) - grey).max() <= 2


@pytest.mark.parametrize("palette", [False, True])
def test_transparency_lies_over_white(palette: bool) -> None:
    image = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    image.putpixel((0, 0), (10, 20, 30, 255))
    opened = open_picture(encoded(image.convert("P") if palette else image))
    assert opened.getpixel((3, 3)) == (255, 255, 255)
    assert max(abs(a - b) for a, b in zip(opened.getpixel((0, 0)), (10, 20, 30), strict=True)) < 30


def turned(width_px: int, height_px: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.new("RGB", (width_px, height_px)), "JPEG", exif=exif)


def test_the_exif_rotation_is_applied_when_asked_for_and_never_twice() -> None:
    assert open_picture(turned(80, 20)).size == (80, 20)
    assert open_picture(turned(80, 20), upright=True).size == (20, 80)
    processor = SphinxXImageProcessor(grid=2, conv_px=64, vit_px=28)
    wide, tall = (True, True, True, False, False), (True, True, False, True, False)
    assert processor.views(open_picture(turned(80, 20))).kept == wide
    assert processor.views(open_picture(turned(80, 20), upright=True)).kept == tall
    assert processor.views(Image.open(io.BytesIO(turned(80, 20)))).kept == tall
