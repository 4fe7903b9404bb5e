"""What can be known to be wrong with a family before anything long starts: every member, before the first one is trained."""

from typing import NamedTuple

import yaml

from components.shared.kubernetes_client import namespace_to_train_in
from components.shared.task import tell
from components.validate.cluster import check_cluster
from components.validate.logic import DEVICES, check_places, check_recipe, check_training, store_of_platform
from components.validate.summary import family_markdown
from model import storage
from model.contracts.family import CheckedFamily, CheckedMember, Member
from model.contracts.recipe import Recipe
from model.errors import ConfigError, SphinxError
from model.families import family_from_text, registered_name
from model.train.config import TrainConfig
from model.variants import variant_named
from model.weights import read_base

WHERE = "the family"
"""What it is called in an error; the pipeline's parameter is train_family, the command line's option --family."""


class Outputs(NamedTuple):
    """Parameters for the tasks that follow."""

    recipe_json: str
    store_uri: str
    dataset_names: list[str]
    member_names: list[str]
    family_json: str
    """`model.contracts.family.CheckedFamily`."""


class Checked(NamedTuple):
    outputs: Outputs
    summary: str
    """Markdown: what the run will do."""


def check(recipe_uri: str, store_uri: str, family: str, device: str, mode: str, here: bool) -> Checked:
    """Check the recipe once and every member.

    Args:
        family: YAML text, see `model.families.family_from_text`.
        here: Whether training will run on this very machine, whose memory then bounds every member.

    Raises:
        SphinxError: the first thing that is wrong: what, which member, the remedy.
    """
    recipe = check_recipe(recipe_uri, mode)
    if device not in DEVICES:
        raise ConfigError(f"there is no device '{device}'; choose one of {', '.join(DEVICES)}.")
    members = family_from_text(family, WHERE).members
    store_uri = store_uri or store_of_platform()
    checked = [_check_member(name, member, recipe, store_uri, device, here) for name, member in members.items()]
    check_differ(checked)
    check_places(store_uri)
    outputs = Outputs(
        recipe_json=recipe.to_json(),
        store_uri=store_uri,
        dataset_names=[dataset.name for dataset in recipe.datasets],
        member_names=list(members),
        family_json=CheckedFamily(device=device, members=tuple(checked)).to_json(),
    )
    note = f"{len(checked)} members, {len(recipe.datasets)} datasets, {len(recipe.benchmarks)} benchmarks"
    print(f"{recipe.name}: {note}; trains {', '.join(members)}")
    tell("validate", "", "running", note=note)
    return Checked(outputs, family_markdown(recipe, checked))


def check_differ(members: list[CheckedMember]) -> None:
    """Two members may be neither the same training nor the same name in the registry.

    Raises:
        ConfigError: two are.
    """
    for place, one in enumerate(members):
        for other in members[:place]:
            if _training(one) == _training(other):
                raise ConfigError(
                    f"{WHERE}: {other.name} and {one.name} are the same training; give one of them other overrides, or leave it out."
                )
            if one.registered_name == other.registered_name:
                raise ConfigError(
                    f"{WHERE}: {other.name} and {one.name} would both be registered as {one.registered_name}; give one of "
                    "them another registered_name."
                )


def _training(member: CheckedMember) -> tuple[str, str]:
    """What decides the result of a member's training, given the corpus that all share."""
    return TrainConfig.model_validate_json(member.train_config_json).digest, member.base_digest


def check_member_training(name: str, member: Member, here: bool) -> TrainConfig:
    """Resolve a member's training options and hold them against its processes and, where it is here, the machine.

    Raises:
        SphinxError: the first thing that is wrong, with the member's name.
    """
    try:
        return check_training(member.variant, yaml.safe_dump(member.overrides), member.nodes, member.processes_per_node, here)
    except SphinxError as error:
        raise type(error)(f"{WHERE}, member {name}: {error}") from error


def _check_member(name: str, member: Member, recipe: Recipe, store_uri: str, device: str, here: bool) -> CheckedMember:
    base_uri = member.base_uri or storage.join(store_uri, "bases", member.variant)
    variant = variant_named(member.variant)
    config = check_member_training(name, member, here)
    try:
        base = read_base(base_uri)
        if (namespace := namespace_to_train_in()) is not None:
            check_cluster(namespace, variant, config, member.nodes, member.processes_per_node, device)
    except SphinxError as error:
        raise type(error)(f"{WHERE}, member {name}: {error}") from error
    return CheckedMember(
        name=name,
        variant=member.variant,
        num_nodes=member.nodes,
        processes_per_node=member.processes_per_node,
        train_config_json=config.model_dump_json(),
        base_uri=base_uri,
        base_digest=base.digest,
        registered_name=registered_name(recipe, name, member),
        eval_gpus=variant.gpus_per_model if device == "gpu" else 0,
    )


class Inputs(NamedTuple):
    """Parameters for the tasks of one member."""

    train_config_json: str
    base_uri: str
    base_digest: str
    num_nodes: int
    processes_per_node: int
    registered_name: str
    eval_gpus: int


def inputs_of(family_json: str, name: str) -> Inputs:
    """A member taken out of the family, typed as the tasks that train, evaluate and register it take it."""
    one = CheckedFamily.from_json(family_json, "parameter family_json").member(name)
    ranks = one.num_nodes * one.processes_per_node
    note = f"{one.variant} on {ranks} {'process' if ranks == 1 else 'processes'}; will be {one.registered_name}"
    print(f"{name}: {note}")
    tell("member", name, "running", note=note)
    return Inputs(**{field: getattr(one, field) for field in Inputs._fields})
