"""`sphinx-x demo`: the whole workflow from nothing, on this machine."""

from typing import Annotated

import typer

from pipelines.commands.options import DEFAULT_WORKSPACE, Processes, Settings, Workspace


def demo(
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the pictures; another one gives another world.")] = 0,
    settings: Settings = None,
    processes: Processes = 2,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Draw datasets, train nano on them, judge, register, and ask the registered model about a picture it never saw.

    Needs no account, server, GPU or model hub. A second time, every finished step is recognised and nothing changes.

    Examples:

        sphinx-x demo

        sphinx-x demo --seed 7 --workspace /tmp/other-world
    """
    import shutil
    from pathlib import Path

    from rich.console import Console

    from model.demo.generate import write_raw
    from model.recipes import load_recipe
    from pipelines import outcome
    from pipelines.arguments import local_arguments
    from pipelines.bars import bar
    from pipelines.commands.options import overrides_of
    from pipelines.local import run_pipeline, store_of
    from pipelines.prelude import base_for

    console = Console()
    folder = workspace.resolve() / ("demo" if seed == 0 else f"demo-{seed}")
    with bar(console, "raw data") as progress:
        write_raw(folder, seed, processes=processes, progress=progress)
    recipe_file = folder / "demo.yaml"
    shutil.copyfile(Path(__file__).parents[1] / "recipes" / "demo.yaml", recipe_file)
    base = base_for("nano", "", store_of(workspace), console)
    arguments = local_arguments(str(recipe_file), store_of(workspace), base, "nano", overrides_of(settings), processes)
    record = run_pipeline(workspace, load_recipe(str(recipe_file)), arguments, console)
    outcome.show(record, workspace, console)
    outcome.ask(record, workspace, console)
