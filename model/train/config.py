"""TrainConfig: everything that decides a training run besides its data. Typed defaults are the paper's (section 4.1).

A preset `presets/<variant>.yaml` holds a size's differences from these defaults; a user's overrides come on top.
Only fields in `RUN_SHAPE` and `HOW_SPREAD` may differ between two runs of one digest: they change speed and safety, never the
result beyond the order of summation.
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from model.contracts.base import Part, digest_of
from model.errors import ConfigError
from model.variants import variant_named


class OptimizerConfig(Part):
    """AdamW on every trained parameter."""

    learning_rate: float = Field(default=2e-5, gt=0)
    """Peak learning rate: 2e-5, for moe 5e-6."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=8.0, gt=0)
    """Largest global gradient norm; 8 as in the public scripts of the original (the paper is silent)."""


class ScheduleConfig(Part):
    """Linear warm-up, then a decay to zero."""

    kind: Literal["cosine", "trapezoid"] = "cosine"
    """cosine is the paper's; trapezoid stays at the peak and falls linearly over the last `decay_fraction`."""
    warmup_epochs: float = Field(default=0.01, ge=0)
    """Warm-up in epochs."""
    decay_fraction: float = Field(default=0.3, gt=0, le=1)
    """Last part of a trapezoid's steps, over which it falls to zero."""


class PackConfig(Part):
    """What one pack may hold and how many packs make an optimizer step."""

    tokens_per_pack: int = Field(default=4096, gt=0)
    """Language positions of one pack: image tokens, skip tokens and text."""
    views_per_pack: int = Field(default=15, gt=0)
    """Real (encoded) views of one pack; bounds the encoders' memory."""
    batch_size: int = Field(default=256, gt=0)
    """Mean number of samples in an optimizer step; packs per step are chosen to give it."""
    packs_multiple: int = Field(default=8, gt=0)
    """Packs per step are a multiple of this; any number of ranks that divides them reads the same global batches."""


class EngineConfig(Part):
    """How the model is spread over ranks."""

    zero_stage: Literal[0, 1, 2, 3] = 1
    precision: Literal["bf16", "fp32"] = "bf16"
    expert_parallel_size: int = Field(default=1, ge=1)
    """Ranks that share the experts of a Mixtral (DeepSpeed AutoEP); 1 means each rank has all of them."""
    activation_checkpointing: bool = False
    offload: Literal["none", "optimizer"] = "none"
    """Where the optimizer's state lives: on the GPU, or in host memory for one node."""
    compile_encoders: bool = False


class LoaderConfig(Part):
    """How packs are read; none of it changes what is read."""

    workers: int = Field(default=4, ge=0)
    """Threads or processes that decode pictures on each rank; 0 decodes in the training process."""
    read_ahead_packs: int = Field(default=8, ge=1)
    read_timeout_s: float = Field(default=60.0, gt=0)
    """Seconds to wait for one read before naming the shard and stopping."""
    cache_dir: str | None = None
    """Node-local folder for shards that are read from object storage; None reads ranges without keeping them."""
    cache_gb: float = Field(default=50.0, gt=0)
    """Largest size of that folder; the least recently used shards go first."""
    feature_cache_mb: int = Field(default=0, ge=0)
    """Host memory for the frozen encoders' outputs by picture; pays when every picture is seen often (nano)."""


class CheckpointConfig(Part):
    """When state is saved."""

    every_steps: int = Field(default=500, gt=0)
    keep: int = Field(default=2, gt=0)
    """Newest committed checkpoints kept."""


class WatchConfig(Part):
    """What is logged and what stops a run."""

    log_every_steps: int = Field(default=10, gt=0)
    spike_factor: float = Field(default=0.0, ge=0)
    """A loss above this many times its running mean is a spike; 0 switches the watch off."""
    on_spike: Literal["stop", "skip"] = "stop"
    profile_steps: tuple[int, int] | None = None
    """First and last step of a window that torch's profiler records."""


RUN_SHAPE = ("loader", "checkpoint", "watch")
HOW_SPREAD = {"zero_stage", "expert_parallel_size", "activation_checkpointing"}
"""Of `engine`: like the number of ranks, these may change when a run goes on."""


class TrainConfig(Part):
    """A training run besides its data."""

    variant: str
    epochs: float = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0)
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    packs: PackConfig = PackConfig()
    engine: EngineConfig = EngineConfig()
    loader: LoaderConfig = LoaderConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    watch: WatchConfig = WatchConfig()
    balance_loss_weight: float = Field(default=0.01, ge=0)
    """Weight of the experts' load-balance loss; the original code's default of its ens5 models (the paper is silent)."""

    @property
    def digest(self) -> str:
        """Digest of what decides the result; reading, saving, watching and spreading do not."""
        return digest_of(self.model_dump(mode="json", exclude={**dict.fromkeys(RUN_SHAPE, True), "engine": HOW_SPREAD}))


def load_train_config(variant: str, overrides: dict[str, Any] | None = None) -> TrainConfig:
    """The preset of a size with a user's overrides (nested fields) on top.

    Raises:
        ConfigError: unknown variant, unknown field or wrong value.
    """
    variant_named(variant)
    preset = yaml.safe_load((Path(__file__).parent / "presets" / f"{variant}.yaml").read_text()) or {}
    if overrides is not None and not isinstance(overrides, dict):
        raise ConfigError(
            f"training overrides must be fields with values, not {str(overrides)[:60]!r}; write 'epochs: 2' for example."
        )
    fields = _merged(preset, overrides or {})
    return TrainConfig.from_fields({**fields, "variant": variant}, f"training configuration of {variant}")


def _merged(below: dict, above: dict) -> dict:
    merged = dict(below)
    for key, value in above.items():
        both_nested = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merged(below[key], value) if both_nested else value
    return merged
