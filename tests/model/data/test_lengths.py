"""Lengths: what the template and the tokenizer give, counted once, and without the pictures' bytes."""

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest

from model import storage
from model.contracts.corpus import Sample, Turn
from model.data import text_lengths
from model.data.lengths import corpus_lengths, open_pieces
from model.data.shards import ShardWriter, parse_member_range, read_index
from model.errors import DataError, StorageError
from model.sphinx_x.dialogue import encode_dialogue
from model.train.spec import read_corpus_manifest
from tests.support.corpora import make_base, make_corpus


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[str, str]:
    """A corpus and a base."""
    folder = tmp_path_factory.mktemp("lengths")
    corpus_uri = make_corpus(folder, str(folder / "store"))
    return corpus_uri, make_base([one.uri for one in read_corpus_manifest(corpus_uri).datasets], str(folder / "base"))


def sample_at(corpus_uri: str, row: dict) -> Sample:
    dataset = read_corpus_manifest(corpus_uri).datasets[row["dataset"]]
    uri = storage.join(dataset.uri, dataset.manifest.shards[row["shard"]].file)
    return parse_member_range(storage.read_range(uri, row["offset"], row["bytes"]))[0]


def test_every_turn_ends_where_the_template_ends_it(made, tmp_path):
    corpus_uri, base_uri = made
    lengths = corpus_lengths(corpus_uri, base_uri, str(tmp_path))
    pieces = open_pieces(base_uri)
    rows = read_index(corpus_uri).to_pylist()
    assert lengths.num_samples == len(rows) > 10
    for number, row in enumerate(rows):
        sample = sample_at(corpus_uri, row)
        turns = [(turn.question, turn.answer, turn.supervised) for turn in sample.turns]
        dialogue = encode_dialogue(pieces.encode_text, turns, pieces.bos_id)
        of_turns = slice(lengths.turn_starts[number], lengths.turn_starts[number + 1])
        of_pictures = slice(lengths.picture_starts[number], lengths.picture_starts[number + 1])
        assert lengths.turn_ends[of_turns].tolist() == dialogue.turn_ends
        assert lengths.turn_supervised[of_turns].tolist() == [sum(dialogue.supervised[:end]) for end in dialogue.turn_ends]
        assert lengths.text_tokens[number] == len(dialogue.ids)
        assert lengths.picture_widths[of_pictures].tolist() == [picture.width_px for picture in sample.pictures]
        assert lengths.picture_heights[of_pictures].tolist() == [picture.height_px for picture in sample.pictures]
        assert lengths.tasks[lengths.task[number]] == sample.task
        assert (lengths.offset[number], lengths.bytes[number]) == (row["offset"], row["bytes"])


def test_lengths_are_counted_once_for_a_corpus_and_a_tokenizer(made, tmp_path, monkeypatch):
    corpus_uri, base_uri = made
    calls = []
    counted = corpus_lengths(corpus_uri, base_uri, str(tmp_path), lambda done, total: calls.append((done, total)))
    assert calls[-1] == (counted.num_samples, counted.num_samples)
    calls.clear()
    again = corpus_lengths(corpus_uri, base_uri, str(tmp_path), lambda done, total: calls.append((done, total)))
    assert not calls
    for name, column in vars(counted).items():
        assert np.array_equal(column, getattr(again, name)), name
    other_base = make_base([read_corpus_manifest(corpus_uri).datasets[0].uri], str(tmp_path / "base"), num_pieces=330)
    other = corpus_lengths(corpus_uri, other_base, str(tmp_path))
    assert other.digest != counted.digest
    assert other.text_tokens.sum() != counted.text_tokens.sum()


