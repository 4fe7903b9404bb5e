"""validate: everything that can be known to be wrong before anything long starts."""

from typing import NamedTuple

from kfp import dsl

from components import images


@dsl.component(base_image=images.OPS, install_kfp_package=False)
def validate(
    recipe_uri: str,
    store_uri: str,
    base_uri: str,
    variant: str,
    overrides: str,
    num_nodes: int,
    processes_per_node: int,
    device: str,
    mode: str,
    model_name: str,
    summary: dsl.Output[dsl.Markdown],
) -> NamedTuple(
    "Checked",
    [
        ("recipe_json", str),
        ("recipe_digest", str),
        ("train_config_json", str),
        ("store_uri", str),
        ("base_uri", str),
        ("base_digest", str),
        ("dataset_names", list[str]),
        ("benchmark_names", list[str]),
        ("registered_name", str),
        ("eval_gpus", int),
    ],
):  # type: ignore[valid-type]
    """Check recipe, raw data, benchmarks, training options, base weights, memory, store and MLflow in seconds, without a GPU.

    Args:
        recipe_uri: YAML file of the recipe.
        store_uri: Root of everything that the run writes; empty for the platform's own (SPHINX_X_STORE).
        base_uri: Base directory of the variant; empty for bases/<variant> in the store.
        variant: Size of the model.
        overrides: Training options on top of the variant's preset, as YAML text.
        num_nodes: Machines that train.
        processes_per_node: Processes (GPUs) on each of them.
        device: gpu or cpu: what trains and evaluates.
        mode: Scorers, official or sphinx.
        model_name: Name in the registry; empty for the recipe's.
        summary: What the run will do, for people.
    """
    from components.shared.kubernetes_client import trains_here
    from components.shared.task import running

    with running("validate"):
        from components.validate import logic

        checked = logic.check(
            recipe_uri,
            store_uri,
            base_uri,
            variant,
            overrides,
            num_nodes,
            processes_per_node,
            device,
            mode,
            model_name,
            trains_here(),
        )
        with open(summary.path, "w") as file:
            file.write(checked.summary)
        return checked.outputs
