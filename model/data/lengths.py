"""Lengths: how many language tokens each sample of a corpus has after each of its turns, counted once and kept.

`<store>/lengths/<key>.parquet` has a row a sample; the key is a digest of the corpus, the tokenizer and the template. With it
an epoch is planned without opening a shard again. Columns are flat numpy arrays: fifteen million samples are below 1 GB.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model import storage
from model.contracts.base import digest_of
from model.contracts.corpus import CorpusManifest
from model.data.shards import read_index
from model.data.text_lengths import count_shards
from model.errors import DataError
from model.sphinx_x.dialogue import TEMPLATE_ID
from model.sphinx_x.pieces import Pieces
from model.train.spec import read_corpus_manifest
from model.weights import TOKENIZER_FILE

LENGTHS_FOLDER = "lengths"
LENGTHS_VERSION = 1
"""Grows whenever the same samples are counted otherwise."""

Progress = Callable[[int, int], None]
"""Called with the number of samples counted and of all."""

_SCHEMA = pa.schema(
    [
        ("dataset", pa.int16()),
        ("task", pa.int16()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),
        ("bytes", pa.int32()),
        ("picture_widths", pa.list_(pa.int32())),
        ("picture_heights", pa.list_(pa.int32())),
        ("turn_ends", pa.list_(pa.int32())),
        ("turn_supervised", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True, eq=False)
class Lengths:
    """Numpy columns over the N samples of a corpus, in the order of its index; T turns and G pictures lie flat."""

    digest: str
    """Of the corpus, the tokenizer and the template."""
    tasks: tuple[str, ...]
    dataset: np.ndarray
    """[N] int16: place of the sample's dataset in the corpus manifest."""
    task: np.ndarray
    """[N] int16: place in `tasks`."""
    shard: np.ndarray
    """[N] int32, with `offset` [N] int64 and `bytes` [N] int32: where the sample lies, see `model/data/shards.py`."""
    offset: np.ndarray
    bytes: np.ndarray
    picture_starts: np.ndarray
    """[N + 1] int32: pictures of sample i are picture_starts[i] to picture_starts[i + 1]."""
    picture_widths: np.ndarray
    """[G] int32, pixels; `picture_heights` likewise."""
    picture_heights: np.ndarray
    turn_starts: np.ndarray
    """[N + 1] int32: turns of sample i are turn_starts[i] to turn_starts[i + 1]."""
    turn_ends: np.ndarray
    """[T] int32: text tokens of the sample up to the end of the turn, BOS and the template's opening among them."""
    turn_supervised: np.ndarray
    """[T] int32: supervised tokens of the sample up to the end of the turn."""

    @property
    def num_samples(self) -> int:
        return len(self.dataset)

    @property
    def text_tokens(self) -> np.ndarray:
        """[N] int32: text tokens of whole samples."""
        return self.turn_ends[self.turn_starts[1:] - 1]

    @property
    def supervised_tokens(self) -> np.ndarray:
        """[N] int32: supervised tokens of whole samples."""
        return self.turn_supervised[self.turn_starts[1:] - 1]


def corpus_lengths(corpus_uri: str, base_uri: str, store_uri: str, progress: Progress | None = None) -> Lengths:
    """Token lengths of a corpus under a base's tokenizer; read from the store where they were counted before.

    Args:
        corpus_uri: Folder from `merge_corpus`.
        base_uri: Base directory; only its `tokenizer.model` is read.
        store_uri: The store; lengths lie below `lengths/` in it.
        progress: Called after every shard.

    Raises:
        DataError: the corpus has no sample, a shard is damaged, or the tokenizer cannot be read.
        StorageError: something is not there.
    """
    corpus = read_corpus_manifest(corpus_uri)
    tokenizer = storage.read_bytes(storage.join(base_uri, TOKENIZER_FILE))
    digest = lengths_digest(corpus, hashlib.sha256(tokenizer).hexdigest())
    uri = storage.join(store_uri, LENGTHS_FOLDER, f"{digest[:12]}.parquet")
    if not storage.exists(uri):
        with tempfile.TemporaryDirectory(prefix="sphinx-x-lengths-") as folder:
            (Path(folder) / TOKENIZER_FILE).write_bytes(tokenizer)
            path = str(Path(folder) / TOKENIZER_FILE)
            counted = _count(corpus, corpus_uri, path, digest, progress or (lambda done, total: None))
        write_lengths(counted, uri)
    return read_lengths(uri, digest)


def lengths_digest(corpus: CorpusManifest, tokenizer_sha256: str) -> str:
    """What the lengths of a corpus depend on."""
    return digest_of([LENGTHS_VERSION, corpus.digest, tokenizer_sha256, TEMPLATE_ID])


