"""What the members of a family cost, how their losses fell, and in which settings they differ."""

import math
from collections.abc import Callable, Sequence

from model.evaluate.report import numbers
from model.evaluate.report.comparison import ComparedModel, hours, key, member_columns
from model.evaluate.report.figures import Line, Point, line_chart, smoothed
from model.evaluate.report.markup import Child, Markup, join, section, table, tag
from model.evaluate.report.training import flattened, ordered_log, series, written
from model.train.config import RUN_SHAPE
from model.variants import Variant, variant_named

_END_SHARE = 0.05
"""Part of the logged steps over which a curve is averaged, and a value `at the end`."""


def costs_section(members: Sequence[ComparedModel]) -> Markup:
    """Size, work and time, a row each."""
    are_gpus = members[0].device == "gpu"
    rows: list[tuple[str, str, Callable[[ComparedModel], Child]]] = [
        ("Size", "", lambda one: one.model.variant),
        ("Trained parameters", "language model and fusion", lambda one: numbers.count(_trained(_variant(one)))),
        ("Frozen parameters", "both encoders", lambda one: numbers.count(_frozen(_variant(one)))),
        ("Started from", "", lambda one: ", ".join(base.name for base in one.model.bases) or "not recorded"),
        ("Samples seen", "", lambda one: numbers.count(one.model.samples_seen)),
        ("Tokens seen", "image, skip and text positions", lambda one: numbers.count(one.model.tokens_seen)),
        ("Optimizer steps", "", lambda one: numbers.count(one.model.steps)),
        ("Training time", "in steps, summed over restarts", lambda one: numbers.duration(one.model.train_seconds)),
        ("GPUs" if are_gpus else "Processes", "of this run", lambda one: numbers.count(one.ranks)),
        ("GPU-hours" if are_gpus else "Process-hours", "time in steps times those", lambda one: hours(one.rank_hours)),
        ("Samples per second", "in training", _training_speed),
        ("Questions per second", "in evaluation, mean over benchmarks", _answering_speed),
    ]
    return section(
        "costs",
        "Size and cost",
        table(
            "What each model is and what its training took.",
            member_columns(members, "What"),
            [[_what(what, note), *(value(one) for one in members)] for what, note, value in rows],
            wide=True,
        ),
    )


def _what(what: str, note: str) -> Markup:
    return join(tag("span", what, class_="name"), tag("span", note, class_="note") if note else None)


def _variant(one: ComparedModel) -> Variant:
    return variant_named(one.model.variant)


def _trained(variant: Variant) -> int:
    return variant.language.parameters + variant.fusion_parameters


def _frozen(variant: Variant) -> int:
    return variant.conv.parameters + variant.vit.parameters


def _training_speed(one: ComparedModel) -> Child:
    seconds = one.model.train_seconds
    return numbers.short(one.model.samples_seen / seconds) if seconds > 0 else "–"


def _answering_speed(one: ComparedModel) -> Child:
    speeds = [result.questions_per_second for result in one.results if result.questions_per_second > 0]
    return numbers.short(sum(speeds) / len(speeds)) if speeds else "–"


def curves_section(members: Sequence[ComparedModel]) -> Markup:
    """All losses in one picture, over the samples seen: steps of different batch sizes are no common measure."""
    curves = [_loss(one) for one in members]
    if not any(curves):
        return section("curves", "Training loss", lead="No run's log was found, so there are no curves to draw.")
    lines = [Line(points, f"raw m{place}") for place, points in enumerate(curves) if points]
    lines += [Line(smoothed(points, _END_SHARE), f"m{place}") for place, points in enumerate(curves) if points]
    keys = [
        tag("li", key(place), f"{one.name}: {_end(points)}")
        for place, (one, points) in enumerate(zip(members, curves, strict=True))
    ]
    return section(
        "curves",
        "Training loss",
        tag("ul", keys, class_="legend members"),
        line_chart(
            "Loss per supervised token (nats)",
            "faint: as logged; strong: moving average over a twentieth of the values",
            lines,
            "samples seen",
            log=True,
            size="large",
        ),
        lead=_loss_lead(members),
    )


def _loss_lead(members: Sequence[ComparedModel]) -> str:
    words = "The same data in the same mixture for all members; numbers are means of the last twentieth of the values."
    if len({_variant(one).language.vocab for one in members}) > 1:
        words += (
            " Members with other tokenizers split the same text into other tokens, so their losses are no ranking; scores are."
        )
    return words


def _loss(one: ComparedModel) -> list[Point]:
    rows = ordered_log(one.log)
    if all("samples_seen" in row for row in rows):
        return [(float(row["samples_seen"]), y) for row in rows for _, y in series([row], "loss")]
    # A log without the count: samples are spread evenly over the steps.
    per_step = one.model.samples_seen / max(1, one.model.steps)
    return [(step * per_step, y) for step, y in series(rows, "loss")]


def _end(points: Sequence[Point]) -> str:
    finite = [y for _, y in points if math.isfinite(y)]
    last = finite[-max(1, round(_END_SHARE * len(finite))) :]
    return f"{numbers.short(sum(last) / len(last))} at the end" if last else "no log"


def settings_section(members: Sequence[ComparedModel]) -> Markup | None:
    """Settings that decide a result and are not the same for all; None for a single member."""
    if len(members) == 1:
        return None
    settings = [_deciding(one.model.train_config) for one in members]
    names = list(dict.fromkeys(name for one in settings for name in one))
    rows = [
        [tag("code", name), *(written(one[name]) if name in one else "–" for one in settings)]
        for name in names
        if len({repr(one.get(name)) for one in settings}) > 1
    ]
    if not rows:
        return section("settings", "Settings", lead="All members were trained with the same settings.")
    caption = f"Settings that are not the same for all; {numbers.count(len(names) - len(rows))} others are."
    return section("settings", "Settings that differ", table(caption, member_columns(members, "Setting"), rows))


def _deciding(config: dict) -> dict[str, object]:
    return {name: value for name, value in flattened(config).items() if name.split(".")[0] not in RUN_SHAPE}
