"""Will it fit, and how long will it take: memory by part and FLOPs of a run, by arithmetic alone. No torch here.

Memory follows what the trainer asks of DeepSpeed (`engine.py`), for N trained parameters on R ranks:

    part          ZeRO-1 (bf16)   ZeRO-2          ZeRO-3          fp32
    weights       2 N             2 N             2 N / R + live  4 bytes instead of 2
    gradients     (2 + 4) N       4 N / R         4 N / R         4 N, or 4 N / R from stage 2 on
    optimizer     12 N / R        12 N / R        12 N / R        the same (stage 0: 8 N)

Gradients are summed in float32; under ZeRO-1 DeepSpeed keeps the bf16 ones beside them. Experts of a Mixtral are divided by the
expert-parallel size first. `working` is the larger of a pack's activations and, at the update, the copy of a rank's gradients.
Activations follow transformers' Llama and Mixtral with a kernel that never stores attention's pairs. Time is FLOPs / (ranks x peak x MFU): MFU is an
assumption that the caller states.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from model.data.deal import deal
from model.data.flops import pack_flops
from model.train.config import TrainConfig
from model.train.machine import Machine
from model.train.workload import Workload
from model.variants import Variant

GB = 1e9
MAX_NODES = 64
"""Where the search for a cluster that is large enough ends."""
_LIVE_PARAMETERS, _BUCKET = 1_000_000_000, 200_000_000
"""ZeRO-3's default bound on gathered parameters; the bucket sizes of `engine.py`."""
_HEAD_CHUNK_TOKENS = 1024
_GPU_RESERVE_GB, _CPU_RESERVE_GB = 3.0, 0.9
"""CUDA context, NCCL's buffers and the allocator's gaps; Python with torch, transformers and DeepSpeed, seen with nano."""


@dataclass(frozen=True)
class Estimate:
    """A run on a machine, foretold."""

    memory_gb: dict[str, float]
    """Peak of one rank by part."""
    fits: str | None
    """None if it fits, else why not and what to do."""
    flops_per_step: float
    """Of all ranks, forward and backward; recomputed activations are not counted."""
    balance: float
    """Mean work of a rank in a step / that of the rank with most."""
    seconds_per_step: float
    hours: float
    peak_tflops: float
    mfu: float


def estimate(
    variant: Variant, config: TrainConfig, machine: Machine, workload: Workload, mfu: float, peak_tflops: float
) -> Estimate:
    """Foretell a run.

    Args:
        mfu: Assumed share of the peak that the counted FLOPs reach on the rank with most work.
        peak_tflops: Peak of one GPU, or of one process.

    Raises:
        ConfigError: the packs of a step cannot be divided by the ranks.
    """
    totals, slowest = [], []
    for step in workload.steps:
        work = [pack_flops(pack, variant) for pack in step.packs]
        totals.append(sum(work))
        slowest.append(max(sum(work[pack] for pack in packs) for packs in deal(step, machine.ranks, variant)))
    flops, most = sum(totals) / len(totals), sum(slowest) / len(slowest)
    checkpointed = config.engine.activation_checkpointing
    seconds = most * (_recomputation(variant, workload, flops) if checkpointed else 1.0) / (peak_tflops * 1e12 * mfu)
    return Estimate(
        memory_gb=memory(variant, config, machine),
        fits=fits(variant, config, machine),
        flops_per_step=flops,
        balance=flops / machine.ranks / most,
        seconds_per_step=seconds,
        hours=seconds * workload.num_steps / 3600,
        peak_tflops=peak_tflops,
        mfu=mfu,
    )


