"""Reading samples out of shards: byte ranges from anywhere, and whole shards kept on the node's own disk.

The order of a run is a uniform shuffle, so every shard is wanted all the time and swapping one kept shard for another gains
nothing: a full cache keeps what it has, and what is not in it is read by ranges. Only shards that this run does not read go,
the least recently used first. Ranks of a node share the folder.
"""

import contextlib
import fcntl
import hashlib
import os
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from model import storage
from model.contracts.corpus import CorpusManifest, Shard
from model.errors import StorageError


class ShardReader:
    """Byte ranges of a corpus's shards; safe to be used from many threads.

    Args:
        cache_dir: Folder for whole shards from object storage; None keeps none. Local shards are never copied.
        cache_bytes: Largest size of that folder.
    """

    def __init__(self, corpus: CorpusManifest, cache_dir: str | None, cache_bytes: int) -> None:
        self._shards = [
            [(storage.join(one.uri, shard.file), shard) for shard in one.manifest.shards] for one in corpus.datasets
        ]
        own = {shard.sha256 for one in self._shards for _, shard in one}
        self._cache = ShardCache(Path(cache_dir), cache_bytes, own) if cache_dir else None

    def uri(self, dataset: int, shard: int) -> str:
        """Where a shard lies."""
        return self._shards[dataset][shard][0]

    def read(self, dataset: int, shard: int, offset: int, length: int) -> bytes:
        """The bytes of a sample.

        Raises:
            StorageError: the shard is not there, too short, or its store does not answer.
        """
        uri, entry = self._shards[dataset][shard]
        if self._cache is not None and storage.local_path(uri) is None:
            data = self._cache.read(entry, offset, length)
            if data is not None:
                return data
            self._cache.want(uri, entry)
        return storage.read_range(uri, offset, length)

    def close(self) -> None:
        """Stop fetching; what is kept stays for the next run."""
        if self._cache is not None:
            self._cache.close()


class ShardCache:
    """Whole shards in a local folder, fetched in the background by one thread, named by their content."""

    def __init__(self, folder: Path, max_bytes: int, own: set[str]) -> None:
        self.folder, self.max_bytes, self._own = folder, max_bytes, own
        self.folder.mkdir(parents=True, exist_ok=True)
        self._wanted: queue.SimpleQueue[tuple[str, Shard] | None] = queue.SimpleQueue()
        self._asked: set[str] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._fetch_wanted, name="shard-cache", daemon=True)
        self._thread.start()

    def read(self, shard: Shard, offset: int, length: int) -> bytes | None:
        """A range of a kept shard; None where it is not kept."""
        try:
            with open(self._path(shard), "rb") as file:
                return os.pread(file.fileno(), length, offset)
        except FileNotFoundError:
            return None

    def want(self, uri: str, shard: Shard) -> None:
        """Fetch a shard when there is time; once asked is enough."""
        if shard.sha256 not in self._asked:
            self._asked.add(shard.sha256)
            self._wanted.put((uri, shard))

    def close(self) -> None:
        self._stopping = True
        self._wanted.put(None)
        self._thread.join(timeout=5)

    def _fetch_wanted(self) -> None:
        while (wanted := self._wanted.get()) is not None and not self._stopping:
            # A shard that cannot be kept (a full disk, a store that fails) is read by ranges; reading reports what is wrong.
            with contextlib.suppress(StorageError, OSError):
                self._fetch(*wanted)

    def _fetch(self, uri: str, shard: Shard) -> None:
        """Copy one shard, in a place that was reserved for it; a shard that is damaged on the way is not kept."""
        part = self.folder / f".{shard.sha256}.part"
        with self._locked():
            if self._path(shard).exists() or part.exists() or not self._make_room(shard.bytes):
                return
            part.touch()
            os.truncate(part, shard.bytes)  # counts as taken from now on
        try:
            self._copy(uri, shard, part)
        finally:
            part.unlink(missing_ok=True)

    def _copy(self, uri: str, shard: Shard, part: Path) -> None:
        digest = hashlib.sha256()
        with open(part, "r+b") as file:
            for start in range(0, shard.bytes, 8 << 20):
                if self._stopping:
                    return
                data = storage.read_range(uri, start, min(8 << 20, shard.bytes - start))
                digest.update(data)
                file.write(data)
        if digest.hexdigest() == shard.sha256:
            part.rename(self._path(shard))

    def _make_room(self, needed: int) -> bool:
        """Whether a shard of so many bytes may come; removes shards of other runs, the least recently used first."""
        files = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                if path.suffix == ".part" and time.time() - stat.st_mtime > 3600:
                    path.unlink()  # its writer was killed
                elif path.suffix in (".tar", ".part"):
                    files.append((stat.st_atime, stat.st_size, path))
        taken = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if taken + needed <= self.max_bytes:
                break
            if path.suffix == ".tar" and path.stem not in self._own:
                path.unlink(missing_ok=True)
                taken -= size
        return taken + needed <= self.max_bytes

    def _path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.sha256}.tar"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self.folder / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
