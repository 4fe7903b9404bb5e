"""A run on the cluster as it goes: a line a task, drawn in place on a terminal and printed at each change elsewhere."""

import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from components.shared.kubernetes_client import Kubernetes
from pipelines.cluster.connection import KubeflowError
from pipelines.cluster.kubeflow import Kubeflow
from pipelines.cluster.tasks import ENDED, Task, state_of, tasks_of
from pipelines.cluster.workflow import workflow_nodes

LOOK_SECONDS = 3.0
SETTLE_SECONDS = 3.0
"""The API's list of tasks lags behind the run's own state."""
PATIENCE_SECONDS = 300.0
"""How long the API may fail while a run is followed; the run goes on without it."""
STYLES = {"done": ("✓", "green"), "failed": ("✗", "bold red"), "running": ("●", "cyan"), "stopped": ("–", "yellow")}


def follow(kubeflow: Kubeflow, run_id: str, console: Console, kube: Kubernetes | None = None) -> Any:
    """Show a run until it has ended.

    Args:
        kube: Knows its tasks better than Kubeflow; None where no cluster is known.

    Returns:
        The run at its end.

    Raises:
        KubeflowError: the API does not answer for minutes, or refuses.
        KeyboardInterrupt: the showing stops; the run does not.
    """
    said: dict[str, str] = {}

    def look() -> Any:
        run = kubeflow.run(run_id)
        tasks = tasks_of(run, nodes=workflow_nodes(kube, kubeflow.connection.namespace, run_id))
        live.update(table_of(tasks or [Task("run", state_of(run), 0, 1, 0.0)]))
        if not console.is_terminal:
            _say_changes(tasks, said, console)
        return run

    with Live(console=console, refresh_per_second=4) if console.is_terminal else _Nothing() as live:
        answered = time.monotonic()
        while True:
            try:
                run = look()
                answered = time.monotonic()
            except KubeflowError as error:
                if error.status in range(400, 500) or time.monotonic() - answered > PATIENCE_SECONDS:
                    raise
            else:
                if run.state in ENDED:
                    time.sleep(SETTLE_SECONDS)
                    return look()
            time.sleep(LOOK_SECONDS)


def table_of(tasks: list[Task]) -> Table:
    """A line a task."""
    table = Table.grid(padding=(0, 1))
    for task in tasks:
        sign, style = STYLES.get(task.state, ("·", "dim"))
        table.add_row(Text(sign, style), Text(task.name, "bold"), task.state, task.count, Text(lasted(task.seconds), "dim"))
    return table


def lasted(seconds: float) -> str:
    """A duration for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 120 else f"{hours:.1f} h"


def _say_changes(tasks: list[Task], said: dict[str, str], console: Console) -> None:
    for task in tasks:
        words = f"{task.state} {task.count}".strip()
        if said.get(task.name) != words:
            said[task.name] = words
            console.print(f"{task.name}: {words}, {lasted(task.seconds)}", highlight=False)


class _Nothing:
    """Where nothing can be drawn in place."""

    def __enter__(self) -> "_Nothing":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, _: Any) -> None:
        return None
