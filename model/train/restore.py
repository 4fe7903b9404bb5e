"""Going on: the newest whole checkpoint of a run is found, verified, converted if the ranks are others, and loaded.

Nothing is trusted but what a `COMMITTED` marker lists with its digest. A damaged checkpoint is named, removed, and the one before
it is taken. Files of other ranks' optimizer state are fetched by nobody on the same topology.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model import storage
from model.contracts.checkpoint import COMMITTED_FILE, CheckpointManifest, StoredFile
from model.errors import SphinxError, TrainError
from model.train.checkpoint import checkpoint_uri, committed_steps, remove_checkpoint
from model.train.config import EngineConfig
from model.train.ranks import Ranks

UNIVERSAL = "universal"
NATIVE = "native"


@dataclass(frozen=True)
class Found:
    """A verified checkpoint on this machine."""

    manifest: CheckpointManifest
    folder: Path
    """Holds one folder of DeepSpeed's files, named `tag`."""
    tag: str
    is_universal: bool
    """Whether it was converted, because it was saved by another number of ranks."""


@contextlib.contextmanager
def newest_checkpoint(run_uri: str, ranks: Ranks, engine: EngineConfig, identity: dict[str, Any]) -> Iterator[Found | None]:
    """The newest whole checkpoint, fetched and verified on every machine; None where the run has none yet.

    Args:
        identity: Fields that a checkpoint of this run has: run, plan and parameters digest.

    Raises:
        TrainError: every checkpoint is damaged, one is of another run, or saved with an incompatible ZeRO stage.
    """
    steps = ranks.agree(lambda: committed_steps(run_uri))
    with tempfile.TemporaryDirectory(prefix="sphinx-x-restore-") as scratch:
        for step in steps:
            manifest, problem = ranks.agree(lambda step=step: _read_manifest(run_uri, step))
            if manifest is not None:
                ranks.agree(lambda manifest=manifest: _require_fit(manifest, run_uri, engine, identity))
                universal = _is_other_topology(manifest, ranks, engine)
                folder = Path(scratch) / NATIVE
                problem = _fetch(manifest, checkpoint_uri(run_uri, step), folder, ranks, whole=universal)
            if ranks.all_true(not problem):
                assert manifest is not None
                if universal:
                    _convert(folder, Path(scratch) / UNIVERSAL, ranks, manifest)
                    yield Found(manifest, Path(scratch), UNIVERSAL, True)
                else:
                    yield Found(manifest, folder.parent, folder.name, False)
                return
            if problem:
                print(
                    f"checkpoint of step {step} is damaged ({problem}); going on from the one before.",
                    file=sys.stderr,
                    flush=True,
                )
            ranks.barrier()
            if ranks.is_first:
                remove_checkpoint(run_uri, step)
        if steps:
            raise TrainError(
                f"every checkpoint of {run_uri} is damaged and was removed; run again to start from the beginning."
            )
        yield None


def _read_manifest(run_uri: str, step: int) -> tuple[CheckpointManifest | None, str]:
    uri = storage.join(checkpoint_uri(run_uri, step), COMMITTED_FILE)
    try:
        return CheckpointManifest.from_json(storage.read_bytes(uri), uri), ""
    except SphinxError as error:
        return None, str(error)


def _require_fit(manifest: CheckpointManifest, run_uri: str, engine: EngineConfig, identity: dict[str, Any]) -> None:
    for field in ("run_digest", "plan_digest", "parameters_digest"):
        if getattr(manifest, field) != identity[field]:
            raise TrainError(
                f"{run_uri}: the checkpoint of step {manifest.step} has another {field.replace('_', ' ')}; "
                "it was written by another version of this program: use that version, or delete the run's folder to start anew."
            )
    if _family(manifest.zero_stage) != _family(engine.zero_stage):
        raise TrainError(
            f"{run_uri} was trained with ZeRO stage {manifest.zero_stage}, whose state cannot go on under stage {engine.zero_stage}; "
            f"set engine.zero_stage back, or export the model and start a new run from it as the base."
        )


def _family(stage: int) -> int:
    return {0: 0, 1: 1, 2: 1, 3: 3}[stage]


def _is_other_topology(manifest: CheckpointManifest, ranks: Ranks, engine: EngineConfig) -> bool:
    if manifest.zero_stage == 0:
        return False  # every rank holds all of it
    return (manifest.world_size, manifest.expert_parallel_size) != (ranks.world_size, engine.expert_parallel_size)


def _fetch(manifest: CheckpointManifest, uri: str, folder: Path, ranks: Ranks, whole: bool) -> str:
    """Bring this rank's files (once a machine, all files for a conversion) and verify them; says what is wrong, if anything."""
    wanted = [file for file in manifest.files if whole or _is_read_by(file.path, ranks.rank)]
    if whole and not ranks.leads_node:
        return ""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=4) as pool:
        problems = list(pool.map(lambda file: _fetch_file(file, uri, folder), wanted))
    return next((problem for problem in problems if problem), "")


def _is_read_by(name: str, rank: int) -> bool:
    """Whether DeepSpeed on this rank opens a file: model state, and its own part of what is sharded."""
    if "zero_pp_rank_" not in name:
        return True
    return name.split("zero_pp_rank_")[1].split("_")[0] == str(rank)


def _fetch_file(file: StoredFile, uri: str, folder: Path) -> str:
    source, target = storage.join(uri, file.path), folder / file.path
    local = storage.local_path(source)
    try:
        if local is not None:
            target.unlink(missing_ok=True)
            target.symlink_to(local.resolve())
        else:
            storage.download_file(source, target)
        if target.stat().st_size != file.bytes:
            return f"{source} has {target.stat().st_size} bytes, {file.bytes} were written"
        return "" if storage.sha256_of(target) == file.sha256 else f"{source} is not what was written"
    except FileNotFoundError:
        return f"{source} is missing"
    except SphinxError as error:
        return str(error)


def _convert(folder: Path, target: Path, ranks: Ranks, manifest: CheckpointManifest) -> None:
    """One file a parameter, from which any number of ranks can load; once a machine.

    The folder is each process's own, so the machine's first rank converts and the others link to its result.
    """
    if ranks.leads_node:
        from deepspeed.checkpoint import ds_to_universal

        arguments = argparse.Namespace(
            input_folder=str(folder), output_folder=str(target), num_extract_workers=1, num_merge_workers=1, keep_temp_folder=False,
            strict=True, inject_missing_state=manifest.zero_stage < 3,
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            ds_to_universal.main(arguments)
    made = ranks.from_node_leader(str(target))
    if not ranks.leads_node:
        target.symlink_to(made)
