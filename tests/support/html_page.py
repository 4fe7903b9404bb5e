"""An HTML page as a test reads it: its elements in order, with the text they hold. Fails on markup that is not well formed."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"br", "hr", "img", "meta"}


@dataclass
class Element:
    name: str
    attributes: dict[str, str | None]
    children: "list[Element | str]" = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text below, blanks joined."""
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join("".join(f" {part}" if isinstance(part, str) else part for part in parts).split())

    def all(self, name: str = "", class_: str = "") -> "list[Element]":
        """Elements below with this name and class, in the page's order."""
        found: list[Element] = []
        for child in self.children:
            if isinstance(child, Element):
                fits = name in ("", child.name) and (not class_ or class_ in (child.attributes.get("class") or "").split())
                found += [child] * fits + child.all(name, class_)
        return found

    def one(self, name: str = "", class_: str = "") -> "Element":
        (element,) = self.all(name, class_)
        return element


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "wbr":  # a place to break a word, no element
            return
        element = Element(tag, dict(attrs))
        assert len(element.attributes) == len(attrs), f"<{tag}> has an attribute twice"
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        closed = self.open.pop()
        assert closed.name == tag, f"</{tag}> closes <{closed.name}>"

    def handle_data(self, data: str) -> None:
        children = self.open[-1].children
        before = children.pop() if children and isinstance(children[-1], str) else ""
        children.append(f"{before}{data}")


def parse(page: str) -> Element:
    """The page's tree."""
    builder = _Builder()
    builder.feed(page)
    builder.close()
    assert builder.open == [builder.root], "an element is not closed"
    return builder.root


def section(page: Element, anchor: str) -> Element:
    """The section with this id."""
    (found,) = [element for element in page.all("section") if element.attributes["id"] == anchor]
    return found


def rows(table: Element) -> list[dict[str, str]]:
    """The body's rows as {title of the column: text of the cell}."""
    titles = [cell.attributes["aria-label"] or "" for cell in table.one("thead").all("th")]
    body = table.one("tbody").all("tr")
    return [dict(zip(titles, [cell.text for cell in row.children if isinstance(cell, Element)], strict=True)) for row in body]
