"""Local runs: what each was asked, how it ended, what it made; one folder each below `<workspace>/runs/`."""

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from model import storage
from model.contracts.base import Contract
from model.errors import ConfigError, SphinxError

RUN_FILE, LOG_FILE, EVENTS_FILE, REPORT_FILE = "run.json", "kfp.log", "events.jsonl", "report.html"


class RunRecord(Contract):
    """One execution of the DAG on this machine."""

    id: str
    recipe: str
    variant: str
    arguments: dict[str, str | int]
    """Parameters of the pipeline."""
    started: float
    """Unix seconds."""
    ended: float | None = None
    state: Literal["running", "succeeded", "failed", "stopped"] = "running"
    reason: str = ""
    """Why it failed, or why it ended early, in one sentence."""
    scores: dict[str, float] = {}
    """Score by benchmark."""
    gate: str = ""
    """open or closed."""
    gate_reason: str = ""
    registered_name: str = ""
    version: str = ""
    model_uri: str = ""


def new_run(workspace: Path, recipe: str, variant: str, arguments: dict[str, str | int]) -> RunRecord:
    """A record for a run that starts now, with its folder."""
    now = time.time()
    identity = time.strftime("%Y%m%d-%H%M%S", time.localtime(now)) + f"-{secrets.token_hex(2)}"
    record = RunRecord(id=identity, recipe=recipe, variant=variant, arguments=arguments, started=now)
    save(workspace, record)
    return record


def folder_of(workspace: Path, run_id: str) -> Path:
    return workspace / "runs" / run_id


def save(workspace: Path, record: RunRecord) -> None:
    storage.write_text(str(folder_of(workspace, record.id) / RUN_FILE), record.to_json())


def all_runs(workspace: Path) -> list[RunRecord]:
    """Runs of a workspace, newest first."""
    records = []
    for path in sorted((workspace / "runs").glob(f"*/{RUN_FILE}"), reverse=True):
        try:
            records.append(RunRecord.read(path))
        except (OSError, SphinxError):
            continue  # of another version of the program, or just being removed
    return records


def find_run(workspace: Path, run_id: str = "") -> RunRecord:
    """The run of that id (or its beginning), or the newest.

    Raises:
        ConfigError: there is none.
    """
    records = all_runs(workspace)
    found = [record for record in records if record.id.startswith(run_id)]
    if not found:
        what = f"no run {run_id}" if run_id else "no run yet"
        known = f"; there are {', '.join(record.id for record in records[:5])}" if records else "; start one with sphinx-x run"
        raise ConfigError(f"there is {what} in {workspace}{known}.")
    return found[0]


def task_outputs(run_folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and output parameters of every task that ended well, in the order in which they ended."""
    paths = sorted(run_folder.glob("kfp/**/executor_output.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in paths:
        yield path.parent.name, json.loads(path.read_text()).get("parameterValues", {})


def report_page(run_folder: Path) -> Path | None:
    """The report as kfp.local left it."""
    return next(iter(sorted(run_folder.glob("kfp/**/report/page"))), None)
