"""Shards and their index: what is written is read back by byte ranges, and equal samples give equal files."""

import hashlib
import tarfile
from pathlib import Path

import pytest

from model import storage
from model.contracts.corpus import Picture, Sample, Turn
from model.data.shards import INDEX_SCHEMA, ShardWriter, parquet_bytes, parse_member_range
from model.errors import DataError


def write(folder: Path, num_samples: int, shard_bytes: int = 1 << 20):
    """Samples with 0, 1 or 2 pictures of odd sizes."""
    with ShardWriter(str(folder), shard_bytes) as writer:
        for number in range(num_samples):
            contents = [bytes([number % 256]) * (100 * place + number) for place in range(1, 1 + number % 3)]
            pictures = tuple(
                Picture(
                    file=f"{writer.next_member()}.{place}.jpg",
                    width_px=10 + number,
                    height_px=20,
                    sha256=hashlib.sha256(content).hexdigest(),
                )
                for place, content in enumerate(contents)
            )
            turns = tuple(Turn(question=f"q{number}é", answer="a" * place) for place in range(1, 3))
            writer.add(Sample(id=f"d/{number}", dataset="d", task="vqa", pictures=pictures, turns=turns), contents)
        return writer.close()


def test_a_sample_is_its_byte_range_and_nothing_else(tmp_path):
    shards, index = write(tmp_path, 10, shard_bytes=4096)
    assert len(shards) > 2
    assert index.schema == INDEX_SCHEMA
    for number, row in enumerate(index.to_pylist()):
        data = storage.read_range(str(tmp_path / shards[row["shard"]].file), row["offset"], row["bytes"])
        sample, contents = parse_member_range(data)
        assert sample.id == row["sample_id"] == f"d/{number}"
        assert [hashlib.sha256(content).hexdigest() for content in contents] == [p.sha256 for p in sample.pictures]
        assert row["picture_widths"] == [10 + number] * (number % 3)
        assert row["question_chars"] == [len(f"q{number}é")] * 2
        assert row["answer_chars"] == [1, 2]


def test_shards_are_ordinary_tar_files_with_the_digests_and_sizes_of_the_manifest(tmp_path):
    shards, _ = write(tmp_path, 7, shard_bytes=4096)
    for shard in shards:
        path = tmp_path / shard.file
        assert (path.stat().st_size, storage.sha256_of(path)) == (shard.bytes, shard.sha256)
        with tarfile.open(path) as tar:
            names = tar.getnames()
        assert sum(name.endswith(".json") for name in names) == shard.samples
    assert sum(shard.samples for shard in shards) == 7


def test_equal_samples_give_equal_bytes(tmp_path):
    first, second = write(tmp_path / "a", 9), write(tmp_path / "b", 9)
    assert first[0] == second[0]
    assert parquet_bytes(first[1]) == parquet_bytes(second[1])


@pytest.mark.parametrize("damage", ["cut", "flip", "swap", "empty", "more"])
def test_damaged_ranges_are_refused_in_one_sentence(damage, tmp_path):
    shards, index = write(tmp_path, 6)
    row = index.to_pylist()[5]
    data = storage.read_range(str(tmp_path / shards[0].file), row["offset"], row["bytes"])
    damaged = {
        "cut": data[:-512],
        "flip": bytes([data[0] ^ 0xFF]) + data[1:],
        "swap": data[1024:] + data[:1024],
        "empty": b"",
        "more": data + data,
    }[damage]
    with pytest.raises(DataError, match="run unify again"):
        parse_member_range(damaged)
