"""`sphinx-x report`: the page that says what a model is worth."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import DEFAULT_WORKSPACE, Workspace


def report(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="Id of a run, or its beginning; the newest with a report.")] = "",
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    output: Annotated[Path | None, typer.Option("--output", help="Copy the page to this file.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Say where a run's report lies, copy it, or open it: one HTML page that needs nothing but itself.

    Examples:

        sphinx-x report --open

        sphinx-x report 20261124-2101 --output report.html
    """
    import shutil
    import webbrowser

    from model.errors import ConfigError
    from pipelines.runs import REPORT_FILE, all_runs, find_run, folder_of

    if run:
        page = folder_of(workspace, find_run(workspace, run).id) / REPORT_FILE
    else:
        pages = [folder_of(workspace, record.id) / REPORT_FILE for record in all_runs(workspace)]
        page = next((page for page in pages if page.exists()), Path())
    if not page.is_file():
        raise ConfigError(
            f"there is no report {f'of run {run} ' if run else ''}in {workspace}; sphinx-x runs says how runs ended."
        )
    if output is not None:
        shutil.copyfile(page, output)
        page = output
    typer.echo(str(page.resolve()))
    if open_page:
        webbrowser.open(page.resolve().as_uri())
