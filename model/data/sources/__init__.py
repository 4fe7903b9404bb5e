"""Dataset families: one file each, one line each here. `model/data/README.md` says how to add one."""

from model.contracts.recipe import DatasetSpec
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
from model.data.sources.base import RawInputs, Source, options_of
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


def check_dataset(spec: DatasetSpec) -> RawInputs:
    """Check in a moment what would stop the reading of a dataset; returns the files that would be read.

    Raises:
        ConfigError: an unknown family or option, or a wrong value.
        DataError: the layout's files are not there, or a program that the family needs.
        StorageError: the place cannot be reached.
    """
    source = source_named(spec.family)
    options_of(spec, source.options)
    source.tool_version()
    return source.inputs(spec)
