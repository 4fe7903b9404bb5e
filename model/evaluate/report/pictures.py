"""Held-out pictures with the model's answers: what was asked, said and expected, and the boxes drawn over the picture.

A picture is drawn as the model sees it: in a square with the side of its longest edge, where `Prediction.origin` says. Boxes
are fractions of that side from the picture's top-left corner.
"""

import base64
from collections import Counter
from collections.abc import Sequence

from model.contracts.evaluation import Box, Prediction
from model.evaluate.report import numbers
from model.evaluate.report.benchmarks import mark
from model.evaluate.report.inputs import RIGHT, ShownPrediction
from model.evaluate.report.markup import Child, Markup, join, section, tag, untrusted

_SIDE = 1000
"""Units of the drawing: a box's fractions times this."""


def pictures_section(shown: Sequence[ShownPrediction]) -> Markup:
    """Cards of pictures, in the order in which they were chosen; `inputs.choose_shown` says how."""
    if not shown:
        return section("pictures", "Held-out pictures", lead="No picture of an asked question was saved, so none is shown.")
    right = sum(one.prediction.score >= RIGHT for one in shown)
    benchmarks = len({one.benchmark for one in shown})
    lead = (
        f"{numbers.plural(len(shown), 'question')} about pictures that training never saw: {right} answered right, "
        f"{len(shown) - right} wrong. Chosen by a rule and not by hand: the {numbers.plural(benchmarks, 'benchmark')} with pictures take "
        "turns, right and wrong answers appear about in proportion but at least once each where there are both, and a hash of the "
        "question picks which. So this is a look at the answers, not a score."
    )
    has_boxes = any(one.prediction.boxes or one.prediction.expected_boxes for one in shown)
    return section(
        "pictures",
        "Held-out pictures",
        _legend() if has_boxes else None,
        tag("div", [picture_card(one) for one in shown], class_="cards"),
        lead=lead,
    )


def _legend() -> Markup:
    keys = [
        ("key-predicted", "box in the model's answer"),
        ("key-expected", "expected box"),
        ("key-padding", "padding: the model sees a square"),
    ]
    return tag("ul", [tag("li", tag("span", class_=key, aria_hidden="true"), words) for key, words in keys], class_="legend")


def picture_card(one: ShownPrediction) -> Markup:
    """One question: its picture with boxes, and the words below."""
    prediction = one.prediction
    group = f" · {prediction.group}" if prediction.group != "all" else ""
    words = tag(
        "dl",
        _pair("Question", untrusted(prediction.question)),
        _pair("Answer", _answer(prediction)),
        _pair("Expected", _expected(prediction.expected)),
    )
    head = tag("p", tag("span", f"{one.benchmark}{group}", class_="origin"), verdict(prediction.score), class_="card-head")
    return tag("article", _picture(one), tag("div", head, words, class_="card-words"), class_="card")


def verdict(score: float) -> Markup:
    """Right, partly right with its score, or wrong."""
    if score >= 1 - 1e-9:
        return mark("right", "✓", "good")
    if score <= 1e-9:
        return mark("wrong", "✗", "bad")
    return mark(f"scores {score:.2f}", "◐", "good" if score >= RIGHT else "bad")


def _pair(name: str, words: Child) -> Markup:
    return tag("div", tag("dt", name), tag("dd", words))


def _answer(prediction: Prediction) -> Markup:
    said = untrusted(prediction.answer) if prediction.answer.strip() else tag("em", "no words")
    unreadable = tag("span", "the scorer could read nothing in it", class_="note") if prediction.parsed is None else None
    return join(said, unreadable)


def _expected(accepted: Sequence[str]) -> Child:
    """Accepted answers, each once, with how many people gave it where there are several."""
    if not accepted:
        return tag("em", "nothing")
    ranked = Counter(accepted).most_common()
    shown = [
        join(untrusted(text), f"\u00a0×\u00a0{times}" if len(accepted) > 1 and times > 1 else None)
        for text, times in ranked[:5]
    ]
    more = f" and {len(ranked) - 5} more" if len(ranked) > 5 else None
    return join([join(", " if place else None, text) for place, text in enumerate(shown)], more)


def _picture(one: ShownPrediction) -> Markup:
    """The picture in its square and the boxes over it, as one drawing with a text for those who cannot see it."""
    side = max(one.width_px, one.height_px)
    prediction = one.prediction
    left, top = prediction.origin
    kind = "png" if one.jpeg.startswith(b"\x89PNG") else "jpeg"
    picture = tag(
        "image",
        href=f"data:image/{kind};base64,{base64.b64encode(one.jpeg).decode()}",
        x=_units(_SIDE * left),
        y=_units(_SIDE * top),
        width=_units(_SIDE * one.width_px / side),
        height=_units(_SIDE * one.height_px / side),
        preserveAspectRatio="none",
    )
    # Light halos first, so that lines show on any picture; dashes last, so that they show on a line that agrees with them.
    boxes = [
        _rectangles([*prediction.boxes, *prediction.expected_boxes], (), prediction.origin, "halo"),
        _rectangles(prediction.boxes, prediction.labels, prediction.origin, "predicted"),
        _rectangles(prediction.expected_boxes, prediction.expected_labels, prediction.origin, "expected"),
    ]
    return tag(
        "svg",
        tag("title", _alternative_text(one)),
        picture,
        boxes,
        viewBox=f"0 0 {_SIDE} {_SIDE}",
        class_="picture",
        role="img",
    )


def _alternative_text(one: ShownPrediction) -> str:
    prediction = one.prediction
    counted = [
        numbers.plural(len(boxes), noun, many)
        for boxes, noun, many in (
            (prediction.boxes, "box in the answer", "boxes in the answer"),
            (prediction.expected_boxes, "expected box", "expected boxes"),
        )
        if boxes
    ]
    drawn = f", with {' and '.join(counted)} drawn" if counted else ""
    return f"Picture of question {prediction.question_id} of {one.benchmark}, {one.width_px} by {one.height_px} pixels{drawn}"


def _rectangles(boxes: Sequence[Box], labels: Sequence[str], origin: tuple[float, float], kind: str) -> list[Markup]:
    """Boxes as outlines; a label shows under the pointer."""
    drawn = []
    for place, (x1, y1, x2, y2) in enumerate(boxes):
        # A model can write any number: corners in any order, far outside of the picture.
        left, right = sorted(_SIDE * min(2.0, max(-1.0, x + origin[0])) for x in (x1, x2))
        top, bottom = sorted(_SIDE * min(2.0, max(-1.0, y + origin[1])) for y in (y1, y2))
        label = tag("title", f"{kind}: {labels[place]}") if place < len(labels) else None
        corner, size = {"x": _units(left), "y": _units(top)}, {"width": _units(right - left), "height": _units(bottom - top)}
        drawn.append(tag("rect", label, **corner, **size, class_=f"box {kind}"))
    return drawn


def _units(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
