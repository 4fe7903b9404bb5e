"""What must be there before a pipeline starts: the variant's base directory. Nano's is made here, once a store."""

from rich.console import Console

from model import storage
from model.errors import ConfigError
from model.variants import variant_named
from pipelines.bars import bar

NANO_BASE = "bases/nano"


def base_for(variant: str, base: str, store_uri: str, console: Console) -> str:
    """The base directory of a variant: the one that was given, or nano's own, pre-trained on drawn scenes in two minutes.

    Raises:
        ConfigError: a published size without base, or an unknown one.
    """
    size = variant_named(variant)
    if base:
        return base
    if variant != "nano":
        raise ConfigError(
            f"{variant} starts from published weights ({size.base}); make a base directory with python -m model.convert and "
            "give it with --base."
        )
    from model.demo.prelude import make_nano_base

    uri = storage.join(store_uri, NANO_BASE)
    with bar(console, "nano's base") as progress:
        make_nano_base(uri, progress=progress)
    return uri
