"""The part of `sphinx-x run` and `sphinx-x family` that hands a run to Kubeflow and, if asked to, follows it."""

import os
from typing import Any

import typer
from rich.console import Console

from pipelines.cluster.submit import PIPELINE, Address


def run_on_cluster(
    address: Address,
    recipe: str,
    store: str,
    given: dict[str, Any],
    wait: bool,
    console: Console,
    what: str,
    pipeline: str = PIPELINE,
) -> None:
    """Submit, say where the run is seen; exit code 1 where a followed run fails.

    Args:
        given: Parameters by name; an empty one is the pipeline's default.
        what: What is trained, for the run's name.

    Raises:
        SphinxError: the recipe, a parameter or Kubeflow is at fault.
    """
    from components.shared.platform import STORE
    from pipelines.cluster.submit import cluster_recipe, submit
    from pipelines.commands.cluster_options import page_of

    kubeflow = address.open()
    uri, title = cluster_recipe(recipe, store or os.environ.get(STORE, ""))
    run_id = submit(kubeflow, f"{title} {what}", {"data_recipe_uri": uri, **given}, pipeline)
    console.print(f"[bold]{title}[/bold] as {what} is run {run_id}", highlight=False, soft_wrap=True)
    page = page_of(kubeflow.link(run_id), run_id, kubeflow.connection.namespace)
    console.print(f"  page    {page}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"  logs    sphinx-x logs --cluster {run_id[:8]} -f", highlight=False)
    console.print(f"  stop    sphinx-x stop --cluster {run_id[:8]}", highlight=False)
    if wait:
        try:
            show_to_its_end(kubeflow, run_id, console)
        except KeyboardInterrupt:
            console.print(f"\nnot followed any more; the run goes on. Stop it with: sphinx-x stop --cluster {run_id[:8]}")
            raise typer.Exit(130) from None


def show_to_its_end(kubeflow: Any, run_id: str, console: Console) -> None:
    """Follow a run; where it fails, say which task and its last sentence."""
    from components.shared.kubernetes_client import KubernetesError, connect
    from pipelines.cluster.follow import follow
    from pipelines.cluster.logs import why_failed
    from pipelines.cluster.tasks import state_of

    try:
        kube, unknown = connect(), ""
    except KubernetesError as error:
        kube, unknown = None, str(error)
    run = follow(kubeflow, run_id, console, kube)
    state = state_of(run)
    console.print(f"[bold]{state}[/bold]", highlight=False)
    if state == "done":
        return
    if state == "failed":
        try:
            reason = why_failed(kube, kubeflow.connection.namespace, run_id) if kube else ("its pods cannot be asked", unknown)
        except KubernetesError as error:
            reason = ("its pods cannot be asked", str(error))
        if reason:
            console.print(f"{reason[0]}: {reason[1]}", highlight=False, markup=False, soft_wrap=True, style="red")
    raise typer.Exit(1)