def open_pieces(base_uri: str) -> Pieces:
    """The tokenizer of a base directory, without reading its weights.

    Raises:
        DataError: the file is no SentencePiece model.
        StorageError: it is not there.
    """
    uri = storage.join(base_uri, TOKENIZER_FILE)
    content = storage.read_bytes(uri)
    with tempfile.TemporaryDirectory(prefix="sphinx-x-tokenizer-") as folder:
        path = Path(folder) / TOKENIZER_FILE
        path.write_bytes(content)
        try:
            return Pieces(str(path))
        except (RuntimeError, OSError) as error:
            raise DataError(f"{uri} is no SentencePiece model; make the base directory again.") from error


def _count(corpus: CorpusManifest, corpus_uri: str, tokenizer: str, digest: str, progress: Progress) -> Lengths:
    index = read_index(corpus_uri).drop_columns(["sample_id"])
    if index.num_rows == 0:
        raise DataError(f"the corpus {corpus_uri} has no sample; look into its rejects.jsonl.")
    columns = {name: index.column(name).combine_chunks().to_numpy() for name in ("dataset", "shard", "offset", "bytes")}
    chars = np.zeros(index.num_rows, np.int64)
    for name in ("question_chars", "answer_chars"):
        starts, values = _flat(index.column(name).combine_chunks())
        totals = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
        chars += totals[starts[1:]] - totals[starts[:-1]]
    uris = [[storage.join(one.uri, shard.file) for shard in one.manifest.shards] for one in corpus.datasets]
    counts = count_shards(uris, columns, chars, tokenizer, os.cpu_count() or 1, progress)
    tasks = index.column("task").unify_dictionaries().combine_chunks()
    picture_starts, picture_widths = _flat(index.column("picture_widths").combine_chunks())
    return Lengths(
        digest=digest,
        tasks=tuple(tasks.dictionary.to_pylist()),
        task=tasks.indices.to_numpy().astype(np.int16),
        picture_starts=picture_starts,
        picture_widths=picture_widths,
        picture_heights=_flat(index.column("picture_heights").combine_chunks())[1],
        **columns,
        **vars(counts),
    )


def write_lengths(lengths: Lengths, uri: str) -> None:
    """Write the columns as one parquet file; a reader never sees half of it."""
    starts = {"picture_widths": lengths.picture_starts, "picture_heights": lengths.picture_starts,
              "turn_ends": lengths.turn_starts, "turn_supervised": lengths.turn_starts}  # fmt: skip
    columns = [
        pa.ListArray.from_arrays(starts[name], getattr(lengths, name)) if name in starts else pa.array(getattr(lengths, name))
        for name in _SCHEMA.names
    ]
    table = pa.table(columns, schema=_SCHEMA.with_metadata({b"tasks": "\n".join(lengths.tasks).encode()}))
    with tempfile.TemporaryDirectory(prefix="sphinx-x-lengths-") as folder:
        pq.write_table(table, Path(folder) / "lengths.parquet", compression="zstd")
        storage.upload_file(Path(folder) / "lengths.parquet", uri)


def read_lengths(uri: str, digest: str) -> Lengths:
    """Read what `write_lengths` wrote.

    Raises:
        DataError: the file is damaged.
    """
    try:
        path = storage.local_path(uri)
        file = pq.ParquetFile(path if path is not None else pa.BufferReader(storage.read_bytes(uri)))
        tasks = tuple((file.schema_arrow.metadata or {})[b"tasks"].decode().split("\n"))
        columns: dict[str, Any] = {}
        for field in _SCHEMA:
            # One at a time, so that what Arrow needs on the way is never more than a column.
            column = file.read([field.name], use_threads=False).column(0).combine_chunks().cast(field.type)
            columns[field.name] = _flat(column) if pa.types.is_list(field.type) else column.to_numpy()
            del column
            pa.default_memory_pool().release_unused()
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise DataError(f"{uri} is damaged ({str(error)[:120]}); delete it and run again.") from error
    picture_starts, picture_widths = columns.pop("picture_widths")
    turn_starts, turn_ends = columns.pop("turn_ends")
    return Lengths(
        digest=digest,
        tasks=tasks,
        picture_starts=picture_starts,
        picture_widths=picture_widths,
        picture_heights=columns.pop("picture_heights")[1],
        turn_starts=turn_starts,
        turn_ends=turn_ends,
        turn_supervised=columns.pop("turn_supervised")[1],
        **columns,
    )


def _flat(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Starts and values of a list column."""
    starts = column.offsets.to_numpy()
    return starts - starts[0], column.flatten().to_numpy()
