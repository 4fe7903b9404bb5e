"""member: one model of the family, taken out of what `validate` checked."""

from typing import NamedTuple

from kfp import dsl

from components import images


@dsl.component(base_image=images.OPS, install_kfp_package=False)
def member(family_json: str, name: str) -> NamedTuple(
    "Member",
    [
        ("train_config_json", str),
        ("base_uri", str),
        ("base_digest", str),
        ("num_nodes", int),
        ("processes_per_node", int),
        ("registered_name", str),
        ("eval_gpus", int),
    ],
):  # type: ignore[valid-type]
    """Give the tasks of one member their inputs, each with its type: a loop's item is a text alone.

    Args:
        family_json: The family as it was checked.
        name: The member.
    """
    from components.shared.task import running

    with running("member", name):
        from components.validate import family_logic

        return family_logic.inputs_of(family_json, name)