def memory(variant: Variant, config: TrainConfig, machine: Machine) -> dict[str, float]:
    """Peak memory of one rank in GB, by part."""
    engine, ranks = config.engine, machine.ranks
    stage, width = engine.zero_stage, 2 if engine.precision == "bf16" else 4
    language = variant.language
    trained = language.parameters + variant.fusion_parameters
    experts = 3 * language.hidden * language.ffn * language.experts * language.layers if language.experts > 1 else 0
    held = trained - experts + experts / min(engine.expert_parallel_size, ranks)
    shard = trained / ranks
    live = min(max(_LIVE_PARAMETERS, language.layer_parameters), trained) if ranks > 1 else 0
    updated = held if stage == 0 else shard
    optimizer = updated * (8 if stage == 0 else 12)
    # Stage 1 in bf16 is DeepSpeed's BF16_Optimizer: float32 sums of all gradients, and the bf16 ones until they are added.
    gradients = shard * 4 if stage >= 2 else held * (4 if width == 4 else 6)
    buckets = (_BUCKET * width * (3 if stage >= 2 else 2)) if stage and ranks > 1 else 0
    at_once = max(language_bytes(variant, config, width), _encoder_bytes(variant, config, width), shard * 4)
    parts = {
        "weights": width * (shard + live if stage == 3 else held),
        "encoders": width * (variant.conv.parameters + variant.vit.parameters),
        "gradients": gradients,
        "optimizer": 0.0 if engine.offload == "optimizer" and machine.kind == "gpu" else optimizer,
        "working": at_once,
        "logits": _head_bytes(variant, config, width),
        "buckets": min(buckets, 3 * width * trained),
    }
    if machine.kind == "cpu":
        parts["loader"] = _loader_bytes(variant, config)
    parts["reserve"] = (_GPU_RESERVE_GB if machine.kind == "gpu" else _CPU_RESERVE_GB) * GB
    return {name: size / GB for name, size in parts.items()}


def fits(variant: Variant, config: TrainConfig, machine: Machine) -> str | None:
    """None if a run fits into the machine's memory, else one sentence: what it needs, what there is, what to do."""
    if (problem := _lack(variant, config, machine)) is None:
        return None
    for change, changed, larger in _remedies(variant, config, machine):
        if _lack(variant, changed, larger) is None:
            return f"{problem}; {change}."
    return (
        f"{problem}; take a smaller variant{' or GPUs with more memory' if machine.kind == 'gpu' else ' or a larger machine'}."
    )


def _lack(variant: Variant, config: TrainConfig, machine: Machine) -> str | None:
    parts = memory(variant, config, machine)
    needed = sum(parts.values())
    largest = ", ".join(f"{name} {size:.3g}" for name, size in sorted(parts.items(), key=lambda part: -part[1])[:3])
    if machine.kind == "cpu":
        together = needed * machine.processes_per_node
        if together <= machine.memory_gb:
            return None
        return (
            f"{variant.name} needs about {together:.3g} GB of memory for {machine.processes_per_node} processes "
            f"(each {largest}), and this machine has {machine.memory_gb:.3g} GB"
        )
    if needed > machine.memory_gb:
        return (
            f"{variant.name} needs about {needed:.3g} GB on each of {machine.ranks} GPUs ({largest}), "
            f"and one has {machine.memory_gb:.3g} GB"
        )
    trained = variant.language.parameters + variant.fusion_parameters
    offloaded = 16 * trained / machine.ranks * machine.processes_per_node / GB if config.engine.offload == "optimizer" else 0.0
    if machine.host_memory_gb is not None and offloaded > machine.host_memory_gb:
        return f"the offloaded optimizer needs about {offloaded:.3g} GB of a node's memory, and it has {machine.host_memory_gb:.3g}"
    return None


