"""What must be there before a pipeline starts: the variant's base directory. Nano's is made here, once a store."""

from rich.console import Console

from model import storage
from model.contracts.checkpoint import BaseModel
from model.errors import ConfigError
from model.variants import variant_named
from model.weights import BASE_FILE, read_base
from pipelines.bars import bar

NANO_BASE = "bases/nano"


def base_for(variant: str, base: str, store_uri: str, console: Console) -> str:
    """The base directory of a variant: the one that was given, or nano's own, pre-trained on drawn scenes in two minutes.

    Raises:
        ConfigError: a published size without base, or an unknown one.
    """
    if base:
        return base
    uri = _made_here(variant, store_uri)
    from model.demo.prelude import make_nano_base

    with bar(console, "nano's base") as progress:
        make_nano_base(uri, progress=progress)
    return uri


def known_base(variant: str, base: str, store_uri: str) -> BaseModel | None:
    """What the base directory says of itself; None for nano's own before it is made.

    Raises:
        ConfigError: as `base_for`.
        DataError: the directory that was given is none.
    """
    if base:
        return read_base(base)
    uri = _made_here(variant, store_uri)
    return read_base(uri) if storage.exists(storage.join(uri, BASE_FILE)) else None


def _made_here(variant: str, store_uri: str) -> str:
    size = variant_named(variant)
    if variant != "nano":
        raise ConfigError(
            f"{variant} starts from published weights ({size.base}); make a base directory with python -m model.convert and "
            "give it with --base."
        )
    return storage.join(store_uri, NANO_BASE)
