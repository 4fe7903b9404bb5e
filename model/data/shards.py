"""Shards: tar files of samples with a parquet index, written once and read by byte ranges.

A sample is a JSON member (`000000012.json`, a `Sample`) followed by its pictures (`000000012.0.jpg`, ...), bytes as they
were found. Headers carry no time and no owner, so equal samples give equal shards. The index has a row a sample with the
byte range in its shard; nothing but that range is read to get a sample, and nothing but the index to plan an epoch.
"""

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model import storage
from model.contracts.base import canonical_json
from model.contracts.corpus import INDEX_FILE, MANIFEST_FILE, PICTURES_FILE, SHARDS_FOLDER, DatasetManifest, Sample, Shard
from model.errors import DataError

INDEX_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("dataset", pa.int16()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),
        ("bytes", pa.int32()),
        ("picture_widths", pa.list_(pa.int32())),
        ("picture_heights", pa.list_(pa.int32())),
        ("question_chars", pa.list_(pa.int32())),
        ("answer_chars", pa.list_(pa.int32())),
        ("task", pa.dictionary(pa.int32(), pa.string())),
    ]
)
"""One row a sample. `dataset` is the position in the corpus manifest (0 in a dataset's own index), `shard` the position
in that dataset's manifest; `offset` and `bytes` are the sample's range in the shard, its JSON member first."""

PICTURES_SCHEMA = pa.schema([("row", pa.int64()), ("digest", pa.binary(32))])
"""One row a picture: the row of its sample in the dataset's index, -1 for a picture held out; sha256 of its bytes."""

DEFAULT_SHARD_BYTES = 256 << 20
_BLOCK = 512
_ROWS_PER_FLUSH = 65536


class ShardWriter:
    """Writes samples to numbered shards below a folder's URI; one shard at a time lies on the local disk."""

    def __init__(self, folder_uri: str, shard_bytes: int = DEFAULT_SHARD_BYTES) -> None:
        self.folder_uri = folder_uri
        self.shard_bytes = shard_bytes
        self.num_samples = 0
        self.shards: list[Shard] = []
        self._work = tempfile.TemporaryDirectory(prefix="sphinx-x-shards-")
        self._file: io.BufferedWriter | None = None
        self._digest = hashlib.sha256()
        self._offset = 0
        self._samples_in_shard = 0
        self._columns: dict[str, list[Any]] = {name: [] for name in INDEX_SCHEMA.names}
        self._batches: list[pa.RecordBatch] = []

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._work.cleanup()

    def next_member(self) -> str:
        """Stem of the member names of the sample that is added next."""
        return f"{self.num_samples:09d}"

    def add(self, sample: Sample, pictures: Sequence[bytes]) -> None:
        """Append a sample whose pictures are named `<next_member()>.<position>.<extension>`."""
        members = [(f"{self.next_member()}.json", canonical_json(sample.model_dump(mode="json")).encode())]
        members += [(picture.file, data) for picture, data in zip(sample.pictures, pictures, strict=True)]
        data = b"".join(_member(name, content) for name, content in members)
        if self._offset and self._offset + len(data) > self.shard_bytes:
            self._finish_shard()
        self._write(data)
        row = {
            "sample_id": sample.id,
            "dataset": 0,
            "shard": len(self.shards),
            "offset": self._offset - len(data),
            "bytes": len(data),
            "picture_widths": [picture.width_px for picture in sample.pictures],
            "picture_heights": [picture.height_px for picture in sample.pictures],
            "question_chars": [len(turn.question) for turn in sample.turns],
            "answer_chars": [len(turn.answer) for turn in sample.turns],
            "task": sample.task,
        }
        for name, value in row.items():
            self._columns[name].append(value)
        if len(self._columns["shard"]) >= _ROWS_PER_FLUSH:
            self._flush_rows()
        self.num_samples += 1
        self._samples_in_shard += 1

    def close(self) -> tuple[tuple[Shard, ...], pa.Table]:
        """Finish the last shard; returns all shards and the index."""
        if self._offset:
            self._finish_shard()
        self._flush_rows()
        return tuple(self.shards), pa.Table.from_batches(self._batches, INDEX_SCHEMA)

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._file = open(Path(self._work.name) / "shard.tar", "wb")  # noqa: SIM115
        self._file.write(data)
        self._digest.update(data)
        self._offset += len(data)

    def _finish_shard(self) -> None:
        self._write(bytes(2 * _BLOCK))
        assert self._file is not None
        self._file.close()
        name = f"{SHARDS_FOLDER}/{len(self.shards):05d}.tar"
        path = Path(self._work.name) / "shard.tar"
        storage.upload_file(path, storage.join(self.folder_uri, name))
        path.unlink()
        self.shards.append(
            Shard(file=name, sha256=self._digest.hexdigest(), bytes=self._offset, samples=self._samples_in_shard)
        )
        self._file, self._digest, self._offset, self._samples_in_shard = None, hashlib.sha256(), 0, 0

    def _flush_rows(self) -> None:
        self._batches.append(
            pa.RecordBatch.from_arrays([pa.array(self._columns[f.name], f.type) for f in INDEX_SCHEMA], schema=INDEX_SCHEMA)
        )
        self._columns = {name: [] for name in INDEX_SCHEMA.names}


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as the bytes of a parquet file; equal rows give equal bytes."""
    buffer = io.BytesIO()
    pq.write_table(table.unify_dictionaries().combine_chunks(), buffer, compression="zstd")
    return buffer.getvalue()


def read_index(uri: str) -> pa.Table:
    """The index of a dataset's or a corpus's folder, columns as `INDEX_SCHEMA`.

    Raises:
        DataError: the file is no such index.
    """
    return _read_table(storage.join(uri, INDEX_FILE), INDEX_SCHEMA)


def read_pictures(dataset_uri: str) -> pa.Table:
    """The digests of a dataset's pictures, columns as `PICTURES_SCHEMA`."""
    return _read_table(storage.join(dataset_uri, PICTURES_FILE), PICTURES_SCHEMA)


