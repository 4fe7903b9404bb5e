"""`sphinx-x logs`: what a run prints, here or on the cluster."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.cluster_options import PANEL, Endpoint, Namespace, OnCluster, RunName, is_on_cluster
from pipelines.commands.options import DEFAULT_WORKSPACE, Workspace


def logs(
    run: RunName = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    task: Annotated[str, typer.Option("--task", help="Only this task, for example train.", rich_help_panel=PANEL)] = "",
    raw: Annotated[
        bool, typer.Option("--raw", help="With the lines of Kubeflow's own machinery.", rich_help_panel=PANEL)
    ] = False,
    cluster: OnCluster = False,
    endpoint: Endpoint = "",
    namespace: Namespace = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Print the logs of a run's tasks; of a training on many nodes, its first node's.

    With KFP_ENDPOINT set, a RUN that is none of this machine's is looked for on the cluster, without --cluster.

    Examples:

        sphinx-x logs

        sphinx-x logs --cluster 4b289bf5 --task train -f
    """
    if not is_on_cluster(cluster, endpoint, run, workspace):
        _print_local(workspace, run, follow)
        return
    from components.shared.kubernetes_client import connect
    from model.errors import ConfigError
    from pipelines.cluster.logs import Following, log_lines, own_lines, pods_of_run
    from pipelines.cluster.submit import Address, find_cluster_run
    from pipelines.cluster.tasks import ENDED

    kubeflow, kube = Address(endpoint, namespace).open(), connect()
    found, place = find_cluster_run(kubeflow, run), kubeflow.connection.namespace
    if follow:
        following = Following(kube, place, found.run_id, task, raw)
        for name, line in following.lines(lambda: kubeflow.run(found.run_id).state in ENDED):
            typer.echo(line if task else f"{name} | {line}")
        return
    pods = [pod for pod in pods_of_run(kube, place, found.run_id, task) if pod.has_log]
    if not pods:
        what = f"task {task} of {found.display_name}" if task else found.display_name
        raise ConfigError(
            f"{what} has no pod with a log in {place}: it has not started, or its pods are gone (Kubeflow removes them some time after "
            "the end; the artifact executor-logs of each task stays)."
        )
    for pod in pods:
        if len(pods) > 1:
            typer.echo(f"== {pod.task} ({pod.name})")
        lines = log_lines(kube, place, pod.name)
        for line in lines if raw else own_lines(lines):
            typer.echo(line)


def _print_local(workspace: Path, run: str, follow: bool) -> None:
    """The log of a run on this machine; all its tasks write into one."""
    import time

    from pipelines.runs import LOG_FILE, find_run, folder_of

    record = find_run(workspace, run)
    with open(folder_of(workspace, record.id) / LOG_FILE, encoding="utf-8", errors="replace") as file:
        while True:
            for line in file:
                typer.echo(line, nl=False)
            if not follow or find_run(workspace, record.id).state != "running":
                return
            time.sleep(0.5)
