"""Options of the commands that talk to a cluster."""

from pathlib import Path
from typing import Annotated

import typer

PANEL = "On a cluster"

OnCluster = Annotated[bool, typer.Option("--cluster", help="On Kubeflow instead of this machine.", rich_help_panel=PANEL)]
Endpoint = Annotated[
    str,
    typer.Option(
        "--endpoint",
        envvar="KFP_ENDPOINT",
        help="Root of Kubeflow Pipelines' API; without it the kubeconfig's cluster is asked.",
        rich_help_panel=PANEL,
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        envvar="KFP_NAMESPACE",
        help="Where pipelines run; in a pod its own, else kubeflow.",
        rich_help_panel=PANEL,
    ),
]
UiUrl = Annotated[
    str,
    typer.Option(
        "--ui", envvar="SPHINX_X_KUBEFLOW_UI", help="Root of Kubeflow's pages, for links.", rich_help_panel=PANEL, metavar="URL"
    ),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's id or its beginning; without it the newest.")]


def is_on_cluster(cluster: bool, endpoint: str, run: str, workspace: Path) -> bool:
    """Whether a run that a person names is one of the cluster: it is said so, or a cluster is set and no run here has that id."""
    if cluster or not (run and endpoint):
        return cluster
    from pipelines.runs import all_runs

    return not any(record.id.startswith(run) for record in all_runs(workspace))


def page_of(link: str, run_id: str, namespace: str) -> str:
    """Where a person sees a run: its link, or how to get at Kubeflow's pages."""
    if link:
        return link
    forward = f"kubectl -n {namespace} port-forward svc/ml-pipeline-ui 8080:80"
    return f"http://localhost:8080/#/runs/details/{run_id} (after: {forward})"
