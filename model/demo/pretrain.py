"""Pre-train nano's two encoders on generated scenes: each cell of a view's grid learns to tell what stands there.

A short stand-in for what CLIP and DINOv2 weights bring to the large sizes. Linear heads read the fused features and are thrown
away; no question and no language model takes part. Two processes of one thread each share every batch by halves, because two
threads gain nothing on networks this small; alone, a process sums the same halves, so the weights are the same.
"""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.demo.lessons import Heads, draw_examples, select
from model.errors import TrainError
from model.sphinx_x.encoders import encode_views, make_convnext, make_dinov2
from model.variants import Variant

HALVES = 2
_DECAY_FRACTION = 0.4
_WARMUP_STEPS = 30
_STEPS_PER_MESSAGE = 20

Report = Callable[[int], None]
"""Called with the number of steps done."""


@dataclass(frozen=True)
class PretrainSettings:
    """How long and how fast."""

    steps: int = 900
    scenes: int = 4000
    """Scenes that are drawn; each is seen several times."""
    batch_scenes: int = 16
    learning_rate: float = 3e-3
    """AdamW's, for convolutions, vectors and heads."""
    matrix_learning_rate: float = 0.02
    """Muon's, for the encoders' matrices: in equally many steps they learn several times as much as by AdamW alone."""
    clip_norm: float = 1.0


@dataclass(frozen=True)
class Lessons:
    """What is taught to whom."""

    variant: Variant
    scene_seed: int
    seed: int
    """Of initial weights and batches."""
    settings: PretrainSettings


class Encoders(nn.Module):
    """Both encoders with the names that a base directory gives their tensors."""

    def __init__(self, variant: Variant):
        super().__init__()
        self.conv = make_convnext(variant.conv.name, dict(variant.conv.arguments))
        self.vit = make_dinov2(variant.vit.name, variant.geometry.vit_px, dict(variant.vit.arguments))


def pretrain_encoders(lessons: Lessons, processes: int, report: Report) -> dict[str, Tensor]:
    """Train both encoders from nothing; the same lessons give the same weights, whatever `processes` (1 or 2) is.

    Returns:
        `conv.*` and `vit.*`, as `encoders.safetensors` of a base directory holds them.

    Raises:
        TrainError: a process ended before the work was done.
    """
    if processes == 1:
        threads = torch.get_num_threads()
        try:
            with torch.random.fork_rng(devices=[]):
                return _train(lessons, 0, 1, report)
        finally:
            torch.set_num_threads(threads)
    context = torch.multiprocessing.get_context("spawn")
    with TemporaryDirectory(prefix="sphinx-x-prelude-") as folder:
        reader, writer = context.Pipe(duplex=False)
        workers = [context.Process(target=_work, args=(lessons, rank, folder, writer), daemon=True) for rank in range(HALVES)]
        try:
            for worker in workers:
                worker.start()
            writer.close()
            return _listen(reader, report)
        except EOFError:
            codes = ", ".join(str(worker.exitcode) for worker in workers)
            raise TrainError(
                f"pre-training of the encoders stopped early (exit codes {codes}); is there enough memory? Run it again."
            ) from None
        finally:
            for worker in workers:
                worker.terminate()
                worker.join()


def _listen(reader: Any, report: Report) -> dict[str, Tensor]:
    while isinstance(message := reader.recv(), int):
        report(message)
    return {name: torch.from_numpy(array) for name, array in message.items()}


def _work(lessons: Lessons, rank: int, folder: str, writer: Any) -> None:
    """One of two processes; the first reports and sends the weights."""
    rendezvous = f"file://{Path(folder) / 'rendezvous'}"
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=HALVES)
    weights = _train(lessons, rank, HALVES, writer.send if rank == 0 else lambda steps: None)
    if rank == 0:
        writer.send({name: tensor.numpy() for name, tensor in weights.items()})
    torch.distributed.barrier()


def _train(lessons: Lessons, rank: int, processes: int, report: Report) -> dict[str, Tensor]:
    """This process's halves of every batch, gradients summed over all."""
    torch.set_num_threads(1)
    torch.manual_seed(lessons.seed)
    variant, settings, parent = lessons.variant, lessons.settings, os.getppid()
    encoders, heads = Encoders(variant), Heads(variant.fused_channels)
    parameters = [*encoders.parameters(), *heads.parameters()]
    optimizers = _optimizers(encoders, heads, settings)
    halves = [half for half in range(HALVES) if half % processes == rank]
    examples = [draw_examples(variant, lessons.scene_seed, range(half, settings.scenes, HALVES)) for half in halves]
    order = np.random.default_rng([lessons.seed, 1])
    encode = inspect.unwrap(encode_views)  # the function itself, below its no_grad
    for step in range(settings.steps):
        chosen = order.integers(0, settings.scenes // HALVES, (HALVES, settings.batch_scenes // HALVES))
        shares = order.random(chosen.shape)
        for parameter in parameters:
            parameter.grad = None
        for half, drawn in zip(halves, examples, strict=True):
            batch = select(drawn, chosen[half], shares[half])
            features = encode(encoders.conv, encoders.vit, batch.conv_views, batch.vit_views)
            (heads.loss(features, batch) / HALVES).backward()
        if processes > 1:
            _sum_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * _rate(step, settings.steps)
            optimizer.step()
        if (step + 1) % _STEPS_PER_MESSAGE == 0 or step + 1 == settings.steps:
            report(step + 1)
        if os.getppid() != parent:
            raise SystemExit("the process that wanted the encoders has ended")
    return encoders.state_dict()


def _optimizers(encoders: Encoders, heads: Heads, settings: PretrainSettings) -> tuple[torch.optim.Optimizer, ...]:
    matrices = [parameter for parameter in encoders.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in encoders.parameters() if parameter.ndim != 2]
    return (
        torch.optim.Muon([{"params": matrices, "initial_lr": settings.matrix_learning_rate}], weight_decay=0.0),
        torch.optim.AdamW(
            [{"params": [*others, *heads.parameters()], "initial_lr": settings.learning_rate}], betas=(0.9, 0.98)
        ),
    )


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: warm-up, then flat, then down to nothing."""
    return min(1.0, (step + 1) / _WARMUP_STEPS, (steps - step) / (steps * _DECAY_FRACTION))


def _sum_gradients(parameters: list[nn.Parameter]) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, summed in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))
