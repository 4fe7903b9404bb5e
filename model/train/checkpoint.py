"""Checkpoints: each rank's part of the state, saved in the background, committed last.

`<run>/checkpoints/step-00000200/` holds DeepSpeed's own files, a report of every rank on what it wrote, and `COMMITTED`, the
manifest with every file's digest. A save copies state to host memory and returns; a thread writes, hashes and uploads it.
Rank 0's thread commits once every rank has reported, then removes all but the newest `keep` checkpoints.
"""

import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from model import storage
from model.contracts.checkpoint import COMMITTED_FILE, CheckpointManifest, StoredFile
from model.errors import SphinxError, TrainError
from model.train.engine import Engine
from model.train.ranks import Ranks
from model.train.spec import CHECKPOINTS_FOLDER

COMMIT_TIMEOUT_SECONDS = 1800.0
_POLL_SECONDS = 0.1


def checkpoint_uri(run_uri: str, step: int) -> str:
    """Folder of one checkpoint."""
    return storage.join(run_uri, CHECKPOINTS_FOLDER, f"step-{step:08d}")


class CheckpointSaver:
    """Saves an engine's state into a run's folder.

    Args:
        attempt: Tells this start of the run from earlier ones, whose stragglers may still be writing; equal on all ranks.
        identity: Digests of run, plan and parameters, for the manifest.
        committed: Called on rank 0, in the saving thread, with the step of each committed checkpoint.
    """

    def __init__(
        self,
        run_uri: str,
        engine: Engine,
        ranks: Ranks,
        attempt: str,
        keep: int,
        identity: dict[str, Any],
        committed: Callable[[int], None],
    ) -> None:
        self.run_uri, self.engine, self.ranks, self.attempt, self.keep = run_uri, engine, ranks, attempt, keep
        self._committed = committed
        self.identity = {
            **identity,
            "world_size": ranks.world_size,
            "zero_stage": engine.config.engine.zero_stage,
            "expert_parallel_size": engine.config.engine.expert_parallel_size,
        }
        self._thread: threading.Thread | None = None
        self._failure: SphinxError | None = None

    def save(self, step: int, client_state: dict[str, Any], before_commit: Callable[[], None]) -> None:
        """Copy the state to host memory and write it in the background; waits for the save before. On every rank.

        Args:
            client_state: Small values that come back on restore.
            before_commit: Called on rank 0 before the marker is written: what must be stored when the step counts as done.
        """
        self.wait()
        files = self.engine.snapshot(client_state)
        self._thread = threading.Thread(target=self._write, args=(step, files, before_commit), name="checkpoint", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what went wrong in the background, if anything did.

        Raises:
            SphinxError: the checkpoint could not be written.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def wait(self) -> None:
        """Wait until the save under way is committed (rank 0) or handed over (the others)."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def _write(self, step: int, files: dict[str, Any], before_commit: Callable[[], None]) -> None:
        folder = checkpoint_uri(self.run_uri, step)
        try:
            written = [_store(state, name, folder) for name, state in files.items()]
            report = json.dumps([file.model_dump() for file in written])
            storage.write_text(storage.join(folder, self._report(self.ranks.rank)), report)
            if self.ranks.is_first:
                self._commit(step, folder, before_commit)
        except SphinxError as error:
            self._failure = TrainError(f"checkpoint of step {step}: {error}")
        except Exception as error:
            self._failure = TrainError(f"checkpoint of step {step} at {folder}: {type(error).__name__}: {str(error)[:200]}.")

    def _commit(self, step: int, folder: str, before_commit: Callable[[], None]) -> None:
        reports = [storage.join(folder, self._report(rank)) for rank in range(self.ranks.world_size)]
        deadline = time.monotonic() + COMMIT_TIMEOUT_SECONDS
        for report in reports:
            while not storage.exists(report):
                if time.monotonic() > deadline:
                    raise TrainError(
                        f"{report} did not come within {COMMIT_TIMEOUT_SECONDS:g} s; look for the rank that hangs."
                    )
                time.sleep(_POLL_SECONDS)
        files = [StoredFile(**fields) for report in reports for fields in json.loads(storage.read_bytes(report))]
        before_commit()
        manifest = CheckpointManifest(step=step, files=tuple(files), **self.identity)
        storage.write_text(storage.join(folder, COMMITTED_FILE), manifest.to_json())
        self._committed(step)
        for report in reports:
            storage.delete_tree(report)
        for old in committed_steps(self.run_uri)[self.keep :]:
            remove_checkpoint(self.run_uri, old)

    def _report(self, rank: int) -> str:
        return f"rank-{rank:05d}.{self.attempt}.json"


def committed_steps(run_uri: str) -> list[int]:
    """Steps with a committed checkpoint, the newest first."""
    paths = [file.path for file in storage.list_files(storage.join(run_uri, CHECKPOINTS_FOLDER))]
    return sorted(
        (int(path.split("/")[0].removeprefix("step-")) for path in paths if path.endswith(f"/{COMMITTED_FILE}")), reverse=True
    )


def remove_checkpoint(run_uri: str, step: int) -> None:
    """Delete a checkpoint, its marker first: what is half deleted must not look whole."""
    folder = checkpoint_uri(run_uri, step)
    storage.delete_tree(storage.join(folder, COMMITTED_FILE))
    storage.delete_tree(folder)


def remove_torn(run_uri: str) -> None:
    """Delete what earlier attempts left without a marker; only the holder of the run's lease may."""
    committed = set(committed_steps(run_uri))
    paths = [file.path for file in storage.list_files(storage.join(run_uri, CHECKPOINTS_FOLDER))]
    for folder in sorted({path.split("/")[0] for path in paths}):
        if int(folder.removeprefix("step-")) not in committed:
            storage.delete_tree(storage.join(run_uri, CHECKPOINTS_FOLDER, folder))


def _store(state: Any, name: str, folder: str) -> StoredFile:
    """Write one file of state by way of the local disk, and say what it must hold."""
    with tempfile.TemporaryDirectory(prefix="sphinx-x-checkpoint-") as scratch:
        path = Path(scratch) / name
        try:
            torch.save(state, path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a failed stream
            raise TrainError(
                f"{path} cannot be written, most often because the disk is full: {str(error)[:120]}; free some space (TMPDIR names the folder) and run again."
            ) from error
        stored = StoredFile(path=name, sha256=storage.sha256_of(path), bytes=path.stat().st_size)
        storage.upload_file(path, storage.join(folder, name))
    return stored