def read_dataset_manifest(dataset_uri: str) -> DatasetManifest:
    """The manifest of a unified dataset.

    Raises:
        StorageError: there is none: the dataset was not finished.
    """
    where = storage.join(dataset_uri, MANIFEST_FILE)
    return DatasetManifest.from_json(storage.read_bytes(where), where)


def parse_member_range(data: bytes) -> tuple[Sample, list[bytes]]:
    """A sample and its pictures out of its byte range in a shard.

    Raises:
        DataError: the range does not hold exactly one sample.
    """
    try:
        members = list(_members(data))
        if not members or not members[0][0].endswith(".json"):
            raise ValueError("the first member is no JSON")
        sample = Sample.model_validate_json(members[0][1])
        names = [picture.file for picture in sample.pictures]
        if [name for name, _ in members[1:]] != names:
            raise ValueError(f"pictures {names} are named, {[name for name, _ in members[1:]]} are there")
    except (ValueError, tarfile.TarError) as error:
        raise DataError(f"a shard's bytes are damaged ({str(error)[:200]}); delete its dataset and run unify again.") from error
    return sample, [content for _, content in members[1:]]


def read_samples(dataset_uri: str) -> Iterator[tuple[Sample, list[bytes]]]:
    """All samples of a unified dataset in the order of its index, with their pictures' bytes."""
    manifest = read_dataset_manifest(dataset_uri)
    index = read_index(dataset_uri)
    for shard, offset, length in zip(*(index.column(name).to_pylist() for name in ("shard", "offset", "bytes")), strict=True):
        yield parse_member_range(storage.read_range(storage.join(dataset_uri, manifest.shards[shard].file), offset, length))


def _read_table(uri: str, schema: pa.Schema) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(storage.read_bytes(uri))).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{uri} is damaged ({str(error)[:160]}); delete its folder and run unify again.") from error


def _member(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    header = info.tobuf(tarfile.USTAR_FORMAT)
    return header + content + bytes(-len(content) % _BLOCK)


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    position = 0
    while position < len(data):
        info = tarfile.TarInfo.frombuf(data[position : position + _BLOCK], "utf-8", "strict")
        start, end = position + _BLOCK, position + _BLOCK + info.size
        if not info.isreg() or info.size < 0 or end > len(data):
            raise ValueError(f"member {info.name} reaches past the range")
        yield info.name, data[start:end]
        position = end + (-info.size % _BLOCK)
