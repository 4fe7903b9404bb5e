"""Reading order, and cutting a page full of boxes into horizontal bands that can be asked about one by one.

An answer that lists a part of what a question asks for would teach the model to leave things out. So where a page holds
too much for one answer, each question names its band, and the answer is all that has its middle in that band.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model.contracts.evaluation import Box


@dataclass(frozen=True)
class Line:
    """Something with a text and a place."""

    text: str
    numbers: str
    """Its box as text, without brackets."""
    box: Box
    """The same as numbers."""

    @property
    def middle(self) -> float:
        return (self.box[1] + self.box[3]) / 2


def rows_of(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines side by side as rows from top to bottom, each row from left to right.

    A line belongs to a row if its middle lies within half the height of the row's first line: scans are seldom straight.
    """
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (line.middle, line.box[0], line.text)):
        first = rows[-1][0] if rows else None
        if first is not None and line.middle - first.middle <= (first.box[3] - first.box[1]) / 2:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: (line.box[0], line.box[1], line.text)) for row in rows]


def bands(lines: Sequence[Line], max_lines: int) -> Iterator[tuple[str, list[Line]]]:
    """The lines in reading order, cut between rows into bands of at most `max_lines` (0: no limit).

    Yields the band as box text, empty where all lines lie in one, and its lines. A row of more than `max_lines` stays whole.
    """
    rows = rows_of(lines)
    groups: list[list[list[Line]]] = []
    for row in rows:
        if groups and (not max_lines or sum(map(len, groups[-1])) + len(row) <= max_lines):
            groups[-1].append(row)
        else:
            groups.append([row])
    right = max(line.box[2] for line in lines)
    left = min(line.box[0] for line in lines)
    for number, group in enumerate(groups):
        band = [line for row in group for line in row]
        if len(groups) == 1:
            yield "", band
            continue
        top = 0.0 if number == 0 else _between(groups[number - 1], group)
        bottom = max(line.box[3] for line in lines) if number == len(groups) - 1 else _between(group, groups[number + 1])
        yield f"[{left:.2f},{top:.2f},{right:.2f},{bottom:.2f}]", band


def _between(above: list[list[Line]], below: list[list[Line]]) -> float:
    """Where one band ends and the next begins: half way between the nearest middles."""
    lowest = max(line.middle for row in above for line in row)
    highest = min(line.middle for row in below for line in row)
    return (lowest + highest) / 2
