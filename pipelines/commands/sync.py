"""`sphinx-x sync`: a deployment's pipelines and schedules brought to Kubeflow."""

from pathlib import Path
from typing import Annotated

import typer


def sync(
    config: Annotated[Path, typer.Option("--config", help="YAML or JSON file, as the chart writes it.")],
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; say what would change, and exit with 1 if something.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove this deployment's schedules, and nothing else.")] = False,
    render: Annotated[
        Path | None, typer.Option("--render", metavar="FOLDER", help="Only write the YAML that would be uploaded.")
    ] = None,
) -> None:
    """Upload the pipelines as versions and make Kubeflow's recurring runs those that the file wants.

    Repeating it changes nothing. Schedules made by hand or by another release are never touched.

    Examples:

        sphinx-x sync --config sync.yaml

        sphinx-x sync --config sync.yaml --check
    """
    from model import storage
    from pipelines.cluster import sync as work
    from pipelines.cluster.config import SyncConfig
    from pipelines.cluster.render import render_all

    wanted = SyncConfig.from_file(config)
    if render is not None:
        work.check_schedules(wanted, pipelines := render_all(wanted))
        for pipeline in pipelines:
            path = render / f"{pipeline.name}.yaml"
            storage.write_text(str(path), pipeline.text)
            typer.echo(f"{path} (version {pipeline.version})")
    elif check:
        if work.check(wanted, typer.echo):
            raise typer.Exit(1)
        typer.echo("everything is in place")
    else:
        steps = (work.remove if remove else work.sync)(wanted, typer.echo)
        typer.echo(f"{steps} changed" if steps else "nothing to change")
