"""Read a family, the models that one run trains side by side, from YAML text. No torch here."""

import re
from typing import Any

import yaml

from model.contracts.family import MOST_MEMBERS, Family, Member
from model.contracts.recipe import Recipe
from model.errors import ConfigError, SphinxError
from model.variants import variant_named

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?")
"""`model.contracts.recipe.Name`."""


def family_from_text(text: str, where: str = "the family") -> Family:
    """Parse a mapping of members, each with its settings or none.

    >>> list(family_from_text("tiny:\\nlarge: {variant: moe, nodes: 2}").members)
    ['tiny', 'large']

    Args:
        text: YAML.
        where: What the text is called in an error.

    Raises:
        ConfigError: it is not YAML, has no member or too many, or a member has a wrong field or an unknown variant.
    """
    try:
        fields = yaml.load(text, _StrictLoader)  # noqa: S506  a SafeLoader that refuses a key given twice
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {' '.join(str(error).split())[:200]}; correct it.") from error
    if not isinstance(fields, dict) or not fields:
        raise ConfigError(f"{where} holds no members but {str(fields)[:40]!r}; write one a line, for example 'tiny: {{}}'.")
    if len(fields) > MOST_MEMBERS:
        raise ConfigError(f"{where} has {len(fields)} members; give {MOST_MEMBERS} or fewer, and run the others on their own.")
    return Family(members={str(name): _member(str(name), given, where) for name, given in fields.items()})


def family_text(family: Family) -> str:
    """A family as the YAML text that `family_from_text` reads."""
    members = {name: member.model_dump(mode="json", exclude_defaults=True) for name, member in family.members.items()}
    return yaml.safe_dump(members, sort_keys=False)


def registered_name(recipe: Recipe, name: str, member: Member) -> str:
    """Name of a member's model in the registry."""
    return member.registered_name or f"{recipe.model_name or 'sphinx-x'}-{name}"


def _member(name: str, given: Any, where: str) -> Member:
    """A member with its variant filled in."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: '{name}' is no name of a member; use lower-case letters, digits and dashes.")
    if not isinstance(given, dict | None):
        raise ConfigError(
            f"{where}, member {name}: its settings are {str(given)[:40]!r}; give a mapping, for example 'nodes: 2'."
        )
    member = Member.from_fields(given or {}, f"{where}, member {name}")
    try:
        variant = variant_named(member.variant or name).name
    except SphinxError as error:
        raise ConfigError(f"{where}, member {name}: {error}") from error
    return member.model_copy(update={"variant": variant})


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which PyYAML would silently keep the last."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    if twice := [key for place, key in enumerate(keys) if key in keys[:place]]:
        raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} is given twice", node.start_mark)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
