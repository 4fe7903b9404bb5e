"""Dataset families: one file each, one line each here. `model/data/README.md` says how to add one."""

from model.data.sources import (
    coco_detection,
    icdar_spotting,
    llava,
    papertext,
    publaynet,
    refcoco,
    text_dialogue,
    vqav2,
)
from model.data.sources.base import Source
from model.errors import ConfigError

SOURCES: dict[str, Source] = {
    "coco_detection": coco_detection.SOURCE,
    "refcoco": refcoco.SOURCE,
    "vqav2": vqav2.SOURCE,
    "icdar_spotting": icdar_spotting.SOURCE,
    "llava": llava.SOURCE,
    "text_dialogue": text_dialogue.SOURCE,
    "publaynet": publaynet.SOURCE,
    "papertext": papertext.SOURCE,
}


def source_named(name: str) -> Source:
    """The reader of a family.

    Raises:
        ConfigError: there is none of that name; lists those that exist.
    """
    if (source := SOURCES.get(name)) is None:
        raise ConfigError(f"there is no dataset family '{name}'; the families are {', '.join(SOURCES)}.")
    return source
