"""Unify and merge: content-addressed, deterministic, whole or not there, and honest about what was left out."""

import json
import random
from pathlib import Path

import fsspec
import pytest

from model import storage
from model.contracts.base import digest_of
from model.contracts.corpus import Reject
from model.data.holdout import is_held_out
from model.data.shards import read_dataset_manifest, read_index, read_samples
from model.data.sources import SOURCES
from model.data.unify import merge_corpus, unify_dataset
from model.errors import DataError
from tests.support.raw_layouts import FAMILIES, WRITERS, instances, picture, put, recipe_of, spec, write_coco, write_text
from tests.support.real_data import real_data


def unify(root: Path, family: str, store: Path, recipe_fields: dict | None = None, **fields):
    recipe = recipe_of(spec(root, family, **fields), **(recipe_fields or {}))
    return unify_dataset(recipe, "set", str(store))


def rejects_of(uri: str) -> list[dict]:
    return [json.loads(line) for line in storage.read_text(storage.join(uri, "rejects.jsonl")).splitlines()]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_becomes_shards_that_hold_its_pictures_untouched(family, tmp_path):
    root = WRITERS[family](tmp_path / "raw")
    uri = unify(root, family, tmp_path / "store")
    manifest = read_dataset_manifest(uri)
    samples = list(read_samples(uri))
    raw_bytes = {path.read_bytes() for path in root.rglob("*") if path.suffix in (".jpg", ".png")}
    assert len(samples) == manifest.samples == read_index(uri).num_rows > 0
    assert sum(len(sample.turns) for sample, _ in samples) == manifest.turns
    assert all(content in raw_bytes for _, contents in samples for content in contents)
    assert sum(shard.samples for shard in manifest.shards) == manifest.samples


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_reader_makes_of_the_same_rows_changes_only_with_its_version(family, tmp_path):
    found = SOURCES[family].read(spec(WRITERS[family](tmp_path), family), 0, "corner")
    said = [
        [one.id, one.reason, one.kind] if isinstance(one, Reject) else [one.id, one.task, [t.model_dump() for t in one.turns]]
        for one in found
    ]
    assert (SOURCES[family].version, digest_of(said)[:12]) == PINNED[family], (
        "the reader gives other samples: raise its version, so that old datasets are made again, then pin the digest here"
    )


def test_a_finished_dataset_is_recognised_without_reading_a_picture(tmp_path):
    root = write_coco(tmp_path / "raw")
    uri = unify(root, "coco_detection", tmp_path / "store")
    for path in (root / "train").iterdir():
        path.write_bytes(b"x" * path.stat().st_size)
    assert unify(root, "coco_detection", tmp_path / "store") == uri


def test_neither_place_nor_order_on_disk_nor_share_matters_and_content_does(tmp_path):
    root = write_coco(tmp_path / "raw", instances(30))
    first = unify(root, "coco_detection", tmp_path / "a")
    moved = tmp_path / "elsewhere/moved"
    files = [path for path in root.rglob("*") if path.is_file()]
    random.Random(3).shuffle(files)
    for path in files:
        put(moved / path.relative_to(root), path.read_bytes())
    second = unify(moved, "coco_detection", tmp_path / "b", share=2.0)
    assert Path(first).name == Path(second).name
    assert read_dataset_manifest(first) == read_dataset_manifest(second)
    (moved / "train/000000000003.jpg").write_bytes(picture(80, 40, shade=3) + b"\0")
    third = unify(moved, "coco_detection", tmp_path / "b")
    assert Path(third).name != Path(second).name
    assert read_dataset_manifest(third).digest != read_dataset_manifest(second).digest


def test_held_out_pictures_never_enter_the_shards(tmp_path):
    root = write_coco(tmp_path / "raw", instances(60))
    uri = unify(root, "coco_detection", tmp_path / "store", {"seed": 4}, held_out_share=0.3)
    held = {n for n in range(1, 61) if is_held_out(f"coco-{n}", 4, 0.3)}
    ids = {int(sample.id.split("/")[1]) for sample, _ in read_samples(uri)}
    assert ids == set(range(1, 61)) - held
    assert read_dataset_manifest(uri).held_out_pictures == len(held) > 5


def test_a_limit_takes_whole_pictures_after_the_held_out_ones(tmp_path):
    root = write_coco(tmp_path / "raw", instances(20))
    options = {"max_turns": 1}
    uri = unify(root, "coco_detection", tmp_path / "store", held_out_share=0.3, limit=5, options=options)
    assert read_dataset_manifest(uri).samples == 10
    assert len({sample.id.split("/")[1].split("-")[0] for sample, _ in read_samples(uri)}) == 5


