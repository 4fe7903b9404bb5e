"""`sphinx-x family`: several models on one corpus, and one page that compares them; on this machine or on a cluster."""

from typing import Annotated

import typer

from pipelines.commands.cluster_options import PANEL, Endpoint, Namespace, OnCluster, UiUrl
from pipelines.commands.options import DEFAULT_WORKSPACE, Mode, Processes, RecipeFile, Workspace


def family(
    recipe: RecipeFile,
    members: Annotated[
        str,
        typer.Option(
            "--family",
            metavar="FILE|YAML",
            help="The models: a YAML file, or the YAML itself: names with variant, overrides, registered_name, and for clusters nodes and "
            "processes_per_node.",
        ),
    ],
    processes: Processes = 2,
    mode: Mode = "official",
    promote: Annotated[bool, typer.Option(help="Make each model champion of its name if it passes the recipe's gate.")] = True,
    store: Annotated[
        str, typer.Option("--store", help="Store of all data, a folder or s3:// URI; else in the workspace.")
    ] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    cluster: OnCluster = False,
    endpoint: Endpoint = "",
    namespace: Namespace = "",
    ui: UiUrl = "",
    device: Annotated[str, typer.Option("--device", help="gpu, or cpu (nano).", rich_help_panel=PANEL)] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.", rich_help_panel=PANEL)] = False,
) -> None:
    """Train several sizes or settings on the same corpus and compare them on one page: side by side on Kubeflow with --cluster, one
    after the other on this machine.

    Every member is judged on the same questions and registered under its own name, sphinx-x-<member> unless given. Finished steps
    are recognised by their content; an interrupted run goes on where it stopped.

    Examples:

        sphinx-x family my-data.yaml --family "{slow: {variant: nano, overrides: {optimizer: {learning_rate: 1.0e-3}}}, fast: {variant: nano}}"

        sphinx-x family my-data.yaml --family family.yaml

        sphinx-x family s3://bucket/my-data.yaml --cluster --family "{tiny: {}, intern2: {nodes: 2}, moe: {nodes: 8}}"
    """
    from rich.console import Console

    if cluster:
        from model.families import family_text
        from pipelines.arguments import family_given
        from pipelines.cluster.submit import Address
        from pipelines.commands.cluster_run import run_on_cluster
        from pipelines.local import FAMILY

        asked = family_given(members)
        given = {
            "data_store_uri": store,
            "train_family": family_text(asked),
            "train_device": device,
            "eval_mode": mode,
            "register_promote": "when_better" if promote else "never",
        }
        what = ", ".join(asked.members)
        run_on_cluster(Address(endpoint, namespace, ui), recipe, store, given, wait, Console(), what, FAMILY)
        return

    from components.validate import family_logic, logic
    from pipelines import outcome
    from pipelines.arguments import family_arguments, local_family
    from pipelines.local import run_family, store_of, use_mlflow_of
    from pipelines.prelude import base_for

    console = Console()
    place = store or store_of(workspace)
    use_mlflow_of(workspace)
    # The DAG's first task checks all of this, too; here it fails before nano's base is made.
    found = logic.check_recipe(recipe, mode)
    wanted = local_family(members, processes)
    for name, member in wanted.members.items():
        family_logic.check_member_training(name, member, here=True)
    logic.check_places(place)
    bases = {name: base_for(member.variant, member.base_uri, place, console) for name, member in wanted.members.items()}
    arguments = family_arguments(recipe, place, wanted, bases, mode, promote)
    outcome.show(run_family(workspace, found, list(wanted.members), arguments, console), workspace, console)