def test_many_processes_count_what_one_counts(made, tmp_path, monkeypatch):
    corpus_uri, base_uri = made
    one = corpus_lengths(corpus_uri, base_uri, str(tmp_path / "one"))
    monkeypatch.setattr(text_lengths, "_ROWS_WORTH_PROCESSES", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    many = corpus_lengths(corpus_uri, base_uri, str(tmp_path / "many"))
    for name, column in vars(one).items():
        assert np.array_equal(column, getattr(many, name)), name


def written_shard(folder: Path, samples: list[tuple[Sample, list[bytes]]]) -> tuple[str, dict, np.ndarray]:
    with ShardWriter(str(folder)) as writer:
        for sample, pictures in samples:
            writer.add(sample, pictures)
        shards, index = writer.close()
    columns = {name: index.column(name).to_numpy() for name in ("dataset", "shard", "offset", "bytes")}
    chars = np.array([sum(len(turn.question) + len(turn.answer) for turn in sample.turns) for sample, _ in samples])
    return storage.join(str(folder), shards[0].file), columns, chars


def text_sample(number: int, answer: str, **fields) -> Sample:
    return Sample(id=f"set/{number}", dataset="set", task="text", turns=(Turn(question="Why?", answer=answer),), **fields)


def test_a_text_that_is_longer_in_bytes_than_guessed_is_read_to_its_end(made, tmp_path):
    # Four bytes a character, where two are guessed; the last sample has no neighbour whose read would cover it.
    samples = [(text_sample(number, "\U0001f642" * 20_000), []) for number in range(2)]
    uri, columns, chars = written_shard(tmp_path, samples)
    counts = text_lengths.count_shards([[uri]], columns, chars, tokenizer_of(made), 1, lambda done, total: None)
    pieces = open_pieces(made[1])
    expected = len(pieces.encode_text(f" {samples[0][0].turns[0].answer}\n###"))
    assert counts.turn_supervised.tolist() == [expected, expected]


def test_large_pictures_are_passed_over(made, tmp_path, monkeypatch):
    picture = {"file": "", "width_px": 9, "height_px": 9, "sha256": "0"}
    samples = [
        (text_sample(number, "Because.", pictures=({**picture, "file": f"{number:09d}.0.jpg"},)), [bytes(1 << 20)])
        for number in range(5)
    ]
    uri, columns, chars = written_shard(tmp_path, samples)
    read = []

    @functools.wraps(storage.read_range)
    def counting(uri: str, start: int, length: int) -> bytes:
        read.append(length)
        return real(uri, start, length)

    real = storage.read_range
    monkeypatch.setattr(storage, "read_range", counting)
    text_lengths.count_shards([[uri]], columns, chars, tokenizer_of(made), 1, lambda done, total: None)
    assert sum(read) < 5 * 4096 < 5 << 20


def tokenizer_of(made: tuple[str, str]) -> str:
    return storage.join(made[1], "tokenizer.model")


@pytest.mark.parametrize(("place", "byte"), [(0, b"\xff"), (512, b"\x00")])
def test_a_damaged_shard_is_named(made, tmp_path, place, byte):
    corpus_uri, base_uri = made
    store = tmp_path / "store"
    corpus = read_corpus_manifest(corpus_uri)
    copied = Path(corpus.datasets[0].uri)
    shutil.copytree(copied, tmp_path / copied.name)
    moved = corpus.model_copy(
        update={
            "digest": "e" * 64,
            "datasets": (corpus.datasets[0].model_copy(update={"uri": str(tmp_path / copied.name)}), *corpus.datasets[1:]),
        }
    )
    storage.write_text(storage.join(str(tmp_path / "corpus"), "manifest.json"), moved.to_json())
    shutil.copy(Path(corpus_uri) / "index.parquet", tmp_path / "corpus" / "index.parquet")
    shard = tmp_path / copied.name / "shards" / "00000.tar"
    content = bytearray(shard.read_bytes())
    content[place : place + 1] = byte
    shard.write_bytes(content)
    with pytest.raises(DataError, match="00000.tar is damaged .*; delete its dataset's folder and run unify again"):
        corpus_lengths(str(tmp_path / "corpus"), base_uri, str(store))
    assert not list(store.rglob("*.parquet"))


def test_damaged_lengths_and_a_broken_tokenizer_are_named(made, tmp_path):
    corpus_uri, base_uri = made
    corpus_lengths(corpus_uri, base_uri, str(tmp_path))
    (kept,) = tmp_path.rglob("*.parquet")
    kept.write_bytes(kept.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"parquet is damaged .*; delete it and run again"):
        corpus_lengths(corpus_uri, base_uri, str(tmp_path))
    storage.write_bytes(str(tmp_path / "base/tokenizer.model"), b"no model")
    with pytest.raises(DataError, match="tokenizer.model is no SentencePiece model"):
        open_pieces(str(tmp_path / "base"))
    with pytest.raises(StorageError, match="tokenizer.model: it does not exist"):
        open_pieces(str(tmp_path / "nowhere"))


def test_lengths_of_a_corpus_on_object_storage_lie_there_too(s3, tmp_path):
    corpus_uri = make_corpus(tmp_path, s3.uri("store"))
    base_uri = make_base([one.uri for one in read_corpus_manifest(corpus_uri).datasets], s3.uri("base"))
    counted = corpus_lengths(corpus_uri, base_uri, s3.uri("store"))
    assert [file.path for file in storage.list_files(s3.uri("store", "lengths"))] == [f"{counted.digest[:12]}.parquet"]
    again = corpus_lengths(corpus_uri, base_uri, s3.uri("store"))
    assert np.array_equal(counted.turn_ends, again.turn_ends)
