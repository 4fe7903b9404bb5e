"""What every reader of a dataset family gives: raw samples, or the reasons why there are none.

A reader is a pure function of the raw files, the dataset's entry in the recipe, and the padding; it knows nothing of shards
or stores. It never reads a picture that it needs not see: `unify` fetches and checks pictures, several at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from model.contracts.base import Part
from model.contracts.corpus import Reject, Turn
from model.contracts.recipe import DatasetSpec

OptionsPart = TypeVar("OptionsPart", bound=Part)


class NoOptions(Part):
    """A family without settings."""


@dataclass(frozen=True)
class RawPicture:
    """A picture of a raw sample: where it lies, or its bytes where the reader had to make or see them."""

    key: str
    """Identity for holding out, from `model.data.holdout.picture_key`."""
    uri: str = ""
    data: bytes | None = None
    annotated_px: tuple[int, int] | None = None
    """Width and height that the boxes in the text were measured in; None where no box was."""


@dataclass(frozen=True)
class RawSample:
    """One dialogue of the raw files."""

    id: str
    """Unique in the dataset, the same in every run."""
    task: str
    pictures: tuple[RawPicture, ...]
    turns: tuple[Turn, ...]
    num_parts: int
    """Boxes, lines or questions in it: what `left_out` is compared with."""
    left_out: tuple[Reject, ...] = ()
    """Parts of this sample that could not be used."""


@dataclass(frozen=True)
class RawInputs:
    """The files a reader opens: all that its result depends on."""

    annotations: tuple[str, ...]
    """URIs of files whose content decides; they are hashed."""
    pictures: str = ""
    """URI of the folder of pictures; their names and sizes are compared, their content is not read again."""


@dataclass(frozen=True)
class Source:
    """A family of datasets with one layout."""

    name: str
    summary: str
    """One line for people: the layout and which public sets have it."""
    version: int
    """Grows whenever the same raw files give other samples, so that old corpora are not taken for new ones."""
    options: type[Part]
    """Settings of the reader, a schema for the recipe's `options`."""
    inputs: Callable[[DatasetSpec], RawInputs]
    read: Callable[[DatasetSpec, int, str], Iterator[RawSample | Reject]]
    """(dataset, the recipe's seed, padding) -> samples in an order that depends on file contents and names alone."""
    tool_version: Callable[[], str] = lambda: ""
    """Version of an outside program that makes part of the samples."""


def options_of(spec: DatasetSpec, schema: type[OptionsPart]) -> OptionsPart:
    """The dataset's options, checked.

    Raises:
        ConfigError: an unknown option or a wrong value.
    """
    return schema.from_fields(spec.options, f"options of dataset {spec.name} ({spec.family})")


def split_turns(
    weighted_turns: Sequence[tuple[Turn, int]], max_turns: int, max_weight: int
) -> Iterator[tuple[tuple[Turn, ...], int]]:
    """Cut a long dialogue into several: consecutive turns, at most so many and at most so heavy (0: no limit).

    Yields the turns of a part and their weight; a turn that is too heavy alone stays alone.
    """
    turns: list[Turn] = []
    weight = 0
    for turn, turn_weight in weighted_turns:
        full = bool(max_turns) and len(turns) >= max_turns
        heavy = bool(max_weight) and weight + turn_weight > max_weight
        if turns and (full or heavy):
            yield tuple(turns), weight
            turns, weight = [], 0
        turns.append(turn)
        weight += turn_weight
    if turns:
        yield tuple(turns), weight


def numbered(sample_id: str, parts: Iterable[tuple[tuple[Turn, ...], int]]) -> Iterator[tuple[str, tuple[Turn, ...], int]]:
    """Ids for the parts of a sample: the sample's own for the first, `-1`, `-2`, ... appended for the others."""
    for number, (turns, weight) in enumerate(parts):
        yield (f"{sample_id}-{number}" if number else sample_id), turns, weight
