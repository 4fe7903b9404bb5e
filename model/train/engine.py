"""DeepSpeed behind a few methods: what is trained, how it is spread over ranks, one optimizer step.

The loss of a step is the sum over all supervised tokens of the global batch divided by their number, which the plan knows.
DeepSpeed averages gradients over ranks and, unless told otherwise, over accumulation steps; `backward_sum` is the one place
that undoes the first and switches off the second, so world size, accumulation and packing do not change the gradient.
"""

import contextlib
import io
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.contracts.base import digest_of
from model.data.materialise import PackBatch
from model.sphinx_x.modeling_sphinx_x import Pack, PackedLoss, SphinxXForConditionalGeneration
from model.train.config import TrainConfig
from model.train.experts import (
    WholeTensor,
    gather_experts,
    recorders_by_name,
    whole_tensors,
)
from model.train.ranks import Ranks
from model.train.settings import deepspeed_config

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Trained(nn.Module):
    """What DeepSpeed sees: the fusion and the language model.

    The frozen encoders stay outside, whole on every rank and in eval mode: they need no gradient, no optimizer state, no
    gathering under ZeRO-3, and a rank whose packs show no picture may leave them out.
    """

    def __init__(self, model: SphinxXForConditionalGeneration) -> None:
        super().__init__()
        self.fusion, self.language = model.fusion, model.language
        self.config = model.language.config  # where DeepSpeed looks for the kind of model
        self._losses_of = model.forward_packed  # a method, so that the encoders do not become submodules

    def forward(self, pack: Pack) -> PackedLoss:
        loss = self._losses_of(pack)
        # Through this term the gradient of any pack can be made NaN, also of one without a supervised token.
        return loss._replace(loss_sum=loss.loss_sum + self.fusion.end.sum().float() * 0)


@dataclass(frozen=True)
class StepOutcome:
    """What one optimizer step says of itself, on this rank."""

    token_losses: list[Tensor]
    """Per pack [S], detached, on the device."""
    gradient_norm: float
    """Global, before clipping."""
    skipped: bool
    """Whether the update was left out, as a spike."""
    work_seconds: float
    """This rank's own time up to the backward pass of its last pack, from where on ranks wait for each other."""


