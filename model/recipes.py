"""Read a recipe from a YAML file, wherever it lies. No torch here."""

import os
import posixpath
from typing import Any

import yaml

from model import storage
from model.contracts.recipe import Recipe
from model.errors import ConfigError


def load_recipe(uri: str) -> Recipe:
    """Read a recipe; relative roots are taken from the folder that its file lies in, so it works from anywhere.

    Raises:
        StorageError: there is no such file, or it cannot be reached.
        ConfigError: it is not YAML, or has a wrong field.
    """
    try:
        fields = yaml.safe_load(storage.read_bytes(uri))
    except yaml.YAMLError as error:
        raise ConfigError(f"{uri} is not YAML: {' '.join(str(error).split())[:200]}; correct it there.") from error
    if not isinstance(fields, dict):
        raise ConfigError(f"{uri} holds no recipe but {str(fields)[:40]!r}; start from pipelines/recipes/own-data.yaml.")
    if fields.get("schema_version", Recipe.VERSION) != Recipe.VERSION:
        raise ConfigError(
            f"{uri}: field 'schema_version' is {fields['schema_version']!r}, this program reads {Recipe.VERSION}; write that."
        )
    for key in ("datasets", "benchmarks"):
        for entry in fields.get(key) or ():
            if isinstance(entry, dict) and isinstance(entry.get("root"), str) and entry["root"]:
                entry["root"] = _resolved(entry["root"], uri)
    return Recipe.from_fields(fields, uri)


def recipe_from_json(text: str) -> Recipe:
    """A resolved recipe as it travels between steps."""
    return Recipe.from_json(text, "parameter recipe_json")


def _resolved(root: str, recipe_uri: str) -> str:
    if "://" in root or os.path.isabs(root):
        return root
    local: Any = storage.local_path(recipe_uri)
    if local is not None:
        return os.path.normpath(os.path.join(os.path.abspath(local.parent), os.path.expanduser(root)))
    scheme, _, place = recipe_uri.partition("://")
    return f"{scheme}://{posixpath.normpath(posixpath.join(posixpath.dirname(place), root))}"
