"""The comparison: the models of a family on one self-contained page, in the report's look; a pure function of what it is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from model.contracts.checkpoint import ModelManifest
from model.contracts.corpus import CorpusManifest
from model.contracts.evaluation import Result
from model.contracts.recipe import Recipe
from model.evaluate.report import numbers
from model.evaluate.report.benchmarks import difference, mark
from model.evaluate.report.data import data_section
from model.evaluate.report.markup import Child, Column, Markup, facts, folded, join, link, section, table, tag
from model.evaluate.report.page import mean_and_half, mean_score, page
from model.evaluate.report.provenance import chat_line
from model.evaluate.statistics import Difference


@dataclass(frozen=True)
class ComparedModel:
    """One model of the family."""

    name: str
    model: ModelManifest
    results: Sequence[Result]
    """In the recipe's order."""
    log: Sequence[dict]
    """Rows of its run's log, see `model.train.log.read_log`."""
    ranks: int
    """Processes (GPUs) that trained it."""
    device: str
    """gpu or cpu."""
    address: str
    """models:/<name>/<version>."""
    aliases: Sequence[str]
    """champion, candidate."""
    gate_open: bool
    gate_reason: str
    pages: Mapping[str, str] = field(default_factory=dict)
    """Label to address of its pages: version, training run, report."""
    report_file: str = ""
    """Its report beside this page, where both lie on a disk."""

    @property
    def rank_hours(self) -> float:
        return self.model.train_seconds * self.ranks / 3600

    def result(self, name: str) -> Result | None:
        return next((result for result in self.results if result.name == name), None)


@dataclass(frozen=True)
class ComparisonInput:
    """Everything on the page."""

    recipe: Recipe
    corpus: CorpusManifest
    members: Sequence[ComparedModel]
    """In the family's order, which is that of all columns and colours."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Label to address."""


def render_comparison(comparison: ComparisonInput) -> str:
    """The whole page as HTML text; equal inputs give equal text."""
    from model.evaluate.report.comparison_costs import costs_section, curves_section, settings_section
    from model.evaluate.report.comparison_scores import scores_section

    members = comparison.members
    sections = [
        scores_section(members),
        costs_section(members),
        curves_section(members),
        settings_section(members),
        _models_section(members, comparison.links),
        data_section(comparison.corpus),
    ]
    return page(f"{comparison.recipe.name} family", _headline(comparison), [one for one in sections if one])


def key(place: int) -> Markup:
    """Colour and shape of the member at this place, as drawn in every picture of the page."""
    return tag("svg", marker(place, "50%", "50%"), class_="key", width="14", height="14", aria_hidden="true")


def marker(place: int, x: str, y: str | float) -> Markup:
    """A member's mark in a plot: four shapes, filled for the first four members and hollow for the others."""
    shape = (
        tag("circle", r="4.5"),
        tag("path", d="M0-5.5 5.5 0 0 5.5-5.5 0z"),
        tag("path", d="M-4.3-4.3H4.3V4.3H-4.3z"),
        tag("path", d="M0-5.3 5.2 4.2H-5.2z"),
    )[place % 4]
    return tag("svg", shape, x=x, y=y, class_=f"mark m{place}{' hollow' if place >= 4 else ''}")


def named(place: int, name: str) -> Markup:
    """A member's name with its key, for heads of columns and rows."""
    return tag("span", key(place), tag("span", name, class_="name"), class_="member")


def member_columns(members: Sequence[ComparedModel], first: str) -> list[Column]:
    """A column a member, after one that names the row."""
    return [Column(first)] + [Column(one.name, "number", head=named(place, one.name)) for place, one in enumerate(members)]


def hours(value: float) -> str:
    """Hours of work: whole from ten on."""
    return numbers.count(value) if value >= 10 else numbers.short(value)


