"""Plots as SVG that keeps its text size in any window: positions are percentages, only curves live in a stretched frame.

Colours and line styles are classes of `style.css`, so that a plot follows the light and the dark scheme. No script.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.evaluate.report import numbers
from model.evaluate.report.markup import Child, Markup, tag

MAX_POINTS = 400
"""Points of a curve on the page; a curve of more keeps the least and the greatest of every stretch."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A curve: (x, y) in data units, x rising; a y that is not finite leaves a gap."""

    points: Sequence[Point]
    style: str
    """Class: raw, smooth, reference, ..."""


@dataclass(frozen=True)
class Scale:
    """Maps data onto 0 to 1, linearly or by the logarithm."""

    low: float
    high: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log(x) for x in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return (at - low) / (high - low) if high > low else 0.5

    def percent(self, value: float) -> str:
        return f"{100 * self(value):.2f}%"


def linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) between two ends, at most `most` of them.

    >>> linear_ticks(0, 730, 5)
    [0.0, 200.0, 400.0, 600.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (power * factor) <= most - 1)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Values 1, 2 and 5 times powers of ten between two positive ends; only powers of ten where those are too many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(inside) <= most:
            return inside
    return inside[:: math.ceil(len(inside) / most)]


def thinned(points: Sequence[Point], most: int = MAX_POINTS) -> list[Point]:
    """A curve with at most about `most` points that shows the same: of every stretch, its least and its greatest value."""
    if len(points) <= most:
        return list(points)
    kept: list[Point] = []
    stretch = math.ceil(2 * len(points) / most)
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        gaps = [point for point in part if not math.isfinite(point[1])]
        finite = [point for point in part if math.isfinite(point[1])]
        ends = {min(finite, key=lambda p: p[1]), max(finite, key=lambda p: p[1])} if finite else set()
        kept.extend(sorted(ends | set(gaps[:1])))
    return kept


