"""`sphinx-x run`: one's own data to a registered model, on this machine."""

from typing import Annotated

import typer

from pipelines.commands.options import (
    DEFAULT_WORKSPACE,
    Base,
    Mode,
    ModelName,
    Processes,
    RecipeFile,
    Settings,
    VariantName,
    Workspace,
)


def run(
    recipe: RecipeFile,
    variant: VariantName = "nano",
    settings: Settings = None,
    base: Base = "",
    processes: Processes = 2,
    mode: Mode = "official",
    promote: Annotated[bool, typer.Option(help="Make the model champion if it passes the recipe's gate.")] = True,
    name: ModelName = "",
    store: Annotated[
        str, typer.Option("--store", help="Store of all data, a folder or s3:// URI; else in the workspace.")
    ] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Run the whole workflow on this machine: unify, train, evaluate, report, register, promote.

    Finished steps are recognised by their content; an interrupted run goes on where it stopped.

    Examples:

        sphinx-x run my-data.yaml --variant nano

        sphinx-x run my-data.yaml --set epochs=2 --set optimizer.learning_rate=1e-3 --name my-model
    """
    import yaml
    from rich.console import Console

    from components.validate import logic
    from pipelines import outcome
    from pipelines.arguments import local_arguments
    from pipelines.commands.options import overrides_of
    from pipelines.local import run_pipeline, store_of, use_mlflow_of
    from pipelines.prelude import base_for

    console = Console()
    overrides = overrides_of(settings)
    place = store or store_of(workspace)
    use_mlflow_of(workspace)
    # The DAG's first task checks all of this, too; here it fails before nano's base is made.
    found = logic.check_recipe(recipe, mode, name)
    logic.check_training(variant, yaml.safe_dump(overrides), 1, processes, here=True)
    logic.check_places(place)
    base_uri = base_for(variant, base, place, console)
    arguments = local_arguments(recipe, place, base_uri, variant, overrides, processes, mode, promote, name)
    outcome.show(run_pipeline(workspace, found, arguments, console), workspace, console)
