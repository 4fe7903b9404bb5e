"""validate for a family: everything that can be known to be wrong with any member, before the first one is trained."""

from typing import NamedTuple

from kfp import dsl

from components import images


@dsl.component(base_image=images.OPS, install_kfp_package=False)
def validate_family(
    recipe_uri: str,
    store_uri: str,
    family: str,
    device: str,
    mode: str,
    summary: dsl.Output[dsl.Markdown],
) -> NamedTuple(
    "CheckedFamily",
    [
        ("recipe_json", str),
        ("store_uri", str),
        ("dataset_names", list[str]),
        ("member_names", list[str]),
        ("family_json", str),
    ],
):  # type: ignore[valid-type]
    """Check the recipe, store and MLflow once, and every member's training options, base weights and memory, in seconds.

    Args:
        recipe_uri: YAML file of the recipe.
        store_uri: Root of everything that the run writes; empty for the platform's own (SPHINX_X_STORE).
        family: The members as YAML text: a mapping of names to variant, nodes, processes_per_node, base_uri, overrides.
        device: gpu or cpu: what trains and evaluates.
        mode: Scorers, official or sphinx.
        summary: What the run will do, for people.
    """
    from components.shared.kubernetes_client import trains_here
    from components.shared.task import running

    with running("validate"):
        from components.validate import family_logic

        checked = family_logic.check(recipe_uri, store_uri, family, device, mode, trains_here())
        with open(summary.path, "w") as file:
            file.write(checked.summary)
        return checked.outputs
