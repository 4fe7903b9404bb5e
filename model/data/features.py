"""Features of frozen encoders, kept by picture on the node's own disk: decoded and encoded once, not once an epoch.

A picture is always encoded alone, so its features never depend on what else a batch holds, and they are stored bit by bit as the
encoders gave them. A file is renamed into place whole; two ranks that encode the same picture write the same bytes. The last
process to close removes the folder; after a kill it stays, and the run that goes on uses it.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from model.contracts.base import digest_of
from model.sphinx_x.image_processing_sphinx_x import Views

EncodeViews = Callable[[Tensor, Tensor], Tensor]
"""uint8 views [V, 3, conv_px, conv_px] and [V, 3, vit_px, vit_px] to features [V, P, C]."""


class FeatureCache:
    """Features by the sha256 of a picture's bytes; safe to be used from many threads and processes.

    Args:
        encode: The frozen encoders; called by one thread at a time.
        key: Whatever the features depend on besides the picture: encoders, geometry, padding.
        max_bytes: What all processes of the node together may keep.
        folder: Where; None takes the system's temporary folder.
    """

    def __init__(self, encode: EncodeViews, key: object, max_bytes: int, folder: str | None = None) -> None:
        parent = Path(folder or tempfile.gettempdir()) / f"sphinx-x-features-{os.getuid()}"
        self.folder = parent / digest_of(key)[:16]
        self.max_bytes = max_bytes
        self._encode = encode
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._users = open(self.folder / ".users", "w")  # noqa: SIM115
        fcntl.flock(self._users, fcntl.LOCK_SH)
        self._encoding = threading.Lock()
        self._taken = 0
        self._writes = 0

    def features(self, sha256: str, views_of: Callable[[], Views]) -> Tensor:
        """The features [V, P, C] of a picture, on the CPU; its views are only asked for where they are not kept."""
        path = self.folder / sha256
        with contextlib.suppress(FileNotFoundError, SafetensorError):
            return load(path.read_bytes())["features"]
        views = views_of()
        with self._encoding:
            features = self._encode(torch.from_numpy(views.conv), torch.from_numpy(views.vit)).cpu().contiguous()
        self._keep(path, features)
        return features

    def close(self) -> None:
        """Let go; the last process to do so removes the folder."""
        # Own claim first: two that close at once and both kept theirs while asking would leave the folder.
        fcntl.flock(self._users, fcntl.LOCK_UN)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(self.folder, ignore_errors=True)
        self._users.close()

    def _keep(self, path: Path, features: Tensor) -> None:
        # What other processes write is counted every so often; a little over is no harm.
        if self._writes % 64 == 0:
            with contextlib.suppress(OSError):
                self._taken = sum(entry.stat().st_size for entry in os.scandir(self.folder))
        self._writes += 1
        size = features.numel() * features.element_size()
        if self._taken + size > self.max_bytes:
            return
        with contextlib.suppress(OSError):  # a full disk: the picture is encoded again next time
            part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
            part.write_bytes(save({"features": features}))
            part.rename(path)
            self._taken += size
