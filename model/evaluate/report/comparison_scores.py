"""The comparison's first table: benchmarks as rows, members as columns, all intervals of a benchmark on one axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from model.contracts.evaluation import Result
from model.evaluate.report import numbers
from model.evaluate.report.benchmarks import difference
from model.evaluate.report.comparison import ComparedModel, comparable, key, marker, mean_gap, member_columns
from model.evaluate.report.figures import score_axis
from model.evaluate.report.markup import Child, Column, Markup, join, section, table, tag
from model.evaluate.report.page import mean_score
from model.evaluate.statistics import Difference

LANE_PX = 15
"""Height of one member's lane in a row's plot."""


@dataclass(frozen=True)
class Standing:
    """How one member stands in a row."""

    kind: Literal["best", "tied", "behind", "other", "missing"]
    gap: Difference | None = None
    """This member minus the best."""


def standings(results: Sequence[Result | None]) -> list[Standing]:
    """The best of a benchmark, who is within noise of it, and who is behind; equal scores are all best.

    A result on other questions than the first one's is set aside: it may not be compared.
    """
    first = next((one for one in results if one is not None), None)
    same = [one is not None and first is not None and comparable(one, first) for one in results]
    best = max((one for one, fits in zip(results, same, strict=True) if one and fits), key=lambda one: one.score, default=None)
    return [_standing(one, fits, best) for one, fits in zip(results, same, strict=True)]


def _standing(result: Result | None, fits: bool, best: Result | None) -> Standing:
    if result is None or best is None:
        return Standing("missing")
    if not fits:
        return Standing("other")
    if result.score == best.score:
        return Standing("best")
    gap = difference(result, best)
    return Standing("behind" if gap.is_significant else "tied", gap)


def scores_section(members: Sequence[ComparedModel]) -> Markup:
    """All benchmarks in one table, with the mean below."""
    names = list(dict.fromkeys(result.name for one in members for result in one.results))
    if not names:
        return section("scores", "Scores", lead="No benchmark was run, so nothing is known of these models' quality.")
    columns = member_columns(members, "Benchmark")
    columns.insert(1, Column("Score, 0 to 100 %", "plot", head=score_axis()))
    return section(
        "scores",
        "Scores",
        # A narrow window hides the heads of the columns, which are the plot's key.
        tag("ul", [tag("li", key(place), one.name) for place, one in enumerate(members)], class_="legend members narrow"),
        table(
            "Scores by benchmark, in per cent, with 95 % confidence intervals over the questions.",
            columns,
            [_row(name, members) for name in names],
            _mean_row(members) if len(names) > 1 else None,
            wide=True,
        ),
        tag("p", _footnote(len(members)), class_="note"),
        lead=(
            "A mark is a model's score, its line the 95 % confidence interval, the grey dashes what a guess scores without looking at "
            "the picture. Best is the highest score; within noise are those that the questions asked cannot tell apart from it."
        ),
    )


def _row(name: str, members: Sequence[ComparedModel]) -> list[Child]:
    results = [one.result(name) for one in members]
    known = next(result for result in results if result is not None)
    about = f"{known.metric}; {known.benchmark}, {known.mode} mode; {numbers.plural(known.questions, 'question')}"
    cells: list[Child] = [
        join(tag("span", name, class_="name"), tag("span", about, class_="note")),
        join(lanes(results, known.chance, _label(name, members, results)), score_axis("narrow")),
    ]
    return cells + [_cell(result, stands) for result, stands in zip(results, standings(results), strict=True)]


def _label(name: str, members: Sequence[ComparedModel], results: Sequence[Result | None]) -> str:
    said = [
        f"{one.name} {numbers.percent(result.score)}, interval {numbers.interval(result.low, result.high)}"
        for one, result in zip(members, results, strict=True)
        if result is not None
    ]
    return f"{name}: {'; '.join(said)}"


def lanes(results: Sequence[Result | None], chance: float, label: str) -> Markup:
    """One row of the plot, a lane a member from the first at the top to the last at the bottom."""
    height = LANE_PX * len(results) + 8
    parts = [tag("line", x1=f"{x}%", x2=f"{x}%", y1="0", y2="100%", class_="grid") for x in (0, 25, 50, 75, 100)]
    parts.append(tag("line", x1=_at(chance), x2=_at(chance), y1="0", y2="100%", class_="chance"))
    for place, result in enumerate(results):
        if result is not None:
            y = 4 + LANE_PX * (place + 0.5)
            whisker = tag("line", x1=_at(result.low), x2=_at(result.high), y1=y, y2=y, class_=f"whisker m{place}")
            parts += [whisker, marker(place, _at(result.score), y)]
    return tag("svg", tag("title", label), parts, class_="scores", role="img", width="100%", height=height)


def _at(share: float) -> str:
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"


def _cell(result: Result | None, stands: Standing) -> Child:
    if result is None:
        return "not asked"
    return join(
        tag("span", numbers.signed(100 * result.score, 1, plus=False), class_="value"),
        tag("span", f"{100 * result.low:.1f} to {100 * result.high:.1f}", class_="note"),
        _tone(stands),
        tag("span", "not above chance", class_="tone worse") if result.low <= result.chance else None,
    )


def _tone(stands: Standing) -> Markup:
    if stands.kind == "best":
        return tag("span", "✓ best", class_="tone better")
    if stands.kind == "tied":
        return tag("span", "within noise", class_="tone within-noise")
    if stands.kind == "other":
        return tag("span", "other questions", class_="tone within-noise")
    assert stands.gap is not None
    return tag("span", f"{numbers.points(stands.gap.mean)} points", class_="tone worse")


def _mean_row(members: Sequence[ComparedModel]) -> list[Child]:
    """Unweighted means; only of members that were asked everything."""
    asked = max(len(one.results) for one in members)
    whole = [one for one in members if len(one.results) == asked]
    best = max(whole, key=lambda one: mean_score(one.results)[0])
    return ["Mean of the benchmarks", None, *(_mean_cell(one, best, one in whole) for one in members)]


def _mean_cell(one: ComparedModel, best: ComparedModel, is_whole: bool) -> Child:
    if not is_whole:
        return "not all asked"
    mean, half = mean_score(one.results)
    gap = mean_gap(one, best)
    kind = "best" if one is best else "behind" if gap is not None and gap.is_significant else "tied"
    return join(
        tag("span", numbers.signed(100 * mean, 1, plus=False), class_="value"),
        tag("span", f"± {100 * half:.1f}", class_="note"),
        _tone(Standing(kind, gap)),
    )


def _footnote(num_members: int) -> str:
    words = (
        "Differences add both models' intervals as if they had answered different questions, which is cautious: what is called behind is "
        "so with more than 95 % confidence. The mean takes benchmarks as independent and weighs them alike."
    )
    if num_members > 2:
        words += " With several members and benchmarks, one such verdict in a few dozen is chance."
    return words
