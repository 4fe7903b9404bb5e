"""The report: one HTML page that needs nothing but itself, in the Kubeflow UI's sandboxed frame as well as from disk.

No script, no request: a content security policy in the page's own head forbids both, besides what escaping does.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from model.contracts.evaluation import GateDecision, Result
from model.evaluate.report import numbers
from model.evaluate.report.benchmarks import Rival, benchmark_section, mark, verdict_words
from model.evaluate.report.data import data_section
from model.evaluate.report.inputs import ReportInput
from model.evaluate.report.markup import Child, Markup, facts, tag
from model.evaluate.report.pictures import pictures_section
from model.evaluate.report.provenance import provenance_section
from model.evaluate.report.training import curves_section, training_section

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render_report(report: ReportInput) -> str:
    """The whole page as HTML text; equal inputs give equal text."""
    rival = _rival(report)
    sections = [
        benchmark_section(report.results, rival, report.decision),
        pictures_section(report.shown),
        curves_section(report.log),
        training_section(report.model, report.log),
        data_section(report.corpus),
        provenance_section(
            report.name, report.recipe, report.corpus, report.model, report.results, report.decision.promote, report.links
        ),
    ]
    return page(report.name, _headline(report, rival), sections)


def _rival(report: ReportInput) -> Rival | None:
    if report.champion is None:
        return None
    return Rival(report.decision.champion_version, report.champion, report.paired)


def page(title: str, header: Markup, sections: Sequence[Markup]) -> str:
    """A self-contained page around any header and sections."""
    style = Markup((Path(__file__).parent / "style.css").read_text(encoding="utf-8"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} · SPHINX-X report"),
        tag("style", style),
    )
    body = tag("body", header, tag("main", sections))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _headline(report: ReportInput, rival: Rival | None) -> Markup:
    return tag(
        "header",
        tag("p", f"SPHINX-X · {report.model.variant} · recipe {report.recipe.name}", class_="overline"),
        tag("h1", report.name),
        _verdict(report.decision),
        facts(_key_numbers(report, rival)),
    )


def _verdict(decision: GateDecision) -> Markup:
    opened = mark("Gate open", "✓", "good") if decision.promote else mark("Gate closed", "✗", "bad")
    return tag("p", opened, " ", decision.reason, class_="verdict")


def _key_numbers(report: ReportInput, rival: Rival | None) -> list[tuple[str, Child, Child]]:
    results, model = report.results, report.model
    found: list[tuple[str, Child, Child]] = []
    if results:
        score, half = mean_score(results)
        above = sum(result.low > result.chance for result in results)
        questions = sum(result.questions for result in results)
        found = [
            (
                "Mean score",
                numbers.percent(score),
                f"± {100 * half:.1f} (95 %), {numbers.plural(len(results), 'benchmark')}, {numbers.plural(questions, 'question')}",
            ),
            ("Above chance", f"{above} of {len(results)}", "benchmarks whose whole interval lies above chance"),
        ]
        found += _rival_numbers(results, rival)
    found.append(
        (
            "Trained on",
            f"{numbers.count(model.samples_seen)} samples",
            f"{numbers.count(model.tokens_seen)} tokens in {numbers.duration(model.train_seconds)}",
        )
    )
    return found


def mean_score(results: Sequence[Result]) -> tuple[float, float]:
    """Unweighted mean over benchmarks, and half the width of its 95 % interval (benchmarks taken as independent)."""
    return mean_and_half([(result.score, result.low, result.high) for result in results])


def _rival_numbers(results: Sequence[Result], rival: Rival | None) -> list[tuple[str, Child, Child]]:
    title = "Against champion"
    if rival is None:
        return [(title, "no champion yet", "this is the first model to be judged under this name")]
    changes = [change for result in results if (change := rival.difference(result)) is not None]
    if not changes:
        return [(title, "not comparable", f"{rival.name} has no result on the same questions")]
    verdicts = [verdict_words(change) for change in changes]
    mean, half = mean_and_half([(change.mean, change.low, change.high) for change in changes])
    told = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in ("better", "worse", "within noise") if kind in verdicts)
    note = (
        f"± {100 * half:.1f} (95 %), mean difference to {rival.name} over {numbers.plural(len(changes), 'benchmark')}: {told}"
    )
    return [(title, f"{numbers.points(mean)} points", note)]


def mean_and_half(values: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Unweighted mean of (value, low, high), and half the width of its 95 % interval if they are independent."""
    halves = [(high - low) / 2 for _, low, high in values]
    return sum(value for value, _, _ in values) / len(values), math.hypot(*halves) / len(values)
