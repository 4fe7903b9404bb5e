"""Unify under kills, full disks and company: whole or not there."""

import multiprocessing
import os
import resource
import signal
from pathlib import Path

from model import storage
from model.contracts.corpus import MANIFEST_FILE
from model.data.shards import read_dataset_manifest, read_samples
from model.data.unify import unify_dataset
from model.errors import SphinxError
from tests.support.raw_layouts import instances, recipe_of, spec, write_coco


def _unify_in_process(root: str, store: str) -> None:
    recipe = recipe_of(spec(Path(root), "coco_detection"))
    unify_dataset(recipe, "set", store, shard_bytes=8192)


def _die_at_write(number: int, root: str, store: str) -> None:
    """Unify, killed right before the write of that number."""
    writes = iter(range(number))
    for name in ("upload_file", "write_bytes"):
        write = getattr(storage, name)

        def counted(*arguments, write=write):
            if next(writes, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(*arguments)

        setattr(storage, name, counted)
    _unify_in_process(root, store)


def test_a_kill_before_any_write_leaves_nothing_that_is_taken_for_whole(tmp_path):
    root = write_coco(tmp_path / "raw", instances(12))
    _unify_in_process(str(root), str(tmp_path / "whole"))
    (whole,) = (tmp_path / "whole/datasets").iterdir()
    manifest = read_dataset_manifest(str(whole))
    context = multiprocessing.get_context("fork")
    store, deaths = tmp_path / "killed", 0
    while True:
        process = context.Process(target=_die_at_write, args=(deaths, str(root), str(store)))
        process.start()
        process.join(60)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        assert not list(store.rglob(MANIFEST_FILE))
        deaths += 1
    assert deaths == len(manifest.shards) + 4  # shards, rejects, index, pictures, manifest
    (made,) = (store / "datasets").iterdir()
    assert read_dataset_manifest(str(made)) == manifest
    for shard in manifest.shards:
        assert storage.sha256_of(made / shard.file) == shard.sha256


def _unify_on_a_full_disk(root: str, store: str, said) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
    try:
        _unify_in_process(root, store)
    except SphinxError as error:
        said.send(str(error))


def test_a_full_disk_is_one_sentence_and_leaves_no_manifest(tmp_path):
    root = write_coco(tmp_path / "raw", instances(30))
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_unify_on_a_full_disk, args=(str(root), str(tmp_path / "store"), sender))
    process.start()
    assert receiver.poll(60)
    assert "dataset set" in (said := receiver.recv())
    assert "check the disks" in said
    process.join(60)
    assert not list((tmp_path / "store").rglob(MANIFEST_FILE))


def test_two_runs_on_one_store_make_the_same_and_do_not_clash(tmp_path):
    root = write_coco(tmp_path / "raw", instances(100))
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_unify_in_process, args=(str(root), str(tmp_path / "store"))) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    (made,) = (tmp_path / "store/datasets").iterdir()
    assert len(list(read_samples(str(made)))) == 100
    assert not list(made.rglob("*.part"))
