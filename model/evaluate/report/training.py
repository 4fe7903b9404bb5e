"""What happened in training: curves from the run's log, facts with what they count, and settings that differ from the paper's."""

import math
from collections.abc import Sequence

from model.contracts.checkpoint import ModelManifest
from model.evaluate.report import numbers
from model.evaluate.report.figures import Line, Point, Scale, fitting_scale, line_chart, smoothed
from model.evaluate.report.markup import Column, Markup, facts, folded, section, table, tag
from model.train.config import RUN_SHAPE, TrainConfig

_DATASET, _TASK = "loss/dataset/", "loss/task/"
_END_SHARE = 0.05
"""Part of the logged steps over which a value `at the end` is averaged."""


def ordered_log(rows: Sequence[dict]) -> list[dict]:
    """Rows by rising step; a step that was done again after a restart counts as it was done last."""
    by_step = {int(row["step"]): row for row in rows if isinstance(row.get("step"), int | float)}
    return [by_step[step] for step in sorted(by_step)]


def series(rows: Sequence[dict], key: str) -> list[Point]:
    """(step, value) of the rows that hold a number under `key`; JSON's null is a value that was not finite."""
    return [(float(row["step"]), _number(row[key])) for row in rows if key in row]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def curves_section(log: Sequence[dict]) -> Markup:
    """Loss, learning rate, throughput and gradient norm over the steps; loss by dataset and by task as small multiples."""
    rows = ordered_log(log)
    if not rows:
        return section("curves", "Training curves", lead="The run's log was not found, so there are no curves to draw.")
    loss = series(rows, "loss")
    lead = (
        f"{numbers.plural(len(rows), 'logged row')} up to step {numbers.count(rows[-1]['step'])}. The faint line is the value as logged, the "
        f"strong one its moving average over {numbers.percent(_END_SHARE, 0)} of the steps; loss is drawn on a logarithmic scale where "
        "it spreads far."
    )
    charts = [
        _chart("Loss per supervised token (nats)", loss, log_scale=True, size="large") if loss else None,
        tag("div", _small_facts(rows), class_="grid-3"),
    ]
    by_dataset, by_task = _small_multiples(rows, _DATASET, loss), _small_multiples(rows, _TASK, loss)
    return section(
        "curves",
        "Training curves",
        charts,
        tag("h3", "Loss by dataset") if by_dataset else None,
        tag(
            "p",
            "One scale for all; the grey dashes are the loss over all datasets. Numbers: mean of the last twentieth of the values.",
            class_="note",
        )
        if by_dataset
        else None,
        by_dataset,
        folded("Loss by task", by_task) if by_task else None,
        lead=lead,
    )


def _small_facts(rows: Sequence[dict]) -> list[Markup]:
    wanted = [
        ("Learning rate", "learning_rate", False),
        ("Throughput (samples per second)", "samples_per_second", True),
        ("Gradient norm", "gradient_norm", True),
    ]
    return [_chart(title, points, smooth=smooth) for title, key, smooth in wanted if (points := series(rows, key))]


def _chart(title: str, points: list[Point], smooth: bool = True, log_scale: bool = False, size: str = "middle") -> Markup:
    lines = [Line(points, "raw"), Line(smoothed(points, _END_SHARE), "smooth")] if smooth else [Line(points, "smooth")]
    return line_chart(title, _end_words(points, smooth), lines, "optimizer steps", log=log_scale, size=size)


def _end_words(points: Sequence[Point], averaged: bool = True) -> str:
    """What a curve comes to, and over how many values."""
    finite = [y for _, y in points if math.isfinite(y)]
    gaps = len(points) - len(finite)
    broken = f"; {numbers.plural(gaps, 'value')} not finite" if gaps else ""
    if not finite:
        return f"no finite value{broken}"
    if not averaged:
        return f"highest {numbers.short(max(finite))}, last {numbers.short(finite[-1])}{broken}"
    last = finite[-max(1, round(_END_SHARE * len(finite))) :]
    return f"{numbers.short(sum(last) / len(last))} at the end (mean of the last {numbers.plural(len(last), 'value')}){broken}"


def _small_multiples(rows: Sequence[dict], prefix: str, whole: Sequence[Point]) -> Markup | None:
    names = sorted({key for row in rows for key in row if key.startswith(prefix)})
    if not names:
        return None
    curves = {name: series(rows, name) for name in names}
    averages = {name: Line(smoothed(points, _END_SHARE), "smooth") for name, points in curves.items()}
    reference = Line(smoothed(whole, _END_SHARE), "reference")
    scale = fitting_scale([*averages.values(), reference], from_zero=True, log=True)
    charts = [_multiple(name.removeprefix(prefix), curves[name], averages[name], reference, scale) for name in names]
    return tag("div", charts, class_="grid-small")