def _headline(comparison: ComparisonInput) -> Markup:
    members = comparison.members
    questions = sum(result.questions for result in members[0].results)
    rank_hours = sum(one.rank_hours for one in members)
    unit = "GPU-hours" if members[0].device == "gpu" else "process-hours"
    return tag(
        "header",
        tag("p", f"SPHINX-X · family · recipe {comparison.recipe.name}", class_="overline"),
        tag("h1", ", ".join(one.name for one in members)),
        tag("p", verdict(members), class_="verdict"),
        facts(
            [
                ("Models", numbers.count(len(members)), "trained on one corpus, judged on the same questions"),
                ("Benchmarks", numbers.count(len(members[0].results)), numbers.plural(questions, "question")),
                ("Corpus", f"{numbers.count(comparison.corpus.samples)} samples", f"digest {comparison.corpus.digest[:12]}"),
                (f"Training, {unit}", hours(rank_hours), "of all members, in optimizer steps"),
            ]
        ),
    )


def verdict(members: Sequence[ComparedModel]) -> str:
    """Who has the highest mean score, who cannot be told apart from it, and which of those is cheaper."""
    if not all(one.results for one in members):
        return "Not every member was judged, so they are not ranked."
    means = [mean_score(one.results) for one in members]
    first = max(range(len(members)), key=lambda place: means[place][0])
    best = members[first]
    score, half = means[first]
    words = f"{best.name} has the highest mean score: {numbers.percent(score)} ± {100 * half:.1f} (95 %)."
    others = [one for one in members if one is not best]
    if not others:
        return words
    tied = [one for one in others if (gap := mean_gap(best, one)) is not None and not gap.is_significant]
    if not tied:
        return f"{words} No other is within noise of it."
    words += f" Within noise of it: {', '.join(one.name for one in tied)}."
    cheapest = min(tied, key=lambda one: one.rank_hours)
    work = "GPU-hours" if best.device == "gpu" else "process-hours"
    if 0 < cheapest.rank_hours < 0.8 * best.rank_hours:
        words += f" {cheapest.name} took {cheapest.rank_hours / best.rank_hours:.2g} times its {work}."
    return words


def mean_gap(first: ComparedModel, second: ComparedModel) -> Difference | None:
    """Mean difference over the benchmarks of two members, taken as independent; None where they were asked nothing alike."""
    pairs = [(result, other) for result in first.results if (other := second.result(result.name)) and comparable(result, other)]
    if not pairs:
        return None
    gaps = [difference(result, other) for result, other in pairs]
    mean, half = mean_and_half([(gap.mean, gap.low, gap.high) for gap in gaps])
    return Difference(sum(gap.questions for gap in gaps), mean, mean - half, mean + half)


def comparable(first: Result, second: Result) -> bool:
    """Whether both are about the same questions, answers and prompt, scored in the same way."""
    return (first.benchmark_digest, first.mode, first.metric) == (second.benchmark_digest, second.mode, second.metric)


def _models_section(members: Sequence[ComparedModel], links: Mapping[str, str]) -> Markup:
    columns = [Column("Model"), Column("Registered as"), Column("Gate"), Column("Pages")]
    rows = [[named(place, one.name), _registered(one), _gate(one), _pages(one)] for place, one in enumerate(members)]
    best = max(members, key=lambda one: mean_score(one.results)[0] if one.results else 0.0)
    return section(
        "models",
        "The models",
        table("Registered versions; the champion is what models:/<name>@champion loads.", columns, rows, wide=True),
        folded("Ask one of them a question", tag("pre", tag("code", chat_line(best.address)))),
        tag("ul", [tag("li", f"{label}: ", link(where, where)) for label, where in links.items()]) if links else None,
    )


def _registered(one: ComparedModel) -> Markup:
    note = tag("span", " and ".join(one.aliases), class_="note") if one.aliases else None
    return join(tag("span", tag("code", one.address), class_="value"), note)


def _gate(one: ComparedModel) -> Markup:
    sign = mark("open", "✓", "good") if one.gate_open else mark("closed", "✗", "bad")
    return join(tag("span", sign, class_="value"), tag("span", one.gate_reason, class_="note"))


def _pages(one: ComparedModel) -> Child:
    found = [link(label, where) for label, where in one.pages.items()]
    if one.report_file:
        found.append(tag("a", "report", href=one.report_file))
    return [join(", " if place else None, page) for place, page in enumerate(found)] or "report.html in its files"
