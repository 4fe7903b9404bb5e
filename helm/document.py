"""Take the descriptions of the chart's values from `values.yaml` to where people look for them: README.md and values.schema.json.

python helm/document.py            rewrite both
python helm/document.py --check    fail in one sentence where they are out of date, or a value lacks a description or a schema

A description is the comment `# --` above a key; `(object)` at its beginning means that what is below the key is described by it.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "sphinx-x"
VALUES, README, SCHEMA = CHART / "values.yaml", CHART / "README.md", CHART / "values.schema.json"
BEGIN, END = "<!-- values: written by `python helm/document.py` from values.yaml -->", "<!-- end of values -->"
OBJECT = "(object)"


class NotDocumented(Exception):
    """One sentence: what is missing where."""


@dataclass(frozen=True)
class Value:
    """A value that a person may set."""

    path: tuple[str, ...]
    default: Any
    description: str

    @property
    def name(self) -> str:
        return ".".join(self.path)


def documented_values(text: str) -> list[Value]:
    """Every value with its description, in the file's order.

    Raises:
        NotDocumented: a value has no description.
    """
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    return list(_values_below(root, yaml.safe_load(text), (), text.splitlines()))


def _values_below(node: yaml.MappingNode, defaults: dict, above: tuple[str, ...], lines: list[str]) -> Iterator[Value]:
    for key, below in node.value:
        path, default = (*above, key.value), defaults[key.value]
        description = _comment_above(lines, key.start_mark.line)
        if isinstance(below, yaml.MappingNode) and default and not description.startswith(OBJECT):
            yield from _values_below(below, default, path, lines)
        elif not description:
            raise NotDocumented(
                f"{'.'.join(path)} in {VALUES.name} has no description; write a comment that begins with `# --` above it."
            )
        else:
            yield Value(path, default, description.removeprefix(OBJECT).strip())


def _comment_above(lines: list[str], line: int) -> str:
    """The comment that ends just above a line, if it is a description."""
    parts: list[str] = []
    for above in reversed(lines[:line]):
        comment = above.strip()
        if not comment.startswith("#"):
            break
        parts.insert(0, comment.lstrip("#").strip())
        if parts[0].startswith("--"):
            return " ".join(parts).removeprefix("--").strip()
    return ""


def table(values: list[Value]) -> str:
    """The README's table."""
    rows = ["| Value | Default | What it is for |", "| --- | --- | --- |"]
    for value in values:
        default = json.dumps(value.default, ensure_ascii=False)
        shown = "see values.yaml" if len(default) > 60 else f"`{default}`"
        rows.append(f"| `{value.name}` | {shown} | {value.description.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def readme(text: str, values: list[Value]) -> str:
    """README.md with the table of today.

    Raises:
        NotDocumented: the marks for the table are not in it.
    """
    if BEGIN not in text or END not in text:
        raise NotDocumented(f"{README.name} lacks the marks {BEGIN} and {END}; put them where the table belongs.")
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{table(values)}\n{END}{rest.partition(END)[2]}"


def schema(text: str, values: list[Value]) -> str:
    """values.schema.json with the descriptions of today.

    Raises:
        NotDocumented: a value has no schema, or a schema no value.
    """
    root = json.loads(text)
    for value in values:
        place = root
        for name in value.path:
            if name not in place.get("properties", {}):
                raise NotDocumented(f"{value.name} is in {VALUES.name} but not in {SCHEMA.name}; add it there.")
            place = place["properties"][name]
        # A reference allows nothing beside it in draft 07.
        if "$ref" in place:
            place["allOf"] = [{"$ref": place.pop("$ref")}]
        place["description"] = value.description
    known = {value.path for value in values}
    if unknown := [path for path in _leaves(root, ()) if not any(path[: len(one)] == one for one in known)]:
        raise NotDocumented(
            f"{'.'.join(unknown[0])} is in {SCHEMA.name} but not in {VALUES.name}; remove it, or give it a default."
        )
    return json.dumps(root, indent=2, ensure_ascii=False) + "\n"


def _leaves(node: dict, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, below in node["properties"].items():
        if "properties" in below:
            yield from _leaves(below, (*above, name))
        else:
            yield (*above, name)


def wanted_files() -> dict[Path, str]:
    """Both generated files and what they should hold."""
    values = documented_values(VALUES.read_text(encoding="utf-8"))
    return {
        README: readme(README.read_text(encoding="utf-8"), values),
        SCHEMA: schema(SCHEMA.read_text(encoding="utf-8"), values),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where files are out of date")
    check = parser.parse_args().check
    try:
        stale = {path: text for path, text in wanted_files().items() if path.read_text(encoding="utf-8") != text}
    except NotDocumented as error:
        sys.exit(str(error))
    if check and stale:
        sys.exit(f"{', '.join(path.name for path in stale)} out of date; run: python helm/document.py, and commit the result.")
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote helm/sphinx-x/{path.name}")


if __name__ == "__main__":
    main()
