"""The loader: the plan's batches whoever reads them, from wherever, and one sentence that names the shard when it cannot."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from model import storage
from model.data.deal import deal
from model.data.plan import make_plan
from model.data.plan_rejects import PLAN_REJECTS_FILE, write_plan_rejects
from model.data.shards import read_index
from model.errors import ConfigError, DataError, StorageError
from model.train.config import load_train_config
from tests.model.data.loading import Run, same
from tests.support.variants import NANO


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("loader")
    return Run(folder, str(folder / "store"))


@pytest.fixture
def own(tmp_path) -> Run:
    """A run whose files a test may damage."""
    return Run(tmp_path, str(tmp_path / "store"))


def test_a_batch_holds_what_the_plan_says(local):
    with local.open(workers=2) as steps:
        batches = list(steps)
    assert [batch.number for batch in batches] == list(range(local.plan.num_steps))
    for batch, step in zip(batches, local.plan.steps(), strict=True):
        (order,) = deal(step, 1, NANO)
        assert batch.supervised_tokens == step.supervised_tokens == sum(len(pack.supervised_tasks) for pack in batch.packs)
        assert batch.tokens == sum(len(pack.input_ids) for pack in batch.packs if pack.samples)
        assert batch.real_views == sum(len(pack.view_starts) for pack in batch.packs)
        assert batch.skipped_views == sum(len(pack.skip_positions) for pack in batch.packs)
        assert batch.samples == sum(pack.samples for pack in batch.packs)
        for pack, place in zip(batch.packs, order, strict=True):
            planned = [local.plan.lengths.dataset[sample.row] for sample in step.packs[place].samples]
            assert list(dict.fromkeys(pack.supervised_datasets.tolist())) == list(dict.fromkeys(planned))


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_ranks_together_read_what_one_reads(local, num_ranks):
    alone = local.read(0, 1)
    ranks = [local.read(rank, num_ranks) for rank in range(num_ranks)]
    for number, step in enumerate(local.plan.steps()):
        whole = dict(zip(deal(step, 1, NANO)[0], alone[number], strict=True))
        for rank, packs in enumerate(deal(step, num_ranks, NANO)):
            assert all(same(whole[pack], batch) for pack, batch in zip(packs, ranks[rank][number], strict=True))


@pytest.mark.parametrize("loader", [{"workers": 3, "read_ahead_packs": 9}, {"workers": 1, "read_ahead_packs": 1}])
def test_how_it_is_read_changes_nothing(local, loader):
    plain, other = local.read(workers=0), local.read(**loader)
    assert all(same(a, b) for one, two in zip(plain, other, strict=True) for a, b in zip(one, two, strict=True))


def test_a_run_that_goes_on_reads_the_very_next_pack(local):
    whole, tail = local.read(0, 2, 0), local.read(0, 2, 3)
    assert len(tail) == local.plan.num_steps - 3
    assert all(same(a, b) for one, two in zip(whole[3:], tail, strict=True) for a, b in zip(one, two, strict=True))


def test_what_the_plan_leaves_out_is_listed_beside_the_run(local, tmp_path):
    packs = {"tokens_per_pack": 512, "views_per_pack": 4, "batch_size": 8, "packs_multiple": 4}
    plan = make_plan(local.corpus, local.plan.lengths, NANO, load_train_config("nano", {"packs": packs}))
    write_plan_rejects(plan, local.corpus_uri, str(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / PLAN_REJECTS_FILE).read_text().splitlines()]
    ids = read_index(local.corpus_uri).column("sample_id").to_pylist()
    assert [(line["id"], line["reason"]) for line in lines] == [(ids[row], reason) for row, reason in plan.rejected()]
    assert {line["reason"] for line in lines} == {"too many views for a pack"}


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("loader", "shard"))]


def test_no_thread_is_left_wherever_reading_ends(local):
    with local.open(workers=3) as steps:
        next(steps)
        assert our_threads()
    assert not our_threads()
    with pytest.raises(KeyError), local.open(workers=3):
        raise KeyError
    assert not our_threads()


def test_ranks_that_do_not_divide_the_packs_are_refused_at_once(local):
    with pytest.raises(ConfigError, match="3 ranks do not divide"):
        local.open(0, 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_is_gone_is_named(own, workers):
    Path(own.shard(0)).unlink()
    with pytest.raises(StorageError, match=r"coco-detection-.*00000.tar: it does not exist"):
        own.read(workers=workers)
    assert not our_threads()


@pytest.mark.parametrize(("member", "place"), [(b"000000001.json", 1), (b"000000001.0.jpg", 512 + 300)])
def test_one_wrong_bit_in_a_shard_is_named(own, member, place):
    shard = Path(own.shard(0))
    content = bytearray(shard.read_bytes())
    # A member's name stands at the start of its header; its content comes 512 bytes later.
    header = content.index(member + bytes(100 - len(member)))
    content[header + place] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match="00000.tar at byte .*damaged"):
        own.read(workers=2)


def test_a_shard_of_another_corpus_under_the_same_name_is_found_out(own):
    shard = Path(own.shard(5))
    content = shard.read_bytes()
    # A word of the record is another: the tokens are others than planned.
    shard.write_bytes(content.replace(b'"answer":"', b'"answer":"\\u003f', 1)[: len(content)])
    with pytest.raises(DataError, match="damaged|were planned"):
        own.read(workers=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_read_that_hangs_is_named_in_time(own, workers):
    shard = Path(own.shard(0))
    kept = shard.read_bytes()
    shard.unlink()
    os.mkfifo(shard)  # nobody writes to it, so opening it never returns
    started = time.monotonic()
    try:
        with pytest.raises(StorageError, match=r"00000.tar gave no answer within 0.5 s; .*read_timeout_s"):
            own.read(workers=workers, read_timeout_s=0.5)
        assert time.monotonic() - started < 20
    finally:
        _release(shard)
    shard.unlink()
    shard.write_bytes(kept)
    deadline = time.monotonic() + 10
    while our_threads() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not our_threads()


def _release(fifo: Path) -> None:
    """Let everyone who waits for the other end of a FIFO go on."""
    deadline = time.monotonic() + 10
    while our_threads() and time.monotonic() < deadline:
        try:
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return
        time.sleep(0.05)


def test_object_storage_gives_the_same_batches_also_when_it_fails_now_and_then(s3, local, tmp_path):
    run = Run(tmp_path, s3.uri("store"))
    expected = local.read()
    for status in (503, 0, -1):
        s3.faults.every(10, status=status, matching="shards")
        batches = run.read(workers=2)
        assert s3.faults.requests >= 10
        assert all(same(a, b) for one, two in zip(expected, batches, strict=True) for a, b in zip(one, two, strict=True))


def test_whole_shards_are_kept_within_the_limit_and_read_without_the_store(s3, local, tmp_path):
    run = Run(tmp_path, s3.uri("store"))
    cache = tmp_path / "cache"
    cache.mkdir()
    other_run = cache / f"{'0' * 64}.tar"
    other_run.write_bytes(bytes(100_000))
    sizes = [shard.bytes for one in run.corpus.datasets for shard in one.manifest.shards]
    limit_gb = (sum(sizes) + 50_000) / 1e9
    with run.open(cache_dir=str(cache), cache_gb=limit_gb) as steps:
        list(steps)
        deadline = time.monotonic() + 20
        while len(list(cache.glob("*.tar"))) < len(sizes) and time.monotonic() < deadline:
            time.sleep(0.05)
    # Another run's shard made room; this run's stayed.
    assert not other_run.exists()
    assert sorted(path.stat().st_size for path in cache.glob("*.tar")) == sorted(sizes)
    s3.faults.every(1, status=500, matching="shards")
    batches = run.read(cache_dir=str(cache), cache_gb=limit_gb)
    assert all(same(a, b) for one, two in zip(local.read(), batches, strict=True) for a, b in zip(one, two, strict=True))
    assert s3.faults.requests == 0


def test_a_full_cache_keeps_what_it_has(s3, tmp_path):
    run = Run(tmp_path, s3.uri("store"))
    cache = tmp_path / "cache"
    shards = [shard for one in run.corpus.datasets for shard in one.manifest.shards]
    limit = max(shard.bytes for shard in shards) * 2
    run.read(cache_dir=str(cache), cache_gb=limit / 1e9)
    first = {path.name for path in cache.glob("*.tar")}
    assert sum(path.stat().st_size for path in cache.iterdir()) <= limit
    run.read(cache_dir=str(cache), cache_gb=limit / 1e9)
    assert first <= {path.name for path in cache.glob("*.tar")}
    assert not list(cache.glob(".*.part"))


def test_a_store_that_has_lost_a_shard_is_named(s3, tmp_path):
    run = Run(tmp_path, s3.uri("store"))
    storage.delete_tree(run.shard(2))
    with pytest.raises(StorageError, match="s3://.*vqav2-.*00000.tar: it does not exist"):
        run.read(workers=2)
