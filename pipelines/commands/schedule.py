"""`sphinx-x schedule`: recurring runs on the cluster, from the shell."""

from typing import Annotated, Any

import typer

from pipelines.commands.cluster_options import Endpoint, Namespace
from pipelines.commands.options import RecipeFile, Settings, VariantName

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Runs that Kubeflow starts by itself: one at a time, none made up for, always the pipeline's latest version.\n\n"
    "Schedules of the chart's values are listed too; change those in the values.\n\n"
    "Examples:\n\n"
    '    sphinx-x schedule add nightly s3://bucket/my-data.yaml --cron "0 0 2 * * *" --variant tiny\n\n'
    "    sphinx-x schedule list\n\n"
    "    sphinx-x schedule pause nightly",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


@app.command()
def add(
    name: Name,
    recipe: RecipeFile,
    cron: Annotated[str, typer.Option("--cron", help='Six fields, second first: "0 0 2 * * *" is every night at two.')],
    variant: VariantName = "tiny",
    settings: Settings = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", metavar="KEY=VALUE", help="Another parameter of the pipeline; may be given several times."
        ),
    ] = None,
    store: Annotated[str, typer.Option("--store", help="The cluster's store, where it has none of its own.")] = "",
    paused: Annotated[bool, typer.Option("--paused", help="Make it, and let it wait for `resume`.")] = False,
    endpoint: Endpoint = "",
    namespace: Namespace = "",
) -> None:
    """Add a schedule, or change the one of that name.

    A run over data that has not changed ends early unless -p data_when_unchanged=train says otherwise.

    Examples:

        sphinx-x schedule add nightly s3://bucket/my-data.yaml --cron "0 0 2 * * *" --variant tiny -p train_start_from=champion
    """
    import yaml

    from model.errors import ConfigError
    from pipelines.cluster.config import Schedule
    from pipelines.cluster.schedules import BY_HAND, Wanted, existing_of, reconcile
    from pipelines.cluster.submit import PIPELINE, cluster_recipe, newest
    from pipelines.cluster.sync import check_parameters
    from pipelines.commands.options import overrides_of

    uri, _ = cluster_recipe(recipe, store)
    overrides = overrides_of(settings)
    given: dict[str, Any] = {"data_recipe_uri": uri, "train_variant": variant, "data_when_unchanged": "stop"}
    given |= {"data_store_uri": store} if store else {}
    given |= {"train_overrides": yaml.safe_dump(overrides)} if overrides else {}
    given |= overrides_of(parameters)
    fields = {"name": name, "cron": cron, "paused": paused, "parameters": given}
    schedule = Schedule.from_fields(fields, f"schedule {name}")
    kubeflow = _open(endpoint, namespace)
    (pipeline_id, _), known = newest(kubeflow, PIPELINE)
    check_parameters(f"schedule {name}", known, given)
    owner = f"{kubeflow.connection.namespace}/{BY_HAND}"
    if others := {one.mark.owner for one in existing_of(kubeflow) if one.mark.name == name} - {owner}:
        raise ConfigError(
            f"the release {others.pop()} has a schedule {name}; change it in the chart's values, or take another name."
        )
    wanted = Wanted(owner, schedule, pipeline_id, kubeflow.experiment())
    mine = [one for one in existing_of(kubeflow, owner) if one.mark.name == name]
    if not reconcile(kubeflow, owner, [wanted], 0, typer.echo, only=name):
        typer.echo(f"schedule {name} is there already, as asked")
    elif mine:
        typer.echo(f"schedule {name} is changed")
    if not paused:
        _say_next(schedule.cron)


@app.command(name="list")
def list_all(endpoint: Endpoint = "", namespace: Namespace = "") -> None:
    """List all schedules, also those made by hand in Kubeflow's pages.

    Examples:

        sphinx-x schedule list
    """
    from rich.console import Console
    from rich.table import Table

    from pipelines.cluster.schedules import Mark
    from pipelines.cluster.tasks import state_of

    kubeflow = _open(endpoint, namespace)
    table = Table(box=None, pad_edge=False)
    for column in ("schedule", "cron", "state", "next (UTC)", "last run", "made by"):
        table.add_column(column, no_wrap=column != "made by")
    for one in kubeflow.recurring_runs():
        mark = Mark.of(one.description)
        cron = one.trigger.cron_schedule.cron if one.trigger and one.trigger.cron_schedule else ""
        enabled = str(one.status) == "ENABLED"
        last = next(iter(kubeflow.runs(limit=1, recurring_run=one.recurring_run_id)), None)
        table.add_row(
            mark.name if mark else str(one.display_name),
            cron,
            "fires" if enabled else "paused",
            _next(cron) if enabled else "",
            f"{state_of(last)} ({last.run_id[:8]})" if last else "",
            mark.owner if mark else "hand",
        )
    if table.row_count:
        Console().print(table)
    else:
        typer.echo("there is no schedule; add one with: sphinx-x schedule add")


@app.command()
def pause(name: Name, endpoint: Endpoint = "", namespace: Namespace = "") -> None:
    """Let a schedule fire no more until `resume`; a run that is active goes on.

    Examples:

        sphinx-x schedule pause nightly
    """
    _set(name, False, endpoint, namespace)


@app.command()
def resume(name: Name, endpoint: Endpoint = "", namespace: Namespace = "") -> None:
    """Let a paused schedule fire again; what it missed is not made up for.

    Examples:

        sphinx-x schedule resume nightly
    """
    _set(name, True, endpoint, namespace)


@app.command()
def rm(name: Name, endpoint: Endpoint = "", namespace: Namespace = "") -> None:
    """Remove a schedule that the shell added. Records of its runs stay.

    Examples:

        sphinx-x schedule rm nightly
    """
    from model.errors import ConfigError
    from pipelines.cluster.schedules import BY_HAND, reconcile

    kubeflow = _open(endpoint, namespace)
    one = _find(kubeflow, name)
    if not one.mark.owner.endswith(f"/{BY_HAND}"):
        raise ConfigError(f"schedule {name} belongs to the release {one.mark.owner}; remove it from the chart's values.")
    reconcile(kubeflow, one.mark.owner, [], 0, typer.echo, only=name)


def _set(name: str, enabled: bool, endpoint: str, namespace: str) -> None:
    kubeflow = _open(endpoint, namespace)
    one = _find(kubeflow, name)
    kubeflow.set_enabled(one.id, enabled)
    typer.echo(f"schedule {name} {'fires again' if enabled else 'is paused'}")
    if not one.mark.owner.endswith("/shell"):
        typer.echo(f"the chart's next upgrade puts it back as the values of {one.mark.owner} have it")


def _find(kubeflow: Any, name: str) -> Any:
    from model.errors import ConfigError
    from pipelines.cluster.schedules import existing_of

    found = existing_of(kubeflow)
    for one in found:
        if one.mark.name == name:
            return one
    known = ", ".join(sorted({one.mark.name for one in found})) or "none of ours"
    raise ConfigError(f"there is no schedule {name} of ours; there are: {known}.")


def _open(endpoint: str, namespace: str) -> Any:
    from pipelines.cluster.submit import Address

    return Address(endpoint, namespace).open()


def _next(cron: str) -> str:
    from datetime import UTC, datetime

    from model.errors import ConfigError
    from pipelines.cluster.cron import parse_cron

    try:
        moment = parse_cron(cron).next_after(datetime.now(UTC))
    except ConfigError:
        return "?"
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "never"


def _say_next(cron: str) -> None:
    typer.echo(f"it fires next at {_next(cron)} UTC, unless Kubeflow's time zone is set otherwise")