def test_bad_pictures_are_rejected_with_their_reasons_and_the_rest_is_kept(tmp_path):
    root = write_coco(tmp_path / "raw", instances(8))
    whole = picture(80, 40)
    put(root / "train/000000000002.jpg", b"no picture")
    put(root / "train/000000000003.jpg", whole[: len(whole) // 2])
    put(root / "train/000000000004.jpg", b"")
    put(root / "train/000000000005.jpg", picture(90, 40))
    (root / "train/000000000006.jpg").unlink()
    put(root / "train/000000000007.jpg", picture(40, 80, orientation=6))
    uri = unify(root, "coco_detection", tmp_path / "store", {"max_reject_share": 0.7})
    assert {reject["id"]: reject["reason"] for reject in rejects_of(uri)} == {
        "set/2": "picture unreadable",
        "set/3": "picture unreadable",
        "set/4": "picture empty",
        "set/5": "picture size differs from its record",
        "set/6": "picture missing",
    }
    kept = {sample.id: sample.pictures[0] for sample, _ in read_samples(uri)}
    assert list(kept) == ["set/1", "set/7", "set/8"]
    assert [one.upright for one in kept.values()] == [False, True, False]
    assert (kept["set/7"].width_px, kept["set/7"].height_px) == (80, 40)


@pytest.mark.parametrize(
    ("fault", "noun"),
    [(lambda root: (root / "train/000000000001.jpg").unlink(), "samples"), (None, "boxes, lines or questions")],
)
def test_too_many_faults_stop_the_step_and_leave_nothing_to_be_taken_for_whole(fault, noun, tmp_path):
    content = instances(4)
    if fault is None:
        content["annotations"][0]["bbox"] = [1, 1, 0, 0]
    root = write_coco(tmp_path / "raw", content)
    if fault:
        fault(root)
    with pytest.raises(DataError, match=rf"1 of \d+ {noun} are faulty.*max_reject_share 0.02.*rejects.jsonl.*raise") as caught:
        unify(root, "coco_detection", tmp_path / "store")
    assert "\n" not in str(caught.value)
    left = [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert left == ["rejects.jsonl"]
    unify(root, "coco_detection", tmp_path / "store", {"max_reject_share": 0.5})


def test_a_dataset_without_a_sample_or_with_one_twice_is_refused(tmp_path):
    root = write_coco(tmp_path / "raw", instances(2) | {"annotations": []})
    with pytest.raises(DataError, match="gives no sample.*check root, split and options"):
        unify(root, "coco_detection", tmp_path / "store")
    put(tmp_path / "text/a.json", [{"query": "q", "response": "\ud800"}, {"query": "q", "response": "a"}])
    uri = unify(tmp_path / "text", "text_dialogue", tmp_path / "store", {"max_reject_share": 0.5})
    assert [reject["reason"] for reject in rejects_of(uri)] == ["text is not valid Unicode"]


def test_stores_and_raw_files_may_lie_on_any_filesystem(tmp_path):
    root = write_coco(tmp_path / "raw")
    memory = fsspec.filesystem("memory")
    memory.put(str(root), "/raw", recursive=True)
    recipe = recipe_of(spec("memory://raw", "coco_detection"))
    uri = unify_dataset(recipe, "set", "memory://store")
    assert uri.startswith("memory://store/datasets/set-")
    local = unify(root, "coco_detection", tmp_path / "store")
    assert read_dataset_manifest(uri) == read_dataset_manifest(local)
    corpus = merge_corpus(recipe, [uri], "memory://store")
    assert read_index(corpus).num_rows == 4


def test_progress_counts_every_raw_sample(tmp_path):
    root = write_text(tmp_path / "raw")
    seen = []
    recipe = recipe_of(spec(root, "text_dialogue"))
    unify_dataset(recipe, "set", str(tmp_path / "store"), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)


def test_the_real_data_becomes_one_corpus(tmp_path):
    folder = real_data()
    recipe = recipe_of(
        spec(folder / "cells", "coco_detection", name="cells", held_out_share=0.1),
        spec(folder / "receipts", "icdar_spotting", name="receipts", options={"key_fields": True, "max_lines": 12}),
        spec(folder / "pages", "publaynet", name="pages"),
        spec(folder / "papers", "papertext", name="papers", options={"max_pages": 2}),
    )
    store = str(tmp_path)
    uris = [unify_dataset(recipe, one.name, store) for one in recipe.datasets]
    manifests = {manifest.name: manifest for manifest in map(read_dataset_manifest, uris)}
    cells = manifests["cells"]
    assert cells.samples + cells.held_out_pictures == 292
    assert cells.rejects == {"box without area": 1}
    assert manifests["receipts"].samples >= 48
    assert manifests["pages"].samples == 12
    assert read_index(merge_corpus(recipe, uris, store)).num_rows == sum(one.samples for one in manifests.values())


PINNED = {
    "coco_detection": (1, "825b13598ff0"),
    "refcoco": (1, "5dcc953afd4b"),
    "vqav2": (1, "6b086ec39641"),
    "icdar_spotting": (1, "0cba336f9465"),
    "llava": (1, "61b1c7c32fe6"),
    "text_dialogue": (1, "bc53b8c67fa1"),
    "publaynet": (1, "1b34c0e9a7d6"),
}
"""Version of each reader and the digest of what it makes of the hand-written rows."""
