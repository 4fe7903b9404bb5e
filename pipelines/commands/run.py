"""`sphinx-x run`: one's own data to a registered model, on this machine or on a cluster."""

from typing import Annotated

import typer

from components.shared import platform
from pipelines.commands.cluster_options import PANEL, Endpoint, Namespace, OnCluster, UiUrl
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
    go_on: Annotated[
        bool, typer.Option("--from-champion", help="Go on from the registered champion instead of the base.")
    ] = False,
    unless_unchanged: Annotated[
        bool, typer.Option("--unless-unchanged", help="End early if the newest version was trained on this very corpus.")
    ] = False,
    store: Annotated[
        str, typer.Option("--store", help="Store of all data, a folder or s3:// URI; else in the workspace.")
    ] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    cluster: OnCluster = False,
    endpoint: Endpoint = "",
    namespace: Namespace = "",
    ui: UiUrl = "",
    train_in: Annotated[
        str,
        typer.Option(
            "--train-in",
            metavar="NAMESPACE",
            envvar=platform.TRAIN_NAMESPACE,
            help="Instead of --cluster: only train there, as a TrainJob, and run all else here; needs an s3:// store.",
            rich_help_panel=PANEL,
        ),
    ] = "",
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines that train.", rich_help_panel=PANEL)] = 1,
    gpus_per_node: Annotated[
        int | None, typer.Option("--gpus-per-node", min=1, help="Processes, each with a GPU, on each.", rich_help_panel=PANEL)
    ] = None,
    device: Annotated[str, typer.Option("--device", help="gpu, or cpu (nano).", rich_help_panel=PANEL)] = "",
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", metavar="KEY=VALUE", help="Another parameter of the pipeline.", rich_help_panel=PANEL
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.", rich_help_panel=PANEL)] = False,
) -> None:
    """Run the whole workflow: unify, train, evaluate, report, register, promote; on this machine, or with --cluster on Kubeflow.

    Finished steps are recognised by their content; an interrupted run goes on where it stopped.

    Examples:

        sphinx-x run my-data.yaml --variant nano

        sphinx-x run my-data.yaml --set epochs=2 --set optimizer.learning_rate=1e-3 --name my-model

        sphinx-x run s3://bucket/my-data.yaml --cluster --variant plus --nodes 4 --gpus-per-node 8 --wait
    """
    import yaml
    from rich.console import Console

    if cluster:
        from pipelines.cluster.submit import Address
        from pipelines.commands.cluster_run import run_on_cluster
        from pipelines.commands.options import overrides_of

        given = {
            "data_store_uri": store,
            "train_base_uri": base,
            "train_variant": variant,
            "train_num_nodes": nodes,
            "train_processes_per_node": gpus_per_node or (processes if device == "cpu" else ""),
            "train_device": device,
            "train_overrides": yaml.safe_dump(overrides_of(settings)) if settings else "",
            "eval_mode": mode,
            "register_promote": "when_better" if promote else "never",
            "register_model_name": name,
            "data_when_unchanged": "stop" if unless_unchanged else "train",
            "train_start_from": "champion" if go_on else "base",
            **overrides_of(parameters),
        }
        run_on_cluster(Address(endpoint, namespace, ui), recipe, store, given, wait, Console(), what=variant)
        return

    import os

    from components.validate import logic
    from model.errors import ConfigError
    from pipelines import outcome
    from pipelines.arguments import local_arguments
    from pipelines.commands.options import overrides_of
    from pipelines.local import run_pipeline, store_of, use_mlflow_of
    from pipelines.prelude import base_for

    console = Console()
    overrides = overrides_of(settings)
    place = store or store_of(workspace)
    if train_in:
        if not place.startswith("s3://"):
            raise ConfigError(f"training in {train_in} needs a store that its nodes reach; give --store s3://bucket/path.")
        os.environ[platform.TRAIN_NAMESPACE] = train_in
    elif nodes > 1:
        raise ConfigError(f"{nodes} nodes are more than this machine; add --cluster, or --train-in NAMESPACE.")
    use_mlflow_of(workspace)
    processes = gpus_per_node or processes
    # The DAG's first task checks all of this, too; here it fails before nano's base is made.
    found = logic.check_recipe(recipe, mode, name)
    logic.check_training(variant, yaml.safe_dump(overrides), nodes, processes, here=not train_in)
    logic.check_places(place)
    base_uri = base_for(variant, base, place, console)
    arguments = local_arguments(
        recipe, place, base_uri, variant, overrides, processes, mode, promote, name,
        when_unchanged="stop" if unless_unchanged else "train", start_from="champion" if go_on else "base", nodes=nodes, device=device,
    )  # fmt: skip
    outcome.show(run_pipeline(workspace, found, arguments, console), workspace, console)
