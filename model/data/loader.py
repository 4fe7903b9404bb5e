"""Loader: the batches of one rank, step after step, read and decoded ahead of time. The only part of the data that holds threads.

The plan says what comes, so reading ahead is no guess: the samples of the next packs are read by some threads, decoded and
joined by others, and handed over in the plan's order. Nothing that these threads do can change a batch.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from functools import partial
from types import TracebackType

import torch

from model.contracts.corpus import Picture
from model.data.deal import deal, packs_per_rank
from model.data.features import EncodeViews, FeatureCache
from model.data.lengths import open_pieces
from model.data.materialise import PackBatch, SamplePart, assemble_pack, materialise_sample, picture_views
from model.data.plan import PackPlan
from model.data.reading import ShardReader
from model.data.shards import parse_member_range
from model.data.steps import PackRef, SampleRef, StepPlan
from model.data.workers import Workers
from model.errors import DataError, StorageError
from model.train.config import TrainConfig
from model.train.spec import read_corpus_manifest
from model.variants import Variant, ViewGeometry
from model.weights import read_base

_NUM_READERS = 8
"""Reads in the air on each rank: enough to hide the latency of object storage."""
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, eq=False)
class StepBatch:
    """One optimizer step as a rank sees it."""

    number: int
    packs: list[PackBatch]
    """This rank's; every rank has equally many."""
    supervised_tokens: int
    """On all ranks, as are the counts below."""
    filled_packs: int
    samples: int
    tokens: int
    real_views: int
    skipped_views: int
    waited_seconds: float
    """How long the caller waited for this batch."""


class Loader:
    """Iterator over `StepBatch`; use it in a `with` block, which ends its threads."""

    def __init__(
        self,
        plan: PackPlan,
        reader: ShardReader,
        materialise: Callable[[SampleRef, bytes], SamplePart],
        assemble: Callable[[PackRef, list[SamplePart]], PackBatch],
        shares: Iterator[tuple[StepPlan, list[PackRef]]],
        config: TrainConfig,
        on_close: Callable[[], None],
    ) -> None:
        self._plan, self._reader, self._materialise, self._assemble = plan, reader, materialise, assemble
        self._shares = shares
        self._timeout_s = config.loader.read_timeout_s
        self._ahead = config.loader.read_ahead_packs
        self._on_close = on_close
        self._closing = threading.Event()
        self._pin = torch.cuda.is_available()
        self._readers = Workers(_NUM_READERS, "loader-read")
        self._decoders = Workers(config.loader.workers, "loader-decode")
        self._steps: deque[tuple[StepPlan, list[_PackJob]]] = deque()
        self._in_air = 0

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> StepBatch:
        """The next step's batch.

        Raises:
            StorageError: a shard cannot be read, or not within `loader.read_timeout_s`; names the shard.
            DataError: a sample is damaged or not what was planned.
        """
        started = time.perf_counter()
        self._read_ahead()
        if not self._steps:
            raise StopIteration
        step, jobs = self._steps.popleft()
        packs = []
        for job in jobs:
            packs.append(job.result())
            self._in_air -= 1
            self._read_ahead()
        return StepBatch(
            number=step.number,
            packs=packs,
            supervised_tokens=step.supervised_tokens,
            filled_packs=step.filled_packs,
            samples=step.samples,
            tokens=step.tokens,
            real_views=step.real_views,
            skipped_views=step.skipped_views,
            waited_seconds=time.perf_counter() - started,
        )

    def close(self) -> None:
        """End all threads, and let go of what was read ahead."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._steps.clear()
        self._readers.close()
        self._decoders.close()
        self._reader.close()
        self._on_close()

    def _read_ahead(self) -> None:
        """Start on whole steps until enough packs are in the air; always on the step that comes next."""
        while not self._steps or self._in_air < self._ahead:
            share = next(self._shares, None)
            if share is None:
                return
            step, packs = share
            self._steps.append((step, [self._start(pack) for pack in packs]))
            self._in_air += len(packs)

    def _start(self, pack: PackRef) -> "_PackJob":
        reads = [_Read(self._reader, self._plan, sample, self._closing) for sample in pack.samples]
        for read in reads:
            read.future = self._readers.submit(read)
        return _PackJob(partial(self._make, pack, reads), self._decoders)

    def _make(self, pack: PackRef, reads: list["_Read"]) -> PackBatch:
        """Wait for the bytes of a pack's samples, decode and join them."""
        parts = []
        for sample, read in zip(pack.samples, reads, strict=True):
            data = read.wait(self._timeout_s)
            try:
                parts.append(self._materialise(sample, data))
            except DataError as error:
                raise DataError(f"{read.uri} at byte {read.offset}: {error}") from error
        batch = self._assemble(pack, parts)
        return batch.pinned() if self._pin else batch