def _remedies(variant: Variant, config: TrainConfig, machine: Machine) -> Iterator[tuple[str, TrainConfig, Machine]]:
    """Changes that need less memory, cheapest first: what to do, and the configuration and machine afterwards."""
    engine, packs = config.engine, config.packs
    if machine.kind == "cpu":
        for processes in range(machine.processes_per_node - 1, 0, -1):
            fewer = replace(machine, processes_per_node=processes)
            yield f"run it with {processes} process{'es' if processes > 1 else ''}", config, fewer
        return
    last_stage = 2 if engine.expert_parallel_size > 1 else 3
    stages = range(engine.zero_stage, last_stage + 1)
    halves = packs.views_per_pack // 2 >= variant.geometry.num_views
    for offload in dict.fromkeys((engine.offload, "optimizer")):
        for shrink in (1, 2) if halves else (1,):
            for stage in stages:
                for checkpointing in dict.fromkeys((engine.activation_checkpointing, True)):
                    changes: dict[str, Any] = {
                        "zero_stage": stage,
                        "activation_checkpointing": checkpointing,
                        "offload": offload,
                    }
                    smaller = {name: getattr(packs, name) // shrink for name in ("tokens_per_pack", "views_per_pack")}
                    changed = config.model_copy(
                        update={"engine": engine.model_copy(update=changes), "packs": packs.model_copy(update=smaller)}
                    )
                    told = [f"engine.{name}={value}" for name, value in changes.items() if getattr(engine, name) != value]
                    told += [f"packs.{name}={value}" for name, value in smaller.items() if shrink > 1]
                    yield f"set {' '.join(told).replace('True', 'true')}", changed, machine
    nodes = machine.nodes
    while (nodes := nodes * 2) <= MAX_NODES:
        larger = replace(machine, nodes=nodes)
        sharded = {"zero_stage": last_stage, "activation_checkpointing": True}
        changed = config.model_copy(update={"engine": engine.model_copy(update=sharded)})
        yield f"use {nodes} nodes with engine.zero_stage={last_stage} engine.activation_checkpointing=true", changed, larger


def language_bytes(variant: Variant, config: TrainConfig, width: int) -> float:
    """What a pack leaves in the fusion and the language model for the backward pass, and what a layer's backward adds."""
    shape, tokens = variant.language, config.packs.tokens_per_pack
    key_values = 2 * shape.kv_heads * shape.hidden // shape.heads
    ffn = shape.ffn * shape.active_experts
    routed = 3 * shape.hidden * shape.active_experts if shape.experts > 1 else 0
    # Two norms keep a float32 input and their result; projections, attention and the gated product keep their inputs.
    per_layer = width * (6 * shape.hidden + key_values + 4 * ffn + routed) + 8 * shape.hidden
    layers = (
        shape.layers * width * shape.hidden + per_layer if config.engine.activation_checkpointing else shape.layers * per_layer
    )
    backward = width * (3 * ffn + 4 * shape.hidden)
    views = config.packs.views_per_pack * (variant.geometry.tokens_per_view - 2)
    fusion = views * (width * variant.fused_channels + (width + 4) * shape.hidden)
    return tokens * (layers + backward + 2 * width * shape.hidden) + fusion


def _encoder_bytes(variant: Variant, config: TrainConfig, width: int) -> float:
    """Forward pass of all views of a pack at once: the ConvNeXt's first stage is the widest place."""
    geometry = variant.geometry
    stem = (geometry.conv_px // 4) ** 2 * variant.conv.channels // 8 * 10
    block = (geometry.tokens_per_view - 2) * variant.vit.channels * 12
    pixels = 3 * (geometry.conv_px**2 + geometry.vit_px**2) * (8 / width + 1)
    return config.packs.views_per_pack * width * (max(stem, block) + pixels)


def _head_bytes(variant: Variant, config: TrainConfig, width: int) -> float:
    """Logits of a chunk in model type and twice in float32, the head's gradient, and the supervised hidden states."""
    shape, tokens = variant.language, config.packs.tokens_per_pack
    chunk = min(tokens, _HEAD_CHUNK_TOKENS)
    return chunk * shape.vocab * (width + 8) + shape.vocab * shape.hidden * (width + 4) + tokens * shape.hidden * (width + 4)


def _loader_bytes(variant: Variant, config: TrainConfig) -> float:
    geometry, loader = variant.geometry, config.loader
    view = 3 * (geometry.conv_px**2 + geometry.vit_px**2)
    return loader.read_ahead_packs * config.packs.views_per_pack * view + loader.feature_cache_mb * 1e6


def _recomputation(variant: Variant, workload: Workload, flops_per_step: float) -> float:
    """Work with activation checkpointing / without: the layers' forward pass runs twice."""
    tokens = sum(step.tokens for step in workload.steps) / len(workload.steps)
    return 1 + 2 * variant.language.active_matmul_parameters * tokens / max(flops_per_step, math.ulp(1.0))
