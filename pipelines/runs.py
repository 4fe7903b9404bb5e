"""Local runs: what each was asked, how it ended, what it made; one folder each below `<workspace>/runs/`."""

import json
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from model import storage
from model.contracts.base import Contract
from model.contracts.family import ComparedMember
from model.errors import ConfigError, SphinxError

RUN_FILE, LOG_FILE, EVENTS_FILE, REPORT_FILE = "run.json", "kfp.log", "events.jsonl", "report.html"
OUTPUT_FILE = "executor_output.json"
REPORTS_FOLDER = "reports"
"""The members' own reports, beside the comparison of a family run."""


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
    members: tuple[ComparedMember, ...] = ()
    """What a family run made; the fields above are of a run of one model."""

    @property
    def addresses(self) -> list[str]:
        """Registered versions that it made."""
        made = [(one.registered_name, one.version) for one in self.members] or [(self.registered_name, self.version)]
        return [f"models:/{name}/{version}" for name, version in made if version]


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
    for path in _task_folders(run_folder):
        yield path.name, json.loads((path / OUTPUT_FILE).read_text()).get("parameterValues", {})


def keep_pages(run_folder: Path, members: Sequence[ComparedMember] = ()) -> None:
    """Put the report where a person finds it; of a family run the comparison, with the members' reports in a folder beside it."""
    names = {one.model_digest: one.name for one in members}
    for folder in _task_folders(run_folder):
        if not (page := folder / "page").is_file():
            continue
        target = run_folder / REPORT_FILE
        if members and folder.name == "report":
            decision = json.loads((folder / OUTPUT_FILE).read_text())["parameterValues"]["decision_json"]
            target = run_folder / REPORTS_FOLDER / f"{names[json.loads(decision)['model_digest']]}.html"
            target.parent.mkdir(exist_ok=True)
        shutil.copyfile(page, target)


def _task_folders(run_folder: Path) -> list[Path]:
    """Folders in which kfp.local left the outputs of the tasks that ended well, in the order in which they ended."""
    paths = sorted(run_folder.glob(f"kfp/**/{OUTPUT_FILE}"), key=lambda path: path.stat().st_mtime_ns)
    return [path.parent for path in paths]
