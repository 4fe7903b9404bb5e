"""The benchmark table: scores with their intervals against chance and against the champion, and what the gate made of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.contracts.evaluation import GateDecision, Result
from model.evaluate.report import numbers
from model.evaluate.report.figures import Span, score_axis, score_plot
from model.evaluate.report.markup import Child, Column, Markup, folded, join, section, table, tag
from model.evaluate.statistics import Difference, interval


def difference(candidate: Result, champion: Result) -> Difference:
    """Candidate minus champion from two results alone, with Newcombe's interval (1998, method 10: the two arms squared and added).

    It treats the two as independent. Both answered the same questions, so the true interval is narrower as a rule, and what is
    called better or worse here is so with more than 95 % confidence.
    """
    mean = candidate.score - champion.score
    below = math.hypot(candidate.score - candidate.low, champion.high - champion.score)
    above = math.hypot(candidate.high - candidate.score, champion.score - champion.low)
    return Difference(candidate.questions, mean, mean - below, mean + above)


@dataclass(frozen=True)
class Rival:
    """The champion that a candidate is compared with."""

    version: str | None
    results: Sequence[Result]
    paired: Mapping[str, Difference]
    """Differences question by question, by benchmark, where they are known."""

    @property
    def name(self) -> str:
        return f"champion version {self.version}" if self.version else "the champion"

    def result(self, candidate: Result) -> Result | None:
        """The champion's result on the same questions, answers and prompt, scored in the same way; None where there is none."""
        same = (candidate.name, candidate.benchmark_digest, candidate.mode, candidate.metric)
        return next((one for one in self.results if (one.name, one.benchmark_digest, one.mode, one.metric) == same), None)

    def difference(self, candidate: Result) -> Difference | None:
        """Candidate minus champion; None where the two cannot be compared."""
        other = self.result(candidate)
        return None if other is None else self.paired.get(candidate.name) or difference(candidate, other)


def verdict_words(change: Difference) -> str:
    """Whether a difference is told apart from none: better, worse or within noise."""
    return "within noise" if not change.is_significant else "better" if change.low > 0 else "worse"


def benchmark_section(results: Sequence[Result], rival: Rival | None, decision: GateDecision) -> Markup:
    """All benchmarks in one table, with groups, further figures and the gate's reasons folded below it."""
    if not results:
        return section("benchmarks", "Benchmarks", lead="No benchmark was run, so nothing is known of this model's quality.")
    questions = sum(result.questions for result in results)
    lead = (
        f"{numbers.plural(len(results), 'benchmark')}, {numbers.plural(questions, 'question')} in all. Intervals are 95 % confidence "
        "intervals over the questions. Chance is what a guess scores without looking at the picture."
    )
    return section(
        "benchmarks",
        "Benchmarks",
        _legend(rival),
        _main_table(results, rival, decision),
        _footnote(rival),
        [folded(_group_summary(result), _group_table(result)) for result in results if len(result.groups) > 1],
        folded("Further figures and speed", _further_table(results)),
        folded("What the gate looked at", _gate_table(decision), opened=not decision.promote) if decision.comparisons else None,
        lead=lead,
    )


def _legend(rival: Rival | None) -> Markup:
    keys = [("key-model", "this model, with its interval"), ("key-chance", "chance")]
    if rival is not None:
        keys.insert(1, ("key-champion", f"{rival.name}, with its interval"))
    return tag("ul", [tag("li", tag("span", class_=key, aria_hidden="true"), words) for key, words in keys], class_="legend")


def _main_table(results: Sequence[Result], rival: Rival | None, decision: GateDecision) -> Markup:
    columns = [
        Column("Benchmark"),
        Column("Score, 0 to 100 %", "plot", head=score_axis()),
        Column("Score", "number"),
        Column("Above chance", "number"),
        Column("Against champion", "number"),
        Column("Questions", "number"),
        Column("Unreadable", "number"),
        Column("Gate"),
    ]
    if rival is None:
        columns = [column for column in columns if column.title != "Against champion"]
    return table(
        "Scores by benchmark. Differences are in percentage points.",
        columns,
        [_main_row(result, rival, decision) for result in results],
        wide=True,
    )


def _main_row(result: Result, rival: Rival | None, decision: GateDecision) -> list[Child]:
    other = rival.result(result) if rival else None
    span = Span(result.score, result.low, result.high)
    label = (
        f"{result.name}: {numbers.percent(result.score)}, 95 % interval {numbers.interval(result.low, result.high)}, "
        f"chance {numbers.percent(result.chance)}" + (f", champion {numbers.percent(other.score)}" if other else "")
    )
    plot = score_plot(span, result.chance, Span(other.score, other.low, other.high) if other else None, label)
    cells: list[Child] = [
        join(tag("span", result.name, class_="name"), _note(f"{result.metric}; {result.benchmark}, {result.mode} mode")),
        join(plot, score_axis("narrow")),
        _with_note(numbers.percent(result.score), numbers.interval(result.low, result.high)),
        _chance_cell(result),
    ]
    if rival is not None:
        cells.append(_rival_cell(rival.difference(result)))
    failures = result.parse_failures / result.questions if result.questions else 0.0
    cells += [
        numbers.count(result.questions),
        _with_note(numbers.count(result.parse_failures), numbers.percent(failures) if result.parse_failures else None),
        _gate_mark(result.name, decision),
    ]
    return cells


