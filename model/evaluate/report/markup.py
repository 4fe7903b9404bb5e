"""HTML that cannot be injected into: elements are built by `tag`, which escapes every child and attribute that is not `Markup`.

Answers, file names and dataset names come from models and raw files, so nothing in a report is put together by hand from
strings. An f-string of a `Markup` is a plain `str` again and is escaped: forgetting is safe.
"""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

_VOID = {"br", "hr", "img", "meta"}
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What HTML forbids, and lone surrogates, which JSON can hold and UTF-8 cannot."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]
Attribute = str | int | float | bool | None


def escape(text: object) -> Markup:
    """Any text as HTML, safe between tags and inside a quoted attribute."""
    return Markup(html.escape(_UNPRINTABLE.sub("\ufffd", str(text)), quote=True))


def join(*children: Child) -> Markup:
    """Children one after another; None is nothing, lists are opened, everything but `Markup` is escaped."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str | int | float):
            parts.append(escape(child))
        else:
            parts.append(join(*child))
    return Markup("".join(parts))


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """An element of HTML or SVG.

    Args:
        name: Element name.
        children: Text (escaped), `Markup`, None, or lists of these.
        attributes: `class_` is class, other underscores are dashes; True is a bare attribute, None and False are left out.

    >>> tag("p", "1 < 2", tag("b", "!"), class_="note")
    '<p class="note">1 &lt; 2<b>!</b></p>'
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None and value is not False)
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def _attribute(key: str, value: Attribute) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(value)}"'


def untrusted(text: str, limit: int = 600) -> Markup:
    """Words of a model or a raw file: their own writing direction, and cut where they would flood the page."""
    more = len(text) - limit
    cut = f"{text[:limit]} … ({more:,} more characters)" if more > 0 else text
    breakable = Markup(escape(cut).replace(",", ",<wbr>"))  # boxes are long words without a blank
    return tag("span", breakable, dir="auto", class_="words")


def link(label: str, address: str) -> Markup:
    """A link that opens beside the report; an address that is no web page is shown as text and never followed."""
    if not re.match(r"https?://", address):
        return tag("code", address)
    return tag("a", label, href=address, target="_blank", rel="noopener noreferrer")


def section(anchor: str, title: str, *children: Child, lead: Child = None) -> Markup:
    """A chapter of the page: a heading, one sentence on what is shown, and the rest."""
    intro = tag("p", lead, class_="lead") if lead is not None else None
    return tag(
        "section", tag("h2", title, id=f"{anchor}-title"), intro, *children, id=anchor, aria_labelledby=f"{anchor}-title"
    )


def folded(summary: Child, *children: Child, opened: bool = False) -> Markup:
    """Detail that opens on a click, without a script."""
    return tag("details", tag("summary", summary), *children, open=opened)


def facts(pairs: Sequence[tuple[str, Child, Child]]) -> Markup:
    """A list of (what, value, over how many or how it was found); facts without a value are left out."""
    items = [
        tag(
            "div",
            tag("dt", what),
            tag("dd", tag("span", value, class_="value"), tag("span", note, class_="note") if note else None),
        )
        for what, value, note in pairs
        if value is not None
    ]
    return tag("dl", *items, class_="facts")


@dataclass(frozen=True)
class Column:
    """A column of a table; its title also labels the cell where a narrow window stacks them."""

    title: str
    kind: Literal["text", "number", "plot"] = "text"
    head: Markup | None = None
    """Shown at the top in place of the title."""


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Child]],
    foot: Sequence[Child] | None = None,
    wide: bool = False,
) -> Markup:
    """A table whose first column names the row; as broad as the page where it is `wide`, else as its cells.

    Roles are explicit because cells that are stacked in a narrow window lose their own in some browsers.
    """
    head = [
        tag("th", column.head or column.title, scope="col", role="columnheader", class_=column.kind, aria_label=column.title)
        for column in columns
    ]
    parts = [
        tag("caption", caption),
        tag("thead", tag("tr", head, role="row"), role="rowgroup"),
        tag("tbody", [_row(columns, row) for row in rows], role="rowgroup"),
        tag("tfoot", _row(columns, foot), role="rowgroup") if foot is not None else None,
    ]
    return tag("table", parts, role="table", class_="wide" if wide else None)


def _row(columns: Sequence[Column], cells: Sequence[Child]) -> Markup:
    first, *others = zip(columns, cells, strict=True)
    named = tag("th", first[1], scope="row", role="rowheader", class_=first[0].kind)
    return tag(
        "tr",
        named,
        [tag("td", tag("div", cell), role="cell", class_=column.kind, data_label=column.title) for column, cell in others],
        role="row",
    )
