"""From the raw text of a rendered page to clean paragraphs with boxes: PaperText's cleaning.

The paper names two steps, a check of the Unicode characters and the merging of split text; how they are done is ours. PDF
text breaks a paragraph into lines, hyphenates words, and gives characters of unmapped fonts as private or unknown codes.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

PixelBox = tuple[float, float, float, float]

_UNREADABLE = {"Co", "Cn", "Cs", "Cc"}
_SOFT_HYPHEN = "­"
_HYPHENS = ("-", "‐", _SOFT_HYPHEN)


@dataclass(frozen=True)
class Paragraph:
    """A piece of running text."""

    text: str
    box_px: PixelBox
    line_height_px: float


@dataclass(frozen=True)
class Dropped:
    """A piece of the page that was not used."""

    reason: str
    detail: str


def paragraphs_of(blocks: Sequence[Sequence[dict[str, Any]]], min_chars: int) -> Iterator[Paragraph | Dropped]:
    """Clean paragraphs in the order of the page's blocks, and what was dropped.

    Args:
        blocks: Lines with `text`, `box` in pixels and `level`, grouped as the renderer found them.
        min_chars: Shorter paragraphs (page numbers, labels in figures) are dropped.
    """
    found: list[Paragraph] = []
    for block in blocks:
        if not all(line["level"] for line in block):
            yield Dropped("text not level", block[0]["text"][:80])
            continue
        text = join_lines([clean_line(line["text"]) for line in block])
        if not text:
            continue
        if not is_readable(text):
            yield Dropped("text with unreadable characters", ascii(text[:80]))
            continue
        paragraph = Paragraph(text, _around([line["box"] for line in block]), _median_height(block))
        if found and _continues(found[-1], paragraph):
            found[-1] = _merged(found[-1], paragraph)
        else:
            found.append(paragraph)
    for paragraph in found:
        if len(paragraph.text) < min_chars:
            yield Dropped("text short", paragraph.text)
        else:
            yield paragraph


def clean_line(text: str) -> str:
    """One line in composed form: ligatures taken apart, any run of blanks one blank, invisible characters gone."""
    text = unicodedata.normalize("NFC", text)
    # Ligatures only (U+FB00 to U+FB06): full NFKC would also turn x² into x2.
    text = "".join(unicodedata.normalize("NFKC", c) if "\ufb00" <= c <= "\ufb06" else c for c in text)
    text = "".join(c for c in text if c == _SOFT_HYPHEN or unicodedata.category(c) != "Cf")
    return " ".join(text.split())


def join_lines(lines: Sequence[str]) -> str:
    """Lines as running text; a word that was hyphenated at a line's end is made whole.

    >>> join_lines(["higher compared to pre-", "viously reported results"])
    'higher compared to previously reported results'
    """
    text = ""
    for line in filter(None, lines):
        if text.endswith(_HYPHENS) and len(text) > 1 and text[-2].isalpha() and line[0].islower():
            text = text[:-1] + line
        else:
            text = f"{text} {line}" if text else line
    return text.replace(_SOFT_HYPHEN, "")


def is_readable(text: str) -> bool:
    """Whether all characters are assigned, public and printable."""
    return all(unicodedata.category(c) not in _UNREADABLE and c != "\ufffd" for c in text)


def _continues(above: Paragraph, below: Paragraph) -> bool:
    """Whether a block is the rest of the one before it: its sentence goes on, right below it, in the same column."""
    if above.text.endswith((".", ":", "!", "?")) or not below.text[:1].islower():
        return False
    gap_px = below.box_px[1] - above.box_px[3]
    if not -0.5 * above.line_height_px <= gap_px <= above.line_height_px:
        return False
    overlap_px = min(above.box_px[2], below.box_px[2]) - max(above.box_px[0], below.box_px[0])
    return overlap_px >= 0.5 * min(above.box_px[2] - above.box_px[0], below.box_px[2] - below.box_px[0])


def _merged(above: Paragraph, below: Paragraph) -> Paragraph:
    return Paragraph(join_lines([above.text, below.text]), _around([above.box_px, below.box_px]), above.line_height_px)


def _around(boxes: Sequence[Sequence[float]]) -> PixelBox:
    return (min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes))


def _median_height(block: Sequence[dict[str, Any]]) -> float:
    heights = sorted(line["box"][3] - line["box"][1] for line in block)
    return heights[len(heights) // 2]
