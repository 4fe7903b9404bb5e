"""Which pictures training never sees: a pure function of the picture's key, the recipe's seed and the held-out share.

A picture's key is its file name, not its place, so that datasets that share pictures hold out the same ones (COCO under
its 2014 and its 2017 names included), and a picture held out at a small share is also held out at a larger one.
"""

import hashlib
import re

_COCO_FILE = re.compile(r"(?:COCO_[A-Za-z]+\d{4}_)?(\d{12})")


def picture_key(file: str) -> str:
    """The key of a picture file: base name without extension; COCO's twelve digits are recognised under both names.

    >>> picture_key("train2014/COCO_train2014_000000581857.jpg") == picture_key("train2017/000000581857.jpg")
    True
    """
    stem = file.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    found = _COCO_FILE.fullmatch(stem)
    return f"coco-{int(found.group(1))}" if found else stem


def is_held_out(picture_key: str, seed: int, share: float) -> bool:
    """Whether a picture is kept from training.

    Args:
        picture_key: From `picture_key`.
        seed: The recipe's seed.
        share: `held_out_share` of the dataset, 0 (none) to below 1.
    """
    digest = hashlib.sha256(f"sphinx-x held out/{seed}/{picture_key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