def smoothed(points: Sequence[Point], share: float) -> list[Point]:
    """Centred moving average over `share` of the curve, so it does not lag; towards the ends its window shrinks on both sides,
    down to a third, from where on it is cut off at the end: the last point is not the last value alone."""
    finite = [point for point in points if math.isfinite(point[1])]
    reach = round(share * len(finite) / 2)
    sums = [0.0, *itertools.accumulate(y for _, y in finite)]
    curve = []
    for place, (x, _) in enumerate(finite):
        half = max(min(reach, place, len(finite) - 1 - place), reach // 3)
        first, last = max(0, place - half), min(len(finite) - 1, place + half)
        curve.append((x, (sums[last + 1] - sums[first]) / (last + 1 - first)))
    return curve


def fitting_scale(lines: Sequence[Line], from_zero: bool, log: bool) -> Scale:
    """A scale that holds all finite values; logarithmic only where all are positive and spread by more than fourfold."""
    values = [y for line in lines for _, y in line.points if math.isfinite(y)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if log and low > 0 and high > 4 * low:
        return Scale(low / 1.1, high * 1.1, log=True)
    low = min(0.0, low) if from_zero else low
    margin = 0.05 * (high - low) or abs(high) or 1.0
    return Scale(low if low == 0 else low - margin, high + margin)


def line_chart(
    title: str,
    note: Child,
    lines: Sequence[Line],
    x_title: str,
    *,
    y_scale: Scale | None = None,
    log: bool = False,
    size: str = "middle",
    write: Callable[[float], str] = numbers.short,
) -> Markup:
    """A figure with its title, one sentence, and curves over a count that starts at 0.

    Args:
        title: What is drawn, with its unit.
        note: Shown below the title: what a line is, and a value worth reading.
        lines: Later ones lie above earlier ones.
        x_title: What the horizontal axis counts.
        y_scale: A scale that several figures share; found from the lines otherwise.
        log: Draw on a logarithmic scale where that helps.
        size: Class that gives the height: large, middle or small.
        write: How to write a value on the vertical axis.
    """
    xs = [x for line in lines for x, _ in line.points]
    x_scale = Scale(0.0, max(xs, default=1.0))
    y_scale = y_scale or fitting_scale(lines, from_zero=True, log=log)
    ticks = log_ticks if y_scale.log else linear_ticks
    grid = [_horizontal(1 - y_scale(y), write(y)) for y in ticks(y_scale.low, y_scale.high, 4 if size == "small" else 6)]
    feet = [
        _foot(x_scale.percent(x), numbers.short(x))
        for x in linear_ticks(x_scale.low, x_scale.high, 3 if size == "small" else 5)
    ]
    curves = [_curve(line, x_scale, y_scale) for line in lines]
    frame = tag("svg", curves, viewBox="0 0 1000 1000", preserveAspectRatio="none", width="100%", height="100%")
    base = tag("line", x1="0", x2="100%", y1="100%", y2="100%", class_="base")
    label = f"{title} over {x_title}. Axis from {write(y_scale.low)} to {write(y_scale.high)}."
    plot = tag("svg", tag("title", label), grid, base, feet, frame, class_="plot", role="img", width="100%", height="100%")
    caption = tag("figcaption", tag("strong", title), tag("span", note, class_="note"))
    return tag(
        "figure", caption, tag("div", plot, class_="canvas"), tag("div", x_title, class_="x-title"), class_=f"chart {size}"
    )


def _curve(line: Line, x_scale: Scale, y_scale: Scale) -> Markup | None:
    """The line as one path in the stretched 1000 x 1000 frame; a lone point is a dot, thanks to round line ends."""
    moves: list[str] = []
    pen_down = False
    for x, y in thinned(line.points):
        if not math.isfinite(y) or (y_scale.log and y <= 0):
            pen_down = False
            continue
        across, down = 1000 * x_scale(x), 1000 * (1 - min(1.0, max(0.0, y_scale(y))))
        moves.append(f"{'L' if pen_down else 'M'}{across:.1f} {down:.1f}" + ("" if pen_down else "h0"))
        pen_down = True
    return tag("path", d="".join(moves), class_=f"curve {line.style}") if moves else None


def _horizontal(y: float, text: str) -> Markup:
    at = f"{100 * y:.2f}%"
    rule = tag("line", x1="0", x2="100%", y1=at, y2=at, class_="grid")
    return tag("g", rule, tag("text", text, x="-8", y=at, dy="0.32em", text_anchor="end"))


def _foot(x: str, text: str) -> Markup:
    mark = tag("line", x1=x, x2=x, y1="100%", y2="100%", class_="tick", transform="translate(0 4)", stroke_linecap="square")
    return tag("g", mark, tag("text", text, x=x, y="100%", dy="1.5em", text_anchor="middle"))


@dataclass(frozen=True)
class Span:
    """A score and its interval, as shares."""

    score: float
    low: float
    high: float


def score_plot(span: Span, chance: float | None, champion: Span | None, label: str) -> Markup:
    """One row of the benchmark plot, 0 to 100 %: chance as a dashed mark, the champion as a diamond, the model as a dot."""
    shift = 6 if champion else 0
    parts = [tag("line", x1=f"{x}%", x2=f"{x}%", y1="0", y2="100%", class_="grid") for x in (0, 25, 50, 75, 100)]
    if chance is not None:
        parts.append(tag("line", x1=_at(chance), x2=_at(chance), y1="0", y2="100%", class_="chance"))
    if champion is not None:
        diamond = tag("svg", tag("path", d="M0-5.5 5.5 0 0 5.5-5.5 0z"), x=_at(champion.score), y="50%", class_="diamond")
        parts.append(
            tag("g", _whisker(champion, shift), tag("g", diamond, transform=f"translate(0 {shift})"), class_="champion")
        )
    dot = tag("circle", cx=_at(span.score), cy="50%", r="5", transform=f"translate(0 {-shift})")
    parts.append(tag("g", _whisker(span, -shift), dot, class_="model"))
    return tag("svg", tag("title", label), parts, class_="scores", role="img", width="100%", height="36")


def score_axis(class_: str = "") -> Markup:
    """The axis of `score_plot`, for the head of its column."""
    marks = [(0, "start"), (25, "middle"), (50, "middle"), (75, "middle"), (100, "end")]
    texts = [tag("text", f"{x}", x=f"{x}%", y="12", text_anchor=anchor) for x, anchor in marks]
    return tag("svg", texts, class_=f"axis {class_}".strip(), width="100%", height="16", aria_hidden="true")


def _whisker(span: Span, shift: int) -> Markup:
    return tag(
        "line", x1=_at(span.low), x2=_at(span.high), y1="50%", y2="50%", transform=f"translate(0 {shift})", class_="whisker"
    )


def _at(share: float) -> str:
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"


def bar(share: float, label: str) -> Markup:
    """A bar across a cell, 0 to 1; the number stands beside it, so it is decoration to a screen reader."""
    return tag(
        "svg",
        tag("title", label),
        tag("rect", width="100%", height="100%", rx="3", class_="trough"),
        tag("rect", width=_at(share), height="100%", rx="3", class_="filled"),
        class_="bar",
        width="100%",
        height="8",
        aria_hidden="true",
    )
