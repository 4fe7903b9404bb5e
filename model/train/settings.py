"""From a training configuration to DeepSpeed's settings, and what is refused before anything is read."""

import math
from typing import Any

from model.errors import ConfigError, TrainError
from model.train.config import TrainConfig
from model.train.experts import expert_settings, require_experts_fit, uses_autoep
from model.train.ranks import Ranks
from model.variants import variant_named


def deepspeed_config(config: TrainConfig, packs_per_rank: int, ranks: Ranks) -> dict[str, Any]:
    """DeepSpeed's JSON for a training configuration."""
    optimizer, engine, variant = config.optimizer, config.engine, variant_named(config.variant)
    on_gpu = ranks.device.type == "cuda"
    zero: dict[str, Any] = {
        "stage": engine.zero_stage,
        # Communication beside computation pays on a GPU alone; on a CPU it costs threads.
        "overlap_comm": on_gpu and engine.zero_stage > 1,
        # Without it DeepSpeed averages the gradients of spread experts over their own few ranks and not over all.
        "contiguous_gradients": on_gpu or uses_autoep(engine, variant),
        "reduce_bucket_size": 200_000_000,
        "allgather_bucket_size": 200_000_000,
    }
    if engine.offload == "optimizer":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": on_gpu}
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": packs_per_rank,
        # Stage 0 is clipped by `Engine._clip_unsharded`.
        "gradient_clipping": optimizer.clip_norm if engine.zero_stage else 0.0,
        "steps_per_print": 10**12,
        "zero_optimization": zero,
        "optimizer": {
            "type": "AdamW",
            "params": {
                "torch_adam": engine.offload == "none",
                "lr": optimizer.learning_rate,
                "betas": [optimizer.beta1, optimizer.beta2],
                "eps": optimizer.eps,
                "weight_decay": optimizer.weight_decay,
                **({"fused": True} if engine.offload == "none" else {}),
            },
        },
    }
    settings |= expert_settings(engine, variant)
    if engine.precision == "bf16":
        settings["bf16"] = {"enabled": True, "check_grad_overflow": True}
        # Otherwise gradients are summed over a step's packs in bf16.
        settings["data_types"] = {"grad_accum_dtype": "fp32"}
    return settings


def require_supported(config: TrainConfig, world_size: int) -> None:
    """Refuse what cannot be trained as configured, before anything is read.

    Raises:
        ConfigError: two settings do not go together.
    """
    engine = config.engine
    if engine.precision == "bf16" and engine.zero_stage == 0:
        raise ConfigError("engine.zero_stage: 0 sums gradients in bf16; take stage 1, or engine.precision fp32.")
    require_experts_fit(engine, variant_named(config.variant), world_size)


def require_finite(loss: float, step: int) -> None:
    """Stop at a loss that is no number.

    Raises:
        TrainError: it is not finite.
    """
    if not math.isfinite(loss):
        raise TrainError(
            f"the loss at step {step} is {loss}; lower optimizer.learning_rate or optimizer.clip_norm and start a new run."
        )
