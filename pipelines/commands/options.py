"""Options that several commands share, and how their values are read."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from model.errors import ConfigError

RecipeFile = Annotated[
    str, typer.Argument(metavar="RECIPE", help="YAML file (or URI) that names datasets, benchmarks and gate.")
]
VariantName = Annotated[str, typer.Option("--variant", help="Size: nano, tiny, intern2, plus, plus-2k or moe.")]
Workspace = Annotated[
    Path,
    typer.Option("--workspace", help="Folder for everything that runs on this machine write.", envvar="SPHINX_X_WORKSPACE"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Training option on top of the variant's preset, for example epochs=2 or "
                 "optimizer.learning_rate=1e-3; may be given several times."),
]  # fmt: skip
Base = Annotated[str, typer.Option("--base", help="Base directory of the variant; for nano one is made where none is given.")]
Processes = Annotated[int, typer.Option("--processes", min=1, help="Training processes on this machine.")]
ModelName = Annotated[str, typer.Option("--name", help="Name in the registry; the recipe's, or sphinx-x-<variant>.")]
Mode = Annotated[str, typer.Option("--mode", help="Scorers: official, or sphinx (those of the original suite).")]

DEFAULT_WORKSPACE = Path(".sphinx-x")


def overrides_of(settings: list[str] | None) -> dict[str, Any]:
    """Nested training options out of `a.b=value` texts; values are read as YAML.

    Raises:
        ConfigError: one is no key=value, or two contradict each other.
    """
    overrides: dict[str, Any] = {}
    for setting in settings or ():
        key, equals, text = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"--set {setting}: write key=value, for example --set optimizer.learning_rate=1e-3.")
        place = overrides
        *groups, name = key.split(".")
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {setting}: {group} has a value of its own in another --set; give one of the two.")
        place[name] = _value(text, setting)
    return overrides


def _value(text: str, setting: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {setting}: the value is not YAML; quote it.") from error
    if isinstance(value, str):
        # YAML 1.1 wants a dot in 1e-3; a person does not.
        try:
            return float(value)
        except ValueError:
            return value
    return value