def _chance_cell(result: Result) -> Child:
    """Points above chance; a word where the interval does not leave chance out."""
    told = None if result.low > result.chance else "not told apart" if result.high >= result.chance else "below chance"
    return join(
        tag("span", numbers.points(result.score - result.chance), class_="value"),
        tag("span", f"chance {numbers.percent(result.chance)}", class_="note"),
        tag("span", told, class_="tone worse") if told else None,
    )


def _rival_cell(change: Difference | None) -> Child:
    if change is None:
        return _with_note("–", "no result on the same questions")
    words = verdict_words(change)
    return join(
        tag("span", numbers.points(change.mean), class_="value"),
        tag("span", f"{numbers.points(change.low)} to {numbers.points(change.high)}", class_="note"),
        tag("span", words, class_=f"tone {words.replace(' ', '-')}"),
    )


def _gate_mark(name: str, decision: GateDecision) -> Child:
    found = next((comparison for comparison in decision.comparisons if comparison.name == name), None)
    if found is None:
        return tag("span", "not looked at", class_="tone within-noise")
    return mark("passed", "✓", "good") if found.passed else mark("failed", "✗", "bad")


def mark(words: str, sign: str, tone: str) -> Markup:
    """A verdict that needs no colour to be read: a sign and a word."""
    return tag("span", tag("span", sign, aria_hidden="true"), f" {words}", class_=f"tone {tone}")


def _footnote(rival: Rival | None) -> Markup:
    words = "Unreadable: answers in which the scorer could read nothing; they count as wrong."
    if rival is not None:
        how = (
            "question by question, and the interval is that of the paired differences"
            if rival.paired
            else "and the interval adds both models' intervals as if they were independent, which is cautious"
        )
        words += f" Against champion: only results on the same questions, prompts and mode are compared, {how}."
    return tag("p", words, class_="note")


def _group_summary(result: Result) -> Child:
    return f"{result.name} by group ({numbers.plural(len(result.groups), 'group')})"


def _group_table(result: Result) -> Markup:
    columns = [
        Column("Group"),
        Column("Score, 0 to 100 %", "plot", head=score_axis()),
        Column("Score", "number"),
        Column("Chance", "number"),
        Column("Questions", "number"),
    ]
    best_first = sorted(result.groups.items(), key=lambda item: (-item[1], item[0]))
    caption = f"{result.name}: {result.metric} by group, the best first. Intervals take the questions as independent."
    return table(caption, columns, [_group_row(result, group, score) for group, score in best_first])


def _group_row(result: Result, group: str, score: float) -> list[Child]:
    questions, chance = result.group_questions.get(group, 0), result.group_chance.get(group)
    span = _group_span(score, questions)
    label = f"{group}: {numbers.percent(score)}, 95 % interval {numbers.interval(span.low, span.high)}"
    return [
        group,
        join(score_plot(span, chance, None, label), score_axis("narrow")),
        _with_note(numbers.percent(score), numbers.interval(span.low, span.high)),
        "–" if chance is None else numbers.percent(chance),
        numbers.count(questions) if questions else "not recorded",
    ]


def _group_span(score: float, questions: int) -> Span:
    """Interval of a mean of so many right or wrong answers; part marks vary less, so theirs is not wider."""
    right = int(score * questions)
    rest = [score * questions - right] if right < questions else []
    marks = [1.0] * right + rest + [0.0] * (questions - right - 1)
    return Span(score, *interval(marks, range(len(marks))))


def _further_table(results: Sequence[Result]) -> Markup:
    columns = [
        Column("Benchmark"),
        Column("Further figures"),
        Column("Not asked"),
        Column("Questions per second", "number"),
        Column("Time", "number"),
        Column("Device"),
    ]
    rows = [
        [
            result.name,
            ", ".join(f"{name} {numbers.short(value)}" for name, value in result.further_metrics.items()) or "none",
            ", ".join(f"{numbers.count(number)} × {reason}" for reason, number in result.rejects.items()) or "none",
            numbers.short(result.questions_per_second),
            numbers.duration(result.seconds),
            result.device,
        ]
        for result in results
    ]
    return table(
        "Figures beside the official metric, what could not be asked and why, and how long the questions took.", columns, rows
    )


def _gate_table(decision: GateDecision) -> Markup:
    columns = [
        Column("Benchmark"),
        Column("Gate"),
        Column("Candidate", "number"),
        Column("Champion", "number"),
        Column("Minimum", "number"),
        Column("Reason"),
    ]
    rows = [
        [
            comparison.name,
            mark("passed", "✓", "good") if comparison.passed else mark("failed", "✗", "bad"),
            numbers.percent(comparison.candidate),
            "–" if comparison.champion is None else numbers.percent(comparison.champion),
            "–" if comparison.minimum is None else numbers.percent(comparison.minimum),
            comparison.reason,
        ]
        for comparison in decision.comparisons
    ]
    return table(decision.reason, columns, rows)


def _note(words: str) -> Markup:
    return tag("span", words, class_="note")


def _with_note(value: Child, note: Child) -> Markup:
    return join(tag("span", value, class_="value"), tag("span", note, class_="note") if note else None)
