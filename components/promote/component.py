"""promote: a version that passed the gate becomes the champion."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.OPS, install_kfp_package=False)
def promote(registered_name: str, version: str, member: str = "") -> str:
    """Set the alias champion, which users of `models:/<name>@champion` follow; the DAG calls it only under the open gate.

    Args:
        registered_name: Name in the registry.
        version: The version that passed.
        member: Name of the model in a family run.

    Returns:
        The version that is champion now.
    """
    from components.shared.task import running

    with running("promote", member):
        from components.promote import logic

        promotion = logic.run(registered_name, version)
        print(f"models:/{registered_name}@champion is version {promotion.champion_version}. {promotion.reason}")
        return promotion.champion_version
