"""`sphinx-x runs`: what was run here and how it ended."""

from pipelines.commands.options import DEFAULT_WORKSPACE, Workspace


def runs(workspace: Workspace = DEFAULT_WORKSPACE) -> None:
    """List the runs of a workspace, newest first: how each ended, its scores, the model it registered.

    Examples:

        sphinx-x runs
    """
    import time

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from pipelines.runs import all_runs

    console = Console()
    records = all_runs(workspace)
    if not records:
        console.print(f"There is no run in {workspace} yet; start one with: sphinx-x run RECIPE")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("run", "recipe", "state"):
        table.add_column(column, no_wrap=True)
    table.add_column("minutes", justify="right", no_wrap=True)
    table.add_column("scores, or why it failed", overflow="fold")
    table.add_column("model", overflow="fold")
    for record in records:
        minutes = ((record.ended or time.time()) - record.started) / 60
        scores = "\n".join(f"{name} {score:.1%}" for name, score in record.scores.items())
        model = f"models:/{record.registered_name}/{record.version}" if record.version else ""
        recipe = f"{record.recipe} ({record.variant})"
        table.add_row(record.id, recipe, record.state, f"{minutes:.1f}", escape(record.reason or scores), model)
    console.print(table)
