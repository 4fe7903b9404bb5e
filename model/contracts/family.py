"""Family: models that are trained side by side on one corpus; what a person writes, and what travels between the steps."""

from typing import Annotated, Any

from pydantic import Field

from model.contracts.base import Contract, Part
from model.contracts.recipe import Name

MOST_MEMBERS = 8
"""So many can be told apart in one picture."""


class Member(Part):
    """One model of the family, as a person writes it; its name is the key that it stands under."""

    variant: str = ""
    """Size of the model; empty for the member's name."""
    nodes: int = Field(default=1, ge=1)
    """Machines that train it."""
    processes_per_node: int = Field(default=8, ge=1)
    """Processes (GPUs) on each of them."""
    base_uri: str = ""
    """Base directory of the variant; empty for bases/<variant> in the store."""
    overrides: dict[str, Any] = {}
    """Training options on top of the variant's preset."""
    registered_name: Name | None = None
    """Name in the registry; sphinx-x-<member>, or <the recipe's model name>-<member>, where none is given."""


FamilyFile = Annotated[dict[Name, Member | None], Field(min_length=1, max_length=MOST_MEMBERS, title="Family")]
"""What a family file holds: members by name, each with its settings or none."""


class Family(Part):
    """Members by name, in the order of every page."""

    members: Annotated[dict[Name, Member], Field(min_length=1, max_length=MOST_MEMBERS)]


class CheckedMember(Part):
    """A member after everything was checked: the inputs of its training, evaluation and registration."""

    name: Name
    variant: str
    num_nodes: int
    processes_per_node: int
    train_config_json: str
    """The resolved training configuration."""
    base_uri: str
    base_digest: str
    registered_name: str
    eval_gpus: int
    """GPUs of its evaluation; 0 for a CPU."""


class CheckedFamily(Contract):
    """What `validate` hands to the tasks of the members, and to the comparison."""

    device: str
    """gpu or cpu: what trains and evaluates."""
    members: Annotated[tuple[CheckedMember, ...], Field(min_length=1)]

    def member(self, name: str) -> CheckedMember:
        return next(one for one in self.members if one.name == name)


class JudgedMember(Contract):
    """What the evaluation of a member hands to the comparison."""

    name: Name
    model_uri: str
    result_uris: tuple[str, ...]


class ComparedMember(Part):
    """A member in the comparison's outcome."""

    name: Name
    model_uri: str
    model_digest: str
    registered_name: str
    version: str
    gate: str
    """open or closed."""
    gate_reason: str
    scores: dict[str, float]
    """Score by benchmark."""


class Compared(Contract):
    """The outcome of a family run, for the command line."""

    members: tuple[ComparedMember, ...]
