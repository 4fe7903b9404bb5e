"""`sphinx-x reap`: delete TrainJobs whose pipeline run was stopped or has ended."""

from typing import Annotated

import typer


def reap(
    watch: Annotated[bool, typer.Option("--watch", help="Go on for ever, as the chart's reaper does.")] = False,
    namespace: Annotated[str, typer.Option(help="Namespace of the TrainJobs; in a pod its own.")] = "",
    every_seconds: Annotated[float, typer.Option(min=1, help="Time between two rounds of --watch.")] = 20.0,
) -> None:
    """Delete TrainJobs that nobody wants any more; prints each with the reason.

    Kubeflow's Terminate does not end a running TrainJob: this does.
    """
    from components.shared.kubernetes_client import connect, mounted_namespace
    from components.train.reaper import Reaper, reap_for_ever
    from model.errors import ConfigError

    place = namespace or mounted_namespace()
    if not place:
        raise ConfigError("outside of a cluster the namespace must be given; add --namespace.")
    reaper = Reaper(connect(), place)
    if watch:
        typer.echo(f"watching over the TrainJobs of {place}")
        reap_for_ever(reaper, typer.echo, every_seconds)
    reaped = reaper.round()
    for one in reaped:
        typer.echo(f"deleted TrainJob {one.name}: {one.reason}")
    if not reaped:
        typer.echo(f"no TrainJob of {place} is unwanted")
