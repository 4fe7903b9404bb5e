"""Dealing a step's packs to ranks: each gets equally many, and as nearly as possible equal work."""

from model.data.flops import pack_flops
from model.data.steps import StepPlan
from model.errors import ConfigError
from model.variants import Variant


def deal(step: StepPlan, num_ranks: int, variant: Variant) -> list[list[int]]:
    """The packs of each rank, by their place in the step, most work first.

    Packs go by falling work to the rank that has least so far and still misses some. Since each rank's own are in falling order
    too, packs of similar work run at the same time on all ranks.

    Raises:
        ConfigError: the packs of a step cannot be divided by the ranks.
    """
    each = packs_per_rank(len(step.packs), num_ranks)
    work = [pack_flops(pack, variant) for pack in step.packs]
    dealt: list[list[int]] = [[] for _ in range(num_ranks)]
    loads = [0.0] * num_ranks
    for pack in sorted(range(len(work)), key=lambda place: (-work[place], place)):
        rank = min((rank for rank in range(num_ranks) if len(dealt[rank]) < each), key=lambda rank: (loads[rank], rank))
        dealt[rank].append(pack)
        loads[rank] += work[pack]
    return dealt


def packs_per_rank(packs_per_step: int, num_ranks: int) -> int:
    """How many packs of a step each rank runs: the micro-steps of gradient accumulation.

    Raises:
        ConfigError: the packs of a step cannot be divided by the ranks.
    """
    if packs_per_step % num_ranks:
        raise ConfigError(
            f"{num_ranks} ranks do not divide the {packs_per_step} packs of a step; "
            f"set packs.packs_multiple to {num_ranks} or use a number of ranks that divides them."
        )
    return packs_per_step // num_ranks
