"""Benchmarks made of the very turns that training data has: the same reader, the pictures that training never saw.

- receipts: the four key fields of SROIE (family icdar_spotting), one question each, grouped by field;
- spotting: all texts of a picture with their boxes, which have the two decimals of the text (icdar_spotting, and papertext in the
  form spotting);
- reading: the text of a region or a page (papertext);
- instruction: the first turn of a dialogue (llava). Later turns lean on earlier answers, and free text has no official scorer.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from model import storage
from model.contracts.corpus import Reject, Turn
from model.data.prompts import KEY_FIELDS, SPOTTING, short_question
from model.data.sources.base import RawPicture, RawSample
from model.evaluate.benchmarks.base import Request, asked_samples
from model.evaluate.questions import Question
from model.evaluate.scores.box_accuracy import in_picture
from model.evaluate.scores.labelled import parse_labelled_boxes

_FIELD_OF = {short_question(question): field for field, question in KEY_FIELDS.items()}
_PART = re.compile(r"(?<=\.p\d{4})-\d+$")
"""Number of the sample among those of one page of a PDF."""
_SPOTTING_START = SPOTTING.split(" regions")[0]


def read_receipts(request: Request) -> Iterator[Question | Reject]:
    """One question a key field of a receipt that has it."""

    def asks(sample: RawSample, place: int, turn: Turn, shown: RawPicture) -> Question | None:
        field = _FIELD_OF.get(turn.question)
        if field is None:
            return None
        return Question(f"{sample.id}-{field}", shown, turn.question, (turn.answer,), group=field)

    return _questions(request, asks, ("no key fields", "key field absent"))


def read_spotting(request: Request) -> Iterator[Question | Reject]:
    """All texts of a picture, or of the area that the question names."""

    def asks(sample: RawSample, place: int, turn: Turn, shown: RawPicture) -> Question | None:
        if not turn.question.startswith(_SPOTTING_START) or not shown.annotated_px:
            return None
        listed = parse_labelled_boxes(turn.answer, counted=False)
        origin = request.origin(*shown.annotated_px)
        return Question(
            id=f"{sample.id}-{place}",
            picture=shown,
            prompt=turn.question,
            expected=(turn.answer,),
            expected_boxes=tuple(in_picture(box, origin) for _, box in listed),
            expected_labels=tuple(text for text, _ in listed),
            origin=origin,
        )

    return _questions(request, asks)


def read_turns(request: Request) -> Iterator[Question | Reject]:
    """Every turn."""
    return _questions(request, lambda sample, place, turn, shown: _plain(sample, place, turn, shown))


def read_first_turns(request: Request) -> Iterator[Question | Reject]:
    """The first turn of each dialogue."""
    return _questions(request, lambda sample, place, turn, shown: _plain(sample, place, turn, shown) if place == 0 else None)


def _plain(sample: RawSample, place: int, turn: Turn, shown: RawPicture) -> Question:
    return Question(f"{sample.id}-{place}", shown, turn.question, (turn.answer,))


def _questions(
    request: Request,
    asks: Callable[[RawSample, int, Turn, RawPicture], Question | None],
    reasons: tuple[str, ...] | None = None,
) -> Iterator[Question | Reject]:
    """Questions of all supervised turns for which `asks` gives one; of the rejected parts those with the given reasons (None: all)."""
    root = request.source_dataset.root
    for found in asked_samples(request):
        if isinstance(found, Reject):
            yield found
            continue
        yield from (reject for reject in found.left_out if reasons is None or reject.reason in reasons)
        shown = found.pictures[0]
        # A file can be read again when it is asked about; a rendered page is kept, under the name of its sample.
        page = _PART.sub("", found.id)
        shown = replace(shown, data=None) if shown.uri else replace(shown, uri=storage.join(root, f"{page}.png"))
        for place, turn in enumerate(found.turns):
            if turn.supervised and (question := asks(found, place, turn, shown)) is not None:
                yield question
