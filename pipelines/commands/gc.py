"""`sphinx-x gc`: what of a store nothing refers to any more."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import DEFAULT_WORKSPACE, Workspace

if TYPE_CHECKING:
    from pipelines.tidy import Found


def gc(
    store: Annotated[
        str, typer.Argument(metavar="[STORE]", help="Root of the store; the workspace's if not given.", envvar="SPHINX_X_STORE")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    keep_days: Annotated[
        float,
        typer.Option(
            "--keep-days", min=0, help="Whatever was written within so many days stays, with all that it was made of."
        ),
    ] = 7.0,
    namespace: Annotated[
        str, typer.Option(help="Namespace of a cluster whose runs use the store: while one is going on, nothing is removed.")
    ] = "",
    nothing_registered: Annotated[
        bool, typer.Option("--nothing-registered", help="Go on although the registry knows nothing of this store.")
    ] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """List what neither a registered version nor anything written lately refers to; with --yes remove it.

    These are datasets and corpora, training runs with their checkpoints, exported models, results with their predictions, and bases that
    were made of former champions. Registered models stay whole in MLflow whatever is removed here, and so do other bases and recipes.

    Examples:

        sphinx-x gc

        sphinx-x gc s3://bucket/sphinx-x --keep-days 30 --namespace vision --yes
    """
    from datetime import UTC, datetime

    from components.prepare.logic import base_name
    from components.shared.lease import workspace_lease
    from components.shared.registry import all_versions, registered_champion
    from model.errors import ConfigError
    from pipelines.local import store_of
    from pipelines.tidy import find_unwanted, remove

    store_uri = store or store_of(workspace)
    training, running = _on_the_cluster(namespace)
    with ExitStack() as held:
        if yes and not store:
            held.enter_context(workspace_lease(workspace, "gc"))
        versions = all_versions()
        champions = [registered_champion(name) for name in {one.name for one in versions}]
        former = {base_name(one) for one in versions if one not in champions}
        tagged = [(one.uri, one.tags) for one in versions]
        found = find_unwanted(store_uri, tagged, former, training, keep_days, datetime.now(UTC))
        _show(store_uri, found)
        if not found.unwanted or not yes:
            return
        if running:
            raise ConfigError(
                f"pipeline run {running[0]} is going on in {namespace}, and what it is about to use cannot be known; nothing was "
                "removed, say it again when it has ended."
            )
        if not found.registered and not nothing_registered:
            raise ConfigError(
                f"no registered version refers to anything in {store_uri}; if MLFLOW_TRACKING_URI is this store's registry, say so with "
                "--nothing-registered. Nothing was removed."
            )
        for item in found.unwanted:
            remove(store_uri, item, lambda path: typer.echo(f"removing {path}"))
    typer.echo(f"{_size(sum(item.bytes for item in found.unwanted))} are free.")


def _on_the_cluster(namespace: str) -> tuple[list[str], list[str]]:
    """Runs that TrainJobs train, and Workflows that are not over."""
    if not namespace:
        return [], []
    from components.shared.kubernetes_client import connect, path_of
    from components.shared.platform import RUN_LABEL
    from components.train.submit import is_terminal
    from components.train.workflow import why_over

    kube = connect()
    trainjobs = kube.get(path_of("trainjobs", namespace), labelSelector=RUN_LABEL).get("items", [])
    training = [one["metadata"]["labels"][RUN_LABEL] for one in trainjobs if not is_terminal(one)]
    workflows = kube.get(path_of("workflows", namespace)).get("items", [])
    return training, [one["metadata"]["name"] for one in workflows if not why_over(one)]


def _show(store_uri: str, found: "Found") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    kept = [item for item in found.items if item.path in found.stays]
    in_use = f"{len(kept)} things ({_size(sum(item.bytes for item in kept))}) are in use"
    if not found.unwanted:
        console.print(f"Nothing in {store_uri} is unwanted; {in_use}.", soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("unwanted", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("written last", no_wrap=True)
    for item in found.unwanted:
        table.add_row(item.path, _size(item.bytes), f"{item.changed:%Y-%m-%d}" if item.changed else "")
    console.print(table)
    console.print(
        f"{len(found.unwanted)} things ({_size(sum(item.bytes for item in found.unwanted))}) in {store_uri} are unwanted, {in_use}; "
        "--yes removes the unwanted ones.",
        soft_wrap=True,
    )


def _size(count: int) -> str:
    for unit, word in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {word}"
    return f"{count / 1e3:.1f} kB"