def _multiple(name: str, points: list[Point], average: Line, reference: Line, scale: Scale) -> Markup:
    lines = [reference, Line(points, "raw"), average]
    return line_chart(name, _end_words(points).split(" (")[0], lines, "optimizer steps", y_scale=scale, size="small")


def training_section(model: ModelManifest, log: Sequence[dict]) -> Markup:
    """How much was trained, how fast, and with which settings."""
    return section(
        "training",
        "Training",
        facts([*_run_facts(model), *_log_facts(ordered_log(log))]),
        _settings(model.train_config),
        lead="One stage: everything but the frozen encoders is trained from the first step on one mixture of all datasets.",
    )


def _run_facts(model: ModelManifest) -> list[tuple[str, str | None, str]]:
    seconds = model.train_seconds
    per_second = f"{numbers.short(model.samples_seen / seconds)} per second" if seconds > 0 else ""
    tokens = f"{numbers.short(model.tokens_seen / seconds)} per second; image, skip and text positions" if seconds > 0 else ""
    epochs = model.train_config.get("epochs")
    return [
        ("Optimizer steps", numbers.count(model.steps), f"{numbers.short(float(epochs))} epochs" if epochs is not None else ""),
        ("Samples seen", numbers.count(model.samples_seen), per_second),
        ("Tokens seen", numbers.count(model.tokens_seen), tokens),
        ("Time in steps", numbers.duration(model.train_seconds), "summed over restarts, without loading and saving"),
    ]


def _log_facts(rows: Sequence[dict]) -> list[tuple[str, str | None, str]]:
    over = f"mean over {numbers.plural(len(rows), 'logged row')}"
    real, skipped, left_out = (_total(rows, key) for key in ("real_views", "skipped_views", "skipped_updates"))
    memory = [y for _, y in series(rows, "memory_gb") if math.isfinite(y)]
    slowest = _mean(rows, "straggler_ratio")
    return [
        ("Pack fill", _mean_percent(rows, "pack_fill"), f"tokens against the budget, {over}"),
        (
            "Skipped views",
            numbers.percent(skipped / (real + skipped)) if real + skipped else None,
            f"of {numbers.count(real + skipped)} in the logged steps; one token each, no encoder work",
        ),
        ("Waiting for data", _mean_percent(rows, "data_wait_share"), f"share of the time, {over}"),
        ("Slowest rank", f"{slowest:.2f}×" if slowest is not None else None, f"its work over the ranks' mean, {over}"),
        ("FLOPs utilisation", _mean_percent(rows, "mfu"), f"of the GPUs' bf16 peak, {over}"),
        ("Skipped updates", numbers.count(left_out) if left_out else None, "steps whose gradients were not applied"),
        ("Memory at its peak", f"{max(memory):.3g}\u202fGB" if memory else None, "largest logged value of the first rank"),
    ]


def _total(rows: Sequence[dict], key: str) -> float:
    return sum(y for _, y in series(rows, key) if math.isfinite(y))


def _mean_percent(rows: Sequence[dict], key: str) -> str | None:
    share = _mean(rows, key)
    return None if share is None else numbers.percent(share)


def _mean(rows: Sequence[dict], key: str) -> float | None:
    """Mean over the steps: a row counts as many times as it covers steps."""
    known = [(_number(row[key]), _number(row.get("window_steps", 1))) for row in rows if key in row]
    finite = [(value, steps) for value, steps in known if math.isfinite(value) and steps > 0]
    steps = sum(weight for _, weight in finite)
    return sum(value * weight for value, weight in finite) / steps if finite else None


def _settings(config: dict) -> Markup:
    """Every setting that decides the result and differs from the typed default, which is the paper's where the paper has one."""
    defaults = flattened(TrainConfig(variant=str(config.get("variant", ""))).model_dump(mode="json"))
    mine = {name: value for name, value in flattened(config).items() if name.split(".")[0] not in RUN_SHAPE}
    rows = [
        [tag("code", name), written(value), written(defaults[name]) if name in defaults else "–"]
        for name, value in mine.items()
        if name not in defaults or defaults[name] != value
    ]
    if not rows:
        return tag("p", "All settings that decide the result are the defaults.")
    columns = [Column("Setting"), Column("This run", "number"), Column("Default", "number")]
    alike = len(mine) - len(rows)
    caption = f"Settings that differ from the defaults (the paper's values where it gives one); {alike} others are the same."
    return table(caption, columns, rows)


def flattened(config: dict, prefix: str = "") -> dict[str, object]:
    """Nested settings as one level of dotted names."""
    flat: dict[str, object] = {}
    for name, value in config.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def written(value: object) -> str:
    """A setting's value as a person reads it."""
    return numbers.short(value) if isinstance(value, float) else str(value)
