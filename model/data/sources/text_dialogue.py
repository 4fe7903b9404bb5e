"""text_dialogue: dialogues without pictures; UltraChat, Flan-mini, OpenOrca, MetaMathQA, MathInstruct, Evol-Instruct-Code.

    <root>/*.jsonl, *.json, *.parquet       a row a dialogue, in any of the forms of `conversations.py`

Files are `<split>.*` where such are there, else all of the root's. Sources: the sets' cards on huggingface.co
(stingning/ultrachat, Open-Orca/OpenOrca, meta-math/MetaMathQA, TIGER-Lab/MathInstruct, nickrosh/Evol-Instruct-Code-80k-v1).
"""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from model.contracts.base import Part
from model.contracts.corpus import Reject
from model.contracts.recipe import DatasetSpec
from model.data.sources.base import RawInputs, RawSample, Source, numbered, options_of, split_turns
from model.data.sources.conversations import RowFault, turns_of
from model.data.sources.files import find_file, list_top, open_stream
from model.data.sources.llava import rows_of_file
from model.errors import DataError


class TextOptions(Part):
    """Settings of the reader."""

    files: str = ""
    """Files below the root, comma-separated, in the order in which they are read."""
    max_turns: int = Field(default=0, ge=0)
    """Most turns of one sample, a longer dialogue gives several; 0 for no limit."""
    max_chars: int = Field(default=0, ge=0)
    """Most characters of one sample, a longer dialogue is cut between turns; 0 for no limit."""


def _inputs(spec: DatasetSpec) -> RawInputs:
    options = options_of(spec, TextOptions)
    names = [name.strip() for name in options.files.split(",") if name.strip()]
    if not names:
        names = [name for name in list_top(spec.root) if name.endswith((".json", ".jsonl", ".parquet"))]
        names = [name for name in names if name.rsplit(".", 1)[0] == spec.split] or names
    if not names:
        raise DataError(f"no .json, .jsonl or .parquet file in {spec.root}; check root, or name the files in options.")
    return RawInputs(tuple(find_file(spec.root, (name,), "file of dialogues") for name in names))


def _read(spec: DatasetSpec, _seed: int, _padding: str) -> Iterator[RawSample | Reject]:
    options = options_of(spec, TextOptions)
    for uri in _inputs(spec).annotations:
        stem = uri.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        for number, row in _parquet_rows(uri) if uri.endswith(".parquet") else rows_of_file(uri):
            row_id = f"{stem}.{number:08d}"
            try:
                weighted = [(turn, len(turn.question) + len(turn.answer)) for turn in turns_of(row)]
            except RowFault as fault:
                yield Reject(id=row_id, reason=fault.reason, detail=fault.detail)
                continue
            parts = split_turns(weighted, options.max_turns, options.max_chars)
            for sample_id, part, _ in numbered(row_id, parts):
                yield RawSample(sample_id, "text", (), part, len(part))


def _parquet_rows(uri: str) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_stream(uri) as stream:
        try:
            number = 0
            for batch in pq.ParquetFile(stream).iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    yield number, row
                    number += 1
        except pa.ArrowException as error:
            raise DataError(f"{uri} is no whole parquet file ({str(error)[:120]}); download it again.") from error


SOURCE = Source(
    name="text_dialogue",
    summary="dialogues without pictures as JSON, JSONL or parquet: UltraChat, OpenOrca, MetaMathQA and others",
    version=1,
    options=TextOptions,
    inputs=_inputs,
    read=_read,
)
