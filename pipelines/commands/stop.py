"""`sphinx-x stop`: end a run, here or on the cluster."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.cluster_options import Endpoint, Namespace, OnCluster, is_on_cluster
from pipelines.commands.options import DEFAULT_WORKSPACE, Workspace


def stop(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id or its beginning.")] = "",
    cluster: OnCluster = False,
    endpoint: Endpoint = "",
    namespace: Namespace = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Stop a run. What it has finished stays, and the same run started again goes on from there.

    With KFP_ENDPOINT set, a RUN that is none of this machine's is one of the cluster's. On a cluster Kubeflow ends the run's tasks within seconds; the chart's reaper then ends its training and frees the GPUs.

    Examples:

        sphinx-x stop

        sphinx-x stop --cluster 4b289bf5
    """
    from model.errors import ConfigError

    if not is_on_cluster(cluster, endpoint, run, workspace):
        typer.echo(f"{_stop_here(workspace, run)} is being stopped; the same command goes on where it was.")
        return
    from pipelines.cluster.submit import Address, find_cluster_run
    from pipelines.cluster.tasks import ENDED, state_of

    if not run:
        raise ConfigError("say which run of the cluster to stop; list them with: sphinx-x runs --cluster.")
    kubeflow = Address(endpoint, namespace).open()
    found = find_cluster_run(kubeflow, run)
    if found.state in ENDED:
        typer.echo(f"{found.display_name} ({found.run_id}) has ended already: {state_of(found)}.")
        return
    kubeflow.terminate(found.run_id)
    typer.echo(
        f"{found.display_name} ({found.run_id}) is being stopped. Its tasks end within seconds; a TrainJob that it started and its GPUs "
        "are freed within a minute by the chart's reaper."
    )


def _stop_here(workspace: Path, run_id: str) -> str:
    """Interrupt the run that holds a workspace; it ends its own tasks in order.

    Returns:
        The run's id.

    Raises:
        ConfigError: nothing runs there, or not that run, or not on this machine.
    """
    from components.shared.lease import ask_to_stop, holder
    from model.errors import ConfigError
    from pipelines.runs import find_run

    if (holds := holder(workspace)) is None:
        raise ConfigError(f"nothing runs in {workspace}; name another --workspace, or add --cluster for a run on Kubeflow.")
    if holds["host"] != os.uname().nodename:
        raise ConfigError(f"the run of {workspace} belongs to {holds['host']}; stop it there (process {holds['pid']}).")
    newest = find_run(workspace)
    if not newest.id.startswith(run_id):
        raise ConfigError(f"{run_id} does not run in {workspace}, {newest.id} does; give that, or nothing.")
    ask_to_stop(holds)
    return newest.id
