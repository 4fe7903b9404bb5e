"""Run the DAG on this machine: the same pipeline by kfp.local, in a workspace, with a display of what it does.

The workspace holds the store, MLflow's database and files, and a folder a run. kfp.local works in a process of its own, whose
output is a log file; its tasks tell what they do through events. Whatever ends this process, all others end with it.
"""

import json
import os
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.live import Live

from components.shared.lease import workspace_lease
from components.shared.process import start_child, stop_group
from components.shared.task import EVENTS, RUN_ID
from model.contracts.family import Compared, ComparedMember
from model.contracts.recipe import Recipe
from model.errors import SphinxError
from pipelines.kfp_local import ARGUMENTS_FILE
from pipelines.progress import Board, LineReader, TaskLine, expected_lines, family_lines
from pipelines.runs import (
    EVENTS_FILE,
    LOG_FILE,
    RunRecord,
    folder_of,
    keep_pages,
    new_run,
    save,
    task_outputs,
)

TRAIN, FAMILY = "sphinx-x-train", "sphinx-x-family"
"""Names of the pipelines; their modules import kfp, which this process does not."""
LOOK_SECONDS = 0.2
"""Time between two looks at the events."""


def store_of(workspace: Path) -> str:
    """The store of a laptop."""
    return str(workspace.resolve() / "store")


def use_mlflow_of(workspace: Path) -> None:
    """Point MLflow at the workspace's database, unless the environment names a server."""
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.resolve() / 'mlflow.db'}")


def run_pipeline(workspace: Path, recipe: Recipe, arguments: dict[str, str | int], console: Console) -> RunRecord:
    """Execute the DAG of one model to its end.

    Args:
        workspace: Folder that the run has for itself meanwhile.
        recipe: What the recipe's file says, for the display.
        arguments: Parameters of the pipeline.
        console: Where to draw.

    Raises:
        SphinxError: the sentence of the first task that failed.
        KeyboardInterrupt: it was stopped; running it again goes on.
    """
    lines = expected_lines((one.name for one in recipe.datasets), (one.name for one in recipe.benchmarks))
    return _run(workspace, recipe, TRAIN, str(arguments["train_variant"]), arguments, lines, console)


def run_family(
    workspace: Path, recipe: Recipe, members: Iterable[str], arguments: dict[str, str | int], console: Console
) -> RunRecord:
    """Execute the DAG of a family to its end, its members one after the other; as `run_pipeline` does.

    Args:
        members: Their names, for the display.
    """
    names = list(members)
    lines = family_lines((one.name for one in recipe.datasets), names)
    return _run(workspace, recipe, FAMILY, ", ".join(names), arguments, lines, console)


def _run(
    workspace: Path,
    recipe: Recipe,
    pipeline: str,
    variant: str,
    arguments: dict[str, str | int],
    lines: list[TaskLine],
    console: Console,
) -> RunRecord:
    workspace = workspace.resolve()
    use_mlflow_of(workspace)
    with workspace_lease(workspace, f"recipe {recipe.name}"):
        record = new_run(workspace, recipe.name, variant, arguments)
        folder = folder_of(workspace, record.id)
        (folder / ARGUMENTS_FILE).write_text(json.dumps(arguments))
        board = Board(console, lines, LineReader(folder / EVENTS_FILE))
        state, reason = "stopped", "stopped; run it again to go on"
        try:
            succeeded = _execute(folder, pipeline, record.id, board)
            state, reason = (
                ("succeeded", "")
                if succeeded
                else ("failed", board.failure() or f"the pipeline failed outside of its tasks; {folder / LOG_FILE} says why.")
            )
        finally:
            record = _completed(record, folder, state, reason)
            save(workspace, record)
    if state != "succeeded":
        raise SphinxError(reason)
    return record


def _execute(folder: Path, pipeline: str, run_id: str, board: Board) -> bool:
    """Start kfp.local and watch it; True if every task succeeded."""
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    threads = str(max(1, len(os.sched_getaffinity(0)) // 2))  # kfp.local runs two repetitions of a task at once
    env = {"OMP_NUM_THREADS": threads, **os.environ, "PYTHONPATH": path, RUN_ID: run_id, EVENTS: str(folder / EVENTS_FILE)}
    with open(folder / LOG_FILE, "wb") as log:
        # A session of its own: Ctrl-C reaches this process alone, which then ends the whole group in order.
        child = start_child(
            [sys.executable, "-m", "pipelines.kfp_local", str(folder), pipeline],
            env=env, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            drawn = board.console.is_terminal
            with Live(board, console=board.console, refresh_per_second=8) if drawn else nullcontext():
                while child.poll() is None:
                    board.update()
                    time.sleep(LOOK_SECONDS)
                board.end()
        finally:
            stop_group(child)
    return child.returncode == 0


def _completed(record: RunRecord, folder: Path, state: str, reason: str) -> RunRecord:
    """The record with what the tasks made; the report is put where a person finds it.

    Fields of a single model are left as they were in a family run: its tasks have them once a member.
    """
    made: dict[str, object] = {"state": state, "reason": reason, "ended": time.time()}
    compared: tuple[ComparedMember, ...] = ()
    for task, outputs in task_outputs(folder):
        if task == "validate":
            made["registered_name"] = outputs["registered_name"]
        elif task == "prepare" and outputs["go_on"] == "no":
            made["reason"] = outputs["reason"]
        elif task == "train":
            made["model_uri"] = outputs["model_uri"]
        elif task == "report":
            decision = json.loads(outputs["decision_json"])
            made |= {"gate": outputs["gate"], "gate_reason": decision["reason"]}
            made["scores"] = {one["name"]: one["candidate"] for one in decision["comparisons"]}
        elif task == "register":
            made["version"] = outputs["Output"]
        elif task == "compare":
            compared = Compared.from_json(outputs["Output"], "the comparison").members
            made["members"] = compared
            made["scores"] = {f"{one.name}/{name}": score for one in compared for name, score in one.scores.items()}
    keep_pages(folder, compared)
    return record.model_copy(update=made)