class _PackJob:
    """A pack in the making: by a worker, or by the caller when it asks where there are no workers."""

    def __init__(self, make: Callable[[], PackBatch], decoders: Workers) -> None:
        self._make = make
        self._future = decoders.submit(make) if decoders.num_threads else None

    def result(self) -> PackBatch:
        return self._make() if self._future is None else self._future.result()


class _Read:
    """The read of one sample's bytes."""

    future: "Future[bytes]"

    def __init__(self, reader: ShardReader, plan: PackPlan, sample: SampleRef, closing: threading.Event) -> None:
        lengths = plan.lengths
        self._where = int(lengths.dataset[sample.row]), int(lengths.shard[sample.row])
        self.offset, self._length = int(lengths.offset[sample.row]), int(lengths.bytes[sample.row])
        self._reader, self._closing = reader, closing
        self.uri = reader.uri(*self._where)
        self._started: float | None = None

    def __call__(self) -> bytes:
        self._started = time.monotonic()
        if self._closing.is_set():
            raise StorageError(f"{self.uri} was not read: the loader was closed; open another.")
        return self._reader.read(*self._where, self.offset, self._length)

    def wait(self, timeout_s: float) -> bytes:
        """The bytes.

        Raises:
            StorageError: they cannot be read, or not within `timeout_s` from the start of the read.
        """
        while True:
            try:
                return self.future.result(_LOOK_EVERY_S)
            except FutureTimeoutError:
                if self._closing.is_set():
                    raise StorageError(f"{self.uri} was not read: the loader was closed; open another.") from None
                if self._started is not None and time.monotonic() - self._started > timeout_s:
                    raise StorageError(
                        f"{self.uri} gave no answer within {timeout_s:g} s; check the store and the network, "
                        "or raise loader.read_timeout_s."
                    ) from None


def open_loader(
    plan: PackPlan,
    corpus_uri: str,
    base_uri: str,
    variant: Variant,
    config: TrainConfig,
    rank: int,
    world_size: int,
    first_step: int,
    encode: EncodeViews | None = None,
) -> Loader:
    """The batches of one rank from `first_step` on.

    Args:
        encode: The frozen encoders; used, with `loader.feature_cache_mb`, to hand over features instead of views.

    Raises:
        ConfigError: the number of ranks does not divide the packs of a step.
        StorageError, DataError: corpus or tokenizer are not there.
    """
    packs_per_rank(plan.packs_per_step, world_size)
    corpus = read_corpus_manifest(corpus_uri)
    pieces = open_pieces(base_uri)
    settings = config.loader
    geometry, padding = variant.geometry, corpus.padding
    cache = None
    if encode is not None and settings.feature_cache_mb:
        key = [read_base(base_uri).digest, geometry.model_dump(mode="json"), padding, config.engine.precision]
        cache = FeatureCache(encode, key, settings.feature_cache_mb << 20, settings.cache_dir)

    def materialise(ref: SampleRef, data: bytes) -> SamplePart:
        sample, pictures = parse_member_range(data)
        places = int(plan.lengths.dataset[ref.row]), int(plan.lengths.task[ref.row])
        features_of = None if cache is None else partial(_kept_features, cache, sample.id, geometry, padding)
        return materialise_sample(ref, sample, pictures, pieces, geometry, padding, places, features_of)

    shares = ((step, _share(step, rank, world_size, variant)) for step in plan.steps(first_step))
    reader = ShardReader(corpus, settings.cache_dir, int(settings.cache_gb * 1e9))
    close = cache.close if cache is not None else lambda: None
    return Loader(plan, reader, materialise, lambda pack, parts: assemble_pack(pack, parts, pieces), shares, config, close)


def _kept_features(
    cache: FeatureCache, sample_id: str, geometry: ViewGeometry, padding: str, picture: Picture, content: bytes
) -> torch.Tensor:
    return cache.features(picture.sha256, lambda: picture_views(sample_id, picture, content, geometry, padding))


def _share(step: StepPlan, rank: int, world_size: int, variant: Variant) -> list[PackRef]:
    return [step.packs[pack] for pack in deal(step, world_size, variant)[rank]]
