"""Merging unified datasets into a corpus: nothing copied, nothing held out trained on."""

import json
import shutil
from pathlib import Path

import pytest

from model import storage
from model.contracts.corpus import MANIFEST_FILE, CorpusManifest
from model.data.holdout import is_held_out
from model.data.shards import read_index, read_samples
from model.data.unify import merge_corpus, unify_dataset
from model.errors import DataError
from tests.support.raw_layouts import WRITERS, instances, put, recipe_of, spec, write_coco, write_text

DIALOGUE = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "A thing."}]


def rejects_of(uri: str) -> list[dict]:
    return [json.loads(line) for line in storage.read_text(storage.join(uri, "rejects.jsonl")).splitlines()]


def test_a_corpus_names_its_datasets_in_the_recipe_s_order_and_copies_no_shard(tmp_path):
    roots = {name: WRITERS[family](tmp_path / name) for name, family in (("b", "vqav2"), ("a", "llava"))}
    recipe = recipe_of(spec(roots["b"], "vqav2", name="b", share=0.5), spec(roots["a"], "llava", name="a"))
    store = str(tmp_path / "store")
    uris = [unify_dataset(recipe, name, store) for name in ("a", "b")]
    uri = merge_corpus(recipe, uris, store)
    manifest = CorpusManifest.from_json(storage.read_bytes(storage.join(uri, MANIFEST_FILE)), uri)
    assert [(one.name, one.share) for one in manifest.datasets] == [("b", 0.5), ("a", 1.0)]
    index = read_index(uri).to_pylist()
    assert [(row["dataset"], row["sample_id"].split("/")[0]) for row in index] == [(0, "b")] * 2 + [(1, "a")] * 2
    assert {row["task"] for row in index} == {"vqa", "instruction"}
    assert not list(Path(uri).rglob("*.tar"))
    before = (Path(uri) / MANIFEST_FILE).stat().st_mtime_ns
    assert merge_corpus(recipe, uris[::-1], store) == uri
    assert (Path(uri) / MANIFEST_FILE).stat().st_mtime_ns == before


def test_adding_a_dataset_reuses_the_others_and_a_moved_store_names_its_new_place(tmp_path):
    first = spec(write_coco(tmp_path / "raw"), "coco_detection", name="a")
    second = spec(write_text(tmp_path / "text"), "text_dialogue", name="b")
    store = tmp_path / "store"
    uri = unify_dataset(recipe_of(first), "a", str(store))
    assert unify_dataset(recipe_of(first, second), "a", str(store)) == uri
    corpus = merge_corpus(recipe_of(first), [uri], str(store))
    shutil.move(store, tmp_path / "moved")
    again = merge_corpus(recipe_of(first), [uri.replace("/store/", "/moved/")], str(tmp_path / "moved"))
    assert Path(again).name == Path(corpus).name
    assert "/moved/" in storage.read_text(storage.join(again, MANIFEST_FILE))


def test_a_missing_or_differently_padded_dataset_stops_the_merge(tmp_path):
    one = spec(write_coco(tmp_path / "raw"), "coco_detection")
    store = str(tmp_path / "store")
    with pytest.raises(DataError, match="dataset set .* run unify on it"):
        merge_corpus(recipe_of(one), [], store)
    uri = unify_dataset(recipe_of(one), "set", store)
    with pytest.raises(DataError, match="padding corner, the recipe wants centre"):
        merge_corpus(recipe_of(one, padding="centre"), [uri], store)


def test_a_picture_held_out_by_one_dataset_is_left_out_of_all_others_in_the_corpus(tmp_path):
    first = spec(write_coco(tmp_path / "a", instances(40)), "coco_detection", name="a", held_out_share=0.3)
    rows = [{"id": n, "image": f"copy-{n}.jpg", "conversations": DIALOGUE} for n in range(1, 41)]
    put(tmp_path / "b/rows.json", rows)
    for number in range(1, 41):  # the same pictures under other names
        shutil.copy(tmp_path / f"a/train/{number:012d}.jpg", tmp_path / f"b/copy-{number}.jpg")
    recipe = recipe_of(first, spec(tmp_path / "b", "llava", name="b"))
    store = str(tmp_path / "store")
    uris = [unify_dataset(recipe, name, store) for name in ("a", "b")]
    corpus = merge_corpus(recipe, uris, store)
    trained = {path.read_bytes() for path in (tmp_path / "a/train").iterdir() if is_held_out(f"coco-{int(path.stem)}", 0, 0.3)}
    shown = {row["sample_id"] for row in read_index(corpus).to_pylist()}
    for sample, contents in read_samples(uris[1]):
        assert (sample.id in shown) == (contents[0] not in trained)
    manifest = CorpusManifest.from_json(storage.read_bytes(storage.join(corpus, MANIFEST_FILE)), corpus)
    assert manifest.left_out_samples == len(rejects_of(corpus)) >= len(trained) > 5
    assert manifest.samples == len(shown) == sum(one.manifest.samples for one in manifest.datasets) - manifest.left_out_samples
