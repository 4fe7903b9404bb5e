"""`sphinx-x`: the command line. This file and the commands' files import nothing heavy; a command imports what it needs when it runs."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from model.errors import SphinxError
from pipelines.commands import (
    chat,
    compile,
    demo,
    doctor,
    family,
    gc,
    logs,
    plan,
    pull,
    reap,
    report,
    run,
    runs,
    schedule,
    stop,
    sync,
    validate,
)

STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""


class SphinxGroup(TyperGroup):
    """Ends in one sentence where a user can mend what went wrong: exit code 2, no traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SphinxError as error:
            typer.echo(f"sphinx-x: {error}", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo("sphinx-x: stopped; the same command goes on where it was.", err=True)
            raise typer.Exit(STOPPED) from error


app = typer.Typer(
    cls=SphinxGroup,
    name="sphinx-x",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Train, judge and publish SPHINX-X vision-language models: raw public datasets in, registered models out.",
    epilog="Examples:  [bold]sphinx-x demo[/bold]  ·  [bold]sphinx-x validate my-data.yaml[/bold]  ·  "
    "[bold]sphinx-x run my-data.yaml --variant nano[/bold]  ·  "
    "[bold]sphinx-x chat models:/sphinx-x-nano@champion --image cat.jpg[/bold]",
)
for command in (
    demo.demo,
    run.run,
    family.family,
    validate.validate,
    plan.plan,
    runs.runs,
    report.report,
    pull.pull,
    chat.chat,
    reap.reap,
    gc.gc,
):
    app.command()(command)
app.command(name="compile")(compile.compile_pipelines)
for command in (logs.logs, stop.stop, sync.sync, doctor.doctor):
    app.command()(command)
app.add_typer(schedule.app, name="schedule")


if __name__ == "__main__":
    sys.exit(app())
