"""`sphinx-x runs`: what was run here, or on a cluster, and how it ended."""

from typing import Annotated

import typer

from pipelines.commands.cluster_options import PANEL, Endpoint, Namespace, OnCluster
from pipelines.commands.options import DEFAULT_WORKSPACE, Workspace


def runs(
    workspace: Workspace = DEFAULT_WORKSPACE,
    cluster: OnCluster = False,
    endpoint: Endpoint = "",
    namespace: Namespace = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show at most so many.", rich_help_panel=PANEL)] = 20,
) -> None:
    """List runs, newest first: those of a workspace with scores and model, or those of a cluster with what each does now.

    Examples:

        sphinx-x runs

        sphinx-x runs --cluster
    """
    if cluster:
        _show_cluster(endpoint, namespace, limit)
        return
    import time

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from pipelines.runs import all_runs

    console = Console()
    records = all_runs(workspace)
    if not records:
        console.print(f"There is no run in {workspace} yet; start one with: sphinx-x run RECIPE")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("run", "recipe", "state"):
        table.add_column(column, no_wrap=True)
    table.add_column("minutes", justify="right", no_wrap=True)
    table.add_column("scores, or why it failed", overflow="fold")
    table.add_column("model", overflow="fold")
    for record in records:
        minutes = ((record.ended or time.time()) - record.started) / 60
        scores = "\n".join(f"{name} {score:.1%}" for name, score in record.scores.items())
        model = "\n".join(record.addresses)
        recipe = f"{record.recipe} ({record.variant})"
        table.add_row(record.id, recipe, record.state, f"{minutes:.1f}", escape(record.reason or scores), model)
    console.print(table)


def _show_cluster(endpoint: str, namespace: str, limit: int) -> None:
    from datetime import UTC, datetime

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from components.shared.kubernetes_client import KubernetesError, connect
    from pipelines.cluster.follow import lasted
    from pipelines.cluster.submit import Address
    from pipelines.cluster.tasks import ENDED, state_of, tasks_of
    from pipelines.cluster.workflow import workflow_nodes

    kubeflow, console = Address(endpoint, namespace).open(), Console()
    try:
        kube = connect()
    except KubernetesError:
        kube = None  # Kubeflow's own list of tasks must do
    table = Table(box=None, pad_edge=False)
    for column in ("run", "name", "state", "since", "lasted"):
        table.add_column(column, no_wrap=True)
    table.add_column("tasks", overflow="fold")
    for one in kubeflow.runs(limit=limit):
        has_ended = one.state in ENDED
        nodes = None if has_ended else workflow_nodes(kube, kubeflow.connection.namespace, one.run_id)
        tasks = [task for task in tasks_of(one, nodes=nodes) if task.state in ("running", "failed")]
        doing = ", ".join(f"{task.name} {task.state} {task.count}".strip() for task in tasks)
        started = one.created_at.astimezone(UTC)
        ended = one.finished_at if has_ended and one.finished_at else datetime.now(UTC)
        seconds = (ended - started).total_seconds()
        cells = (
            one.run_id[:8],
            Text(str(one.display_name)),
            state_of(one),
            f"{started:%Y-%m-%d %H:%M}",
            lasted(seconds),
            doing,
        )
        table.add_row(*cells)
    if table.row_count:
        console.print(table)
    else:
        console.print("There is no run on the cluster yet; start one with: sphinx-x run RECIPE --cluster")