class Engine:
    """A model under DeepSpeed.

    Args:
        model: With its weights, on the CPU, in the precision of training.
        packs_per_rank: Packs of one optimizer step on this rank.
        from_universal: Whether state comes from a converted checkpoint; DeepSpeed wants to know beforehand.
    """

    def __init__(
        self,
        model: SphinxXForConditionalGeneration,
        config: TrainConfig,
        ranks: Ranks,
        packs_per_rank: int,
        from_universal: bool = False,
    ) -> None:
        import deepspeed

        from model.train.snapshot import HostCheckpointEngine

        self.config, self.ranks, self.packs_per_rank = config, ranks, packs_per_rank
        self.model = model
        model.config.text_config.use_cache = False
        if config.engine.activation_checkpointing:
            model.language.gradient_checkpointing_enable({"use_reentrant": False})
        model.conv.to(ranks.device)
        model.vit.to(ranks.device)
        if config.engine.compile_encoders:
            model.conv.compile()
            model.vit.compile()
        trained = Trained(model)
        trained.train()
        settings = deepspeed_config(config, packs_per_rank, ranks)
        if from_universal:
            settings["checkpoint"] = {"load_universal": True}
        self.deepspeed: Any = None
        with _quietly(), recorders_by_name():
            self.deepspeed, *_ = deepspeed.initialize(model=trained, config=settings)
        self.deepspeed.checkpoint_engine = HostCheckpointEngine()

    def encode(self, conv_views: Tensor, vit_views: Tensor) -> Tensor:
        """Frozen features [V, P, C] on the CPU, for the loader's cache."""
        return self.model.encode_views(conv_views.to(self.ranks.device), vit_views.to(self.ranks.device)).cpu()

    def step(
        self,
        packs: Sequence[PackBatch],
        supervised_tokens: int,
        filled_packs: int,
        learning_rate: float,
        is_spike: Any = None,
    ) -> StepOutcome:
        """One optimizer step over this rank's packs.

        Args:
            supervised_tokens: Of the whole global batch.
            filled_packs: Packs of the whole global batch that hold a sample.
            is_spike: Asked with this step's mean loss before the update; True leaves the update out.
        """
        assert len(packs) == self.packs_per_rank
        for group in self.deepspeed.optimizer.param_groups:
            group["lr"] = learning_rate
        token_losses, skipped, began = [], False, self._mark()
        for number, pack in enumerate(packs):
            loss = self.deepspeed(pack)
            token_losses.append(loss.token_losses)
            worked = self._mark()
            if is_spike is not None and number + 1 == len(packs):
                skipped = is_spike(self._mean_loss(token_losses, supervised_tokens))
            balance_weight = self.config.balance_loss_weight / max(1, filled_packs) if pack.samples else 0.0
            self.backward_sum(loss, supervised_tokens, balance_weight, poisoned=skipped)
            if number + 1 == len(packs):
                norm = self._clip_unsharded(skipped)
            self.deepspeed.step()
        if norm is None:
            norm = float(self.deepspeed.get_global_grad_norm())
        return StepOutcome(token_losses, norm, skipped, _seconds_between(began, worked))

    def backward_sum(
        self, loss: PackedLoss, supervised_tokens: int, balance_weight: float = 0.0, poisoned: bool = False
    ) -> None:
        """Gradient of this pack's part of the global mean; the only caller of DeepSpeed's backward.

        Args:
            balance_weight: Of this pack's balance loss in the step's: the configured weight over the number of packs that hold
                a sample, 0 for one that holds none.
            poisoned: Make the gradient NaN, at which every sharded optimizer leaves the update out.
        """
        part = loss.loss_sum * (self.ranks.world_size / max(1, supervised_tokens))
        if loss.balance_loss is not None and self.config.balance_loss_weight:
            part = part + loss.balance_loss * (self.ranks.world_size * balance_weight)
        self.deepspeed.backward(part * math.nan if poisoned else part, scale_wrt_gas=False)

    def snapshot(self, client_state: dict[str, Any]) -> dict[str, Any]:
        """This rank's part of the state by file name, copied to host memory; on every rank.

        Args:
            client_state: Small values that `load` gives back.
        """
        with tempfile.TemporaryDirectory(prefix="sphinx-x-snapshot-") as scratch:  # DeepSpeed leaves a script there
            os.makedirs(os.path.join(scratch, "state"))
            self.deepspeed.save_checkpoint(
                scratch, tag="state", client_state={"sphinx_x": client_state}, save_latest=False, exclude_frozen_parameters=True
            )
        return self.deepspeed.checkpoint_engine.take()

    def load(self, folder: Path, tag: str) -> dict[str, Any]:
        """Restore weights and optimizer from a folder of DeepSpeed's files; returns the client state. On every rank."""
        with _quietly():
            loaded, client_state = self.deepspeed.load_checkpoint(str(folder), tag=tag, load_module_strict=True)
        assert loaded is not None, f"{folder} holds no checkpoint {tag}"
        inner = getattr(self.deepspeed.optimizer, "optimizer", self.deepspeed.optimizer)
        for state in inner.state.values():
            # After a converted load under ZeRO-3 one step counter is shared by all sub-groups and would count once for each.
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].clone()
        return client_state["sphinx_x"]

    def weight_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and type of every tensor of the whole model, in the order of `weights`."""
        return {name: (one.shape, one.dtype) for name, one in self._state().items()}

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the whole model on the CPU, one at a time; sharded ones are gathered, so on every rank."""
        import deepspeed

        for name, whole in self._state().items():
            if whole.over_experts:
                yield name, gather_experts(whole, self.config.engine.expert_parallel_size)
                continue
            (tensor,) = whole.parts
            if hasattr(tensor, "ds_id"):
                with deepspeed.zero.GatheredParameters([tensor]):
                    yield name, tensor.detach().cpu().clone()
            else:
                yield name, tensor.detach().cpu()

    def _state(self) -> dict[str, WholeTensor]:
        return whole_tensors(self.model.state_dict(keep_vars=True), self.config.engine.expert_parallel_size)

    def _mark(self) -> Any:
        """A point in time, on the device's own clock where it runs behind the program."""
        if self.ranks.device.type != "cuda":
            return time.perf_counter()
        mark = torch.cuda.Event(enable_timing=True)
        mark.record()
        return mark

    def _mean_loss(self, token_losses: list[Tensor], supervised_tokens: int) -> float:
        total = torch.cat(token_losses).sum().double().cpu()
        dist.all_reduce(total, group=self.ranks.host_group)
        return float(total) / max(1, supervised_tokens)

    def _clip_unsharded(self, skipped: bool) -> float | None:
        """ZeRO-0 clips without telling the norm and never skips, so both are done here; None where DeepSpeed does them."""
        if self.config.engine.zero_stage != 0:
            return None
        parameters = [parameter for parameter in self.deepspeed.module.parameters() if parameter.grad is not None]
        norm = float(nn.utils.clip_grad_norm_(parameters, self.config.optimizer.clip_norm))
        if skipped:
            for group in self.deepspeed.optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
        return norm


def trained_parameters_digest(model: SphinxXForConditionalGeneration) -> str:
    """Digest of the trained parameters' names and shapes, which checkpoints are bound to."""
    return digest_of({name: list(parameter.shape) for name, parameter in Trained(model).named_parameters()})


def _seconds_between(first: Any, last: Any) -> float:
    """Seconds between two marks that the device has passed."""
    return last - first if isinstance(first, float) else first.elapsed_time(last) / 1e3


def _quietly() -> contextlib.AbstractContextManager:
    """DeepSpeed prints its memory and its file formats at start."""
    return contextlib.redirect_stdout(io.StringIO())
