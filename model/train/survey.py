"""A look at raw datasets before they are unified: how many samples, how long, how large the pictures. No torch here.

The readers that unify will use run over the annotation files; pictures are not fetched, only the headers of some local ones.
"""

import io
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from model import storage
from model.contracts.corpus import Reject
from model.contracts.recipe import DatasetSpec, Recipe
from model.data.sources import source_named
from model.data.sources.base import RawPicture, RawSample
from model.sphinx_x.dialogue import dialogue_text, encode_dialogue
from model.sphinx_x.pieces import Pieces
from model.train.workload import SampleShape

CHARACTERS_PER_TOKEN = 3.5
"""Where no tokenizer is at hand; English under Llama's vocabulary has a little more, boxes have less."""
LOOK_SECONDS, COUNT_SECONDS = 2.0, 10.0
"""Time a dataset gets: to measure samples, and to count all of them."""
_UNKNOWN_SIZE = (640, 480)
_SHAPES = 5000


@dataclass(frozen=True)
class Survey:
    """What raw datasets hold."""

    shapes: list[SampleShape]
    """Samples, each dataset with its share of the epoch."""
    num_samples: int
    """Of one epoch: shares applied, held-out pictures taken away."""
    notes: tuple[str, ...]
    """What was guessed or not counted to the end; sentences for a person."""


def survey(recipe: Recipe, pieces: Pieces | None) -> Survey:
    """Look at every dataset of a recipe for some seconds.

    Args:
        pieces: The tokenizer; without it tokens are guessed from characters.

    Raises:
        SphinxError: a dataset is not there or its layout is broken.
    """
    notes = [] if pieces else [f"tokens are guessed, {CHARACTERS_PER_TOKEN:g} characters each; --base gives the tokenizer"]
    looks = [_look(dataset, recipe, pieces, notes) for dataset in recipe.datasets]
    weights = [count * dataset.share for (_, count), dataset in zip(looks, recipe.datasets, strict=True)]
    draw = random.Random(recipe.seed)  # noqa: S311 (a draw, no secret)
    shapes: list[SampleShape] = []
    for (found, _), weight in zip(looks, weights, strict=True):
        if found:
            shapes += draw.choices(found, k=max(1, round(_SHAPES * weight / sum(weights))))
    return Survey(shapes, round(sum(weights)), tuple(notes))


def _look(dataset: DatasetSpec, recipe: Recipe, pieces: Pieces | None, notes: list[str]) -> tuple[list[SampleShape], int]:
    """Measured samples of a dataset, and the number of all that train."""
    start, shapes, count, guessed = time.monotonic(), [], 0, 0
    rows = source_named(dataset.family).read(dataset, recipe.seed, recipe.padding)
    for row in rows:
        if isinstance(row, Reject):
            continue
        count += 1
        spent = time.monotonic() - start
        if spent < LOOK_SECONDS and len(shapes) < _SHAPES:
            sizes = [_size(picture) for picture in row.pictures]
            guessed += sum(size is None for size in sizes)
            shapes.append(_shape(row, [size or _UNKNOWN_SIZE for size in sizes], pieces))
        elif spent > COUNT_SECONDS:
            notes.append(
                f"dataset {dataset.name} was counted for {COUNT_SECONDS:g} s only, up to {count:,}; --samples gives the true number"
            )
            break
    getattr(rows, "close", lambda: None)()
    if guessed:
        notes.append(
            f"dataset {dataset.name}: {guessed:,} pictures of unknown size are taken for {_UNKNOWN_SIZE[0]} x {_UNKNOWN_SIZE[1]}"
        )
    training = count * (1 - dataset.held_out_share)
    return shapes, round(min(training, dataset.limit) if dataset.limit else training)


def _shape(sample: RawSample, sizes_px: Sequence[tuple[int, int]], pieces: Pieces | None) -> SampleShape:
    ends: list[int] = []
    supervised: list[int] = []
    if pieces is not None:
        turns = ((turn.question, turn.answer, turn.supervised) for turn in sample.turns)
        dialogue = encode_dialogue(pieces.encode_text, turns, pieces.bos_id)
        ends = dialogue.turn_ends
        supervised = [sum(dialogue.supervised[:end]) for end in ends]
    else:
        for number in range(1, len(sample.turns) + 1):
            told = sample.turns[:number]
            ends.append(1 + _guess(dialogue_text((turn.question, turn.answer) for turn in told)))
            supervised.append(sum(3 + _guess(turn.answer) for turn in told if turn.supervised))
    return SampleShape(tuple(ends), tuple(supervised), tuple(sizes_px))


def _guess(text: str) -> int:
    return round(len(text) / CHARACTERS_PER_TOKEN)


def _size(picture: RawPicture) -> tuple[int, int] | None:
    """Width and height as far as they can be known without fetching a picture."""
    if picture.annotated_px is not None:
        return picture.annotated_px
    source: Any = io.BytesIO(picture.data) if picture.data is not None else storage.local_path(picture.uri)
    try:
        with Image.open(source) as image:
            return image.size
    except (OSError, AttributeError, Image.DecompressionBombError):
        return None
