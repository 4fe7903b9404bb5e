"""Experts spread over ranks: DeepSpeed's AutoEP for transformers' Mixtral, and the way back to whole tensors for export.

With `engine.expert_parallel_size` n, each of n neighbouring ranks holds 1/n of every layer's experts and tokens travel to them;
everything else is as without. ZeRO-3 shards experts as it does everything and knows nothing of this. AutoEP replaces each `mlp` by a layer of its own with other names, so what leaves training is put
together again under transformers' names (`gate_up_proj` is w1 above w3, `down_proj` is w2, both by expert).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from model.errors import ConfigError
from model.train.config import EngineConfig
from model.variants import Variant

LAYERS = r"language\.model\.layers\.\d+\.mlp"
"""Full names, in `engine.Trained`, of the modules that hold experts."""
_ROUTER_ALIAS = ".mlp.gate.gate.weight"
"""AutoEP registers the router a second time, where transformers looks for it."""
_ROUTER = (".mlp.router.gate.weight", ".mlp.gate.weight")


def require_experts_fit(engine: EngineConfig, variant: Variant, world_size: int) -> None:
    """Refuse an `expert_parallel_size` that these ranks or this model cannot have.

    Raises:
        ConfigError: says which size can be had.
    """
    size, experts = engine.expert_parallel_size, variant.language.experts
    if size == 1:
        return

    def refuse(reason: str) -> NoReturn:
        raise ConfigError(f"engine.expert_parallel_size: {size} {reason}.")

    if experts == 1:
        refuse(f"shares experts, of which {variant.name} has none; set it to 1")
    if experts % size:
        refuse(f"does not divide the {experts} experts of {variant.name}; take a divisor")
    if world_size % size:
        refuse(
            f"does not divide {world_size} ranks; take a divisor of both {world_size} and {experts}, or 1 with engine.zero_stage 3"
        )
    if engine.zero_stage not in (1, 2):
        refuse(f"goes with engine.zero_stage 1 or 2, not {engine.zero_stage}; set one of them, or the size to 1")
    if engine.offload != "none":
        refuse("keeps its optimizer on the GPU; set engine.offload to none, or the size to 1 with engine.zero_stage 3")


def uses_autoep(engine: EngineConfig, variant: Variant) -> bool:
    """Whether AutoEP holds the experts: also with size 1, so that checkpoints of every size have the same names in them."""
    return variant.language.experts > 1 and engine.zero_stage in (1, 2) and engine.offload == "none"


def expert_settings(engine: EngineConfig, variant: Variant) -> dict[str, Any]:
    """DeepSpeed's settings for AutoEP; none where it is not used."""
    if not uses_autoep(engine, variant):
        return {}
    return {
        "expert_parallel": {
            "enabled": True,
            "autoep_size": engine.expert_parallel_size,
            "preset_model": "mixtral",
            "moe_layer_pattern": LAYERS,
            "use_grouped_mm": True,
        }
    }


@contextmanager
def recorders_by_name() -> Iterator[None]:
    """Let AutoEP move transformers' recording of router logits to its own layers.

    DeepSpeed 0.19.8 treats transformers' registry of recorders as a dict by class name. From transformers 5.23 on the registry
    takes model objects instead, and AutoEP ends in a TypeError. Within the context it understands both.
    """
    from transformers.utils import output_capturing

    registry: Any = getattr(output_capturing, "_CanRecordRegistry", None)
    if registry is None:
        yield
        return

    def by_name(key: Any) -> str:
        return key if isinstance(key, str) else str(key.__class__)

    def get(self: Any, key: Any, default: Any = None) -> Any:
        found = dict.get(self, by_name(key), default)
        return found if isinstance(key, str) else found or {}

    def put(self: Any, key: Any, value: Any) -> None:
        dict.__setitem__(self, by_name(key), value)

    before = registry.get, registry.__setitem__
    registry.get, registry.__setitem__ = get, put
    try:
        yield
    finally:
        registry.get, registry.__setitem__ = before


@dataclass(frozen=True)
class WholeTensor:
    """A tensor under its name in transformers, made of one or more tensors of this rank."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    parts: tuple[Tensor, ...]
    """Joined along the second dimension where there are two."""
    over_experts: bool
    """Whether each rank of the expert group holds the part of its own experts."""


def whole_tensors(state: dict[str, Tensor], size: int) -> dict[str, WholeTensor]:
    """What `state` (names and tensors of a model after AutoEP, or without) is in transformers, by name and in order."""
    whole: dict[str, WholeTensor] = {}
    for name, tensor in state.items():
        prefix, _, last = name.rpartition(".mlp.experts.")
        if prefix and last in ("w1", "w2", "w3"):
            if last == "w1":
                whole[f"{prefix}.mlp.experts.gate_up_proj"] = _joined(size, tensor, state[f"{prefix}.mlp.experts.w3"])
            elif last == "w2":
                whole[f"{prefix}.mlp.experts.down_proj"] = _joined(size, tensor)
        elif not name.endswith(_ROUTER_ALIAS):
            shape = tuple(getattr(tensor, "ds_shape", tensor.shape))
            whole[name.replace(*_ROUTER)] = WholeTensor(shape, tensor.dtype, (tensor,), over_experts=False)
    return whole


def _joined(size: int, *parts: Tensor) -> WholeTensor:
    experts, rows, columns = parts[0].shape
    return WholeTensor((experts * size, rows * len(parts), columns), parts[0].dtype, parts, over_experts=True)


def gather_experts(tensor: WholeTensor, size: int) -> Tensor:
    """A tensor [all experts, ...] on the CPU, from the ranks of this rank's expert group; on every rank."""
    from deepspeed.utils import groups

    mine = torch.cat([part.detach() for part in tensor.parts], dim=1)
    theirs = [torch.empty_like(mine) for _ in range(size)]
    dist.all_gather(theirs, mine, group=groups._get_expert_parallel_group(f"ep_size_{size}"))
    return torch.cat([one.cpu() for one in theirs])
