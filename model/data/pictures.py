"""Is this a picture, how large, and how does it lie: from bytes, without keeping the pixels.

Bytes decide the format, not the file's name (public sets hold PNG named .JPEG). The picture is decoded once, a JPEG at an
eighth of its size, because a half-finished download has a sound header: it must fail here and not in the middle of training.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass

from PIL import Image

MAX_PICTURE_BYTES = 128 << 20
MAX_PICTURE_PIXELS = 80_000_000
"""Larger pictures are refused before they are decoded (decompression bombs); below Pillow's own warning."""

_EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}
_ORIENTATION_TAG = 0x0112
_TURNED = (5, 6, 7, 8)


class PictureFault(ValueError):
    """A file that cannot be used as a picture."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class PictureInfo:
    """What the bytes of a picture say."""

    stored_width_px: int
    stored_height_px: int
    orientation: int
    """EXIF orientation, 1 (as stored) to 8."""
    extension: str
    sha256: str

    @property
    def upright_size_px(self) -> tuple[int, int]:
        """Width and height after the rotation that the EXIF tag asks for."""
        size = (self.stored_width_px, self.stored_height_px)
        return (size[1], size[0]) if self.orientation in _TURNED else size

    def shown(self, annotated_px: tuple[int, int] | None) -> tuple[int, int, bool]:
        """Width, height and whether the reader must turn the picture, so that it agrees with its annotations.

        Args:
            annotated_px: Width and height in the annotation file; None where it records none. Then, and where both ways
                agree, the picture is shown as a viewer shows it: upright.

        Raises:
            PictureFault: neither way agrees.
        """
        stored = (self.stored_width_px, self.stored_height_px)
        if self.orientation != 1 and annotated_px in (None, self.upright_size_px):
            return (*self.upright_size_px, True)
        if annotated_px in (None, stored):
            return (*stored, False)
        raise PictureFault(
            "picture size differs from its record", f"the file has {stored}, its record {annotated_px} (width, height)"
        )


def inspect_picture(data: bytes, max_pixels: int = MAX_PICTURE_PIXELS) -> PictureInfo:
    """Check that bytes are a whole picture of a known format within the limits.

    Raises:
        PictureFault: they are not; its `reason` is short and stable.
    """
    if not data:
        raise PictureFault("picture empty", "the file has no bytes")
    if len(data) > MAX_PICTURE_BYTES:
        raise PictureFault("picture too large", f"{len(data)} bytes, at most {MAX_PICTURE_BYTES} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=tuple(_EXTENSIONS)) as image:
                width_px, height_px = image.size
                if width_px * height_px > max_pixels:
                    raise PictureFault("picture too large", f"{width_px} x {height_px} pixels, at most {max_pixels} are read")
                orientation = _orientation(image)
                extension = _EXTENSIONS[image.format or ""]
                if image.format == "JPEG":
                    image.draft(image.mode, (max(1, width_px // 8), max(1, height_px // 8)))
                image.load()
    except PictureFault:
        raise
    except Exception as error:  # Pillow's decoders raise many types for damaged bytes
        raise PictureFault("picture unreadable", f"{type(error).__name__}: {str(error)[:160]}") from error
    return PictureInfo(width_px, height_px, orientation, extension, hashlib.sha256(data).hexdigest())


def picture_frames(data: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size as stored and size upright, (width, height) each, from the header alone.

    Raises:
        PictureFault: there is no header that can be read.
    """
    try:
        with Image.open(io.BytesIO(data), formats=tuple(_EXTENSIONS)) as image:
            info = PictureInfo(*image.size, _orientation(image), "", "")
    except Exception as error:  # Pillow's decoders raise many types for damaged bytes
        raise PictureFault("picture unreadable", f"{type(error).__name__}: {str(error)[:160]}") from error
    return (info.stored_width_px, info.stored_height_px), info.upright_size_px


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; a damaged EXIF block is no reason to lose the picture."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
