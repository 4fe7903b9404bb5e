"""Counting tokens shard by shard: only the JSON members are read, pictures between them are passed over where that pays.

A shard is one unit of work and each core counts one at a time; the counts are those of `encode_dialogue`, piece by piece.
"""

import functools
import multiprocessing
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from model import storage
from model.contracts.corpus import Sample
from model.errors import DataError
from model.processes import end_with_parent
from model.sphinx_x.dialogue import encode_dialogue
from model.sphinx_x.pieces import Pieces

_BLOCK = 512
_MERGE_GAP_BYTES = 64 << 10
"""JSON members closer than this come in one read, with what lies between: cheaper than a further request."""
_READ_BYTES = 8 << 20
_ROWS_WORTH_PROCESSES = 20_000
"""Below this, starting processes takes longer than counting."""


@dataclass(frozen=True)
class TurnCounts:
    """Counts of consecutive samples; see `Lengths`."""

    turn_starts: np.ndarray
    turn_ends: np.ndarray
    turn_supervised: np.ndarray


@dataclass(frozen=True)
class _Unit:
    """Consecutive samples of one shard."""

    uri: str
    offsets: np.ndarray
    bytes: np.ndarray
    chars: np.ndarray


def count_shards(
    uris: list[list[str]],
    columns: dict[str, np.ndarray],
    chars: np.ndarray,
    tokenizer: str,
    num_processes: int,
    progress: Callable[[int, int], None],
) -> TurnCounts:
    """Token counts of all samples.

    Args:
        uris: Shards by dataset.
        columns: `dataset`, `shard`, `offset` and `bytes` [N] of the corpus index.
        chars: [N] characters of a sample's questions and answers, from which the size of its JSON is guessed.
        tokenizer: Path of a `tokenizer.model`.
        num_processes: Processes that count at once; small corpora are counted in this one.
        progress: Called after every shard.

    Raises:
        DataError: a shard is damaged.
        StorageError: a shard cannot be read.
    """
    total = len(chars)
    units = list(_units(uris, columns, chars))
    parts: list[TurnCounts] = []
    done = 0
    for unit, part in zip(
        units, _counted(units, tokenizer, num_processes if total > _ROWS_WORTH_PROCESSES else 1), strict=True
    ):
        parts.append(part)
        done += len(unit.offsets)
        progress(done, total)
    num_turns = np.concatenate([np.diff(part.turn_starts) for part in parts])
    return TurnCounts(
        np.concatenate([[0], np.cumsum(num_turns)]).astype(np.int32),
        np.concatenate([part.turn_ends for part in parts]),
        np.concatenate([part.turn_supervised for part in parts]),
    )


def _counted(units: list[_Unit], tokenizer: str, num_processes: int) -> Iterator[TurnCounts]:
    if num_processes == 1:
        pieces = _pieces(tokenizer)
        yield from (_count_unit(pieces, unit) for unit in units)
        return
    # Spawned, not forked: the caller may hold threads (S3 clients, a progress bar).
    with ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn"), initializer=end_with_parent) as pool:
        yield from pool.map(functools.partial(_count_in_process, tokenizer), units)


def _count_in_process(tokenizer: str, unit: _Unit) -> TurnCounts:
    return _count_unit(_pieces(tokenizer), unit)


@functools.cache
def _pieces(tokenizer: str) -> Pieces:
    return Pieces(tokenizer)


def _count_unit(pieces: Pieces, unit: _Unit) -> TurnCounts:
    # The template's opening and the common questions come over and over.
    encode = functools.lru_cache(maxsize=4096)(pieces.encode_text)
    starts, ends, supervised = [0], [], []
    for text in _json_members(unit):
        try:
            turns = Sample.model_validate_json(text).turns
        except ValidationError as error:
            raise _damaged(unit.uri, f"a record is no sample: {error.errors()[0]['msg']}") from error
        dialogue = encode_dialogue(encode, ((turn.question, turn.answer, turn.supervised) for turn in turns), pieces.bos_id)
        counted = np.cumsum(dialogue.supervised)
        ends += dialogue.turn_ends
        supervised += [int(counted[end - 1]) for end in dialogue.turn_ends]
        starts.append(len(ends))
    return TurnCounts(*(np.array(values, np.int32) for values in (starts, ends, supervised)))


def _json_members(unit: _Unit) -> Iterator[bytes]:
    """The JSON text of each sample, in order."""
    # Two bytes a character and 256 a picture or turn cover nearly all; what is longer is read again in full.
    guesses = np.minimum(unit.bytes, 2 * unit.chars + 4 * _BLOCK)
    ends = unit.offsets + guesses
    for first, last in _runs(unit.offsets, ends):
        base = int(unit.offsets[first])
        data = storage.read_range(unit.uri, base, int(ends[first:last].max()) - base)
        for row in range(first, last):
            start = int(unit.offsets[row]) - base
            try:
                header = tarfile.TarInfo.frombuf(data[start : start + _BLOCK], "utf-8", "strict")
            except tarfile.TarError as error:
                raise _damaged(unit.uri, str(error)) from error
            if not header.name.endswith(".json") or _BLOCK + header.size > unit.bytes[row]:
                raise _damaged(unit.uri, f"{header.name} stands where a sample should begin")
            begin = start + _BLOCK
            text = data[begin : begin + header.size]
            yield text if len(text) == header.size else storage.read_range(unit.uri, base + begin, header.size)


def _runs(starts: np.ndarray, ends: np.ndarray) -> Iterator[tuple[int, int]]:
    """Consecutive rows that are read at once."""
    first = 0
    for row in range(1, len(starts) + 1):
        far = row < len(starts) and starts[row] - ends[row - 1] > _MERGE_GAP_BYTES
        if row == len(starts) or far or ends[row] - starts[first] > _READ_BYTES:
            yield first, row
            first = row


def _units(uris: list[list[str]], columns: dict[str, np.ndarray], chars: np.ndarray) -> Iterator[_Unit]:
    dataset, shard = columns["dataset"], columns["shard"]
    cuts = np.flatnonzero(np.diff(dataset) | np.diff(shard)) + 1
    for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(chars)], strict=True):
        rows = slice(start, end)
        uri = uris[int(dataset[start])][int(shard[start])]
        yield _Unit(uri, columns["offset"][rows], columns["bytes"][rows], chars[rows])


def _damaged(uri: str, what: str) -> DataError:
    return DataError(f"{uri} is damaged ({what[:160]}); delete its dataset's folder and run unify again.")
