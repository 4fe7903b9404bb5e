"""Pre-train nano's two encoders on generated scenes: each cell of a view's grid learns to tell what stands there.

A short stand-in for what CLIP and DINOv2 weights bring to the large sizes. Linear heads read the fused features and are thrown
away; no question and no language model takes part. Two processes of one thread each share every batch by halves, because two
threads gain nothing on networks this small; with one process the same halves are summed, so the weights are the same.

Shapes: V views, C cells of a view, F fused channels.
"""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.demo.cells import IGNORED, NUM_COLOURS, NUM_KINDS, NUM_LETTERS, ViewTargets, view_areas, view_targets
from model.demo.scenes import SHAPES, WORD_LETTERS, draw, make_scene
from model.errors import TrainError
from model.sphinx_x.encoders import encode_views, make_convnext, make_dinov2
from model.sphinx_x.image_processing_sphinx_x import cut_views
from model.variants import Variant

HALVES = 2
_DECAY_FRACTION = 0.4
_WARMUP_STEPS = 30
_EMPTY_WEIGHT = 0.15
_BOX_WEIGHT = 8.0
_STEPS_PER_MESSAGE = 20


@dataclass(frozen=True)
class PretrainSettings:
    """How long and how fast."""

    steps: int = 1400
    scenes: int = 4000
    """Scenes that are drawn; each is seen several times."""
    batch_scenes: int = 16
    learning_rate: float = 3e-3
    clip_norm: float = 1.0


class Examples(NamedTuple):
    """Views of scenes and the labels of their cells."""

    conv_views: Tensor
    vit_views: Tensor
    kinds: Tensor
    """[V, C]."""
    colours: Tensor
    boxes: Tensor
    """[V, C, 4], NaN where nothing stands."""
    letters: Tensor
    """[V, C, WORD_LETTERS]."""
    shape_colours: Tensor
    """[V, SHAPES]."""
    word_letters: Tensor
    """[V, WORD_LETTERS]."""
    first_views: Tensor
    """[scenes + 1]: where each scene's views begin."""


class Encoders(nn.Module):
    """Both encoders with the names that a base directory gives their tensors."""

    def __init__(self, variant: Variant):
        super().__init__()
        self.conv = make_convnext(variant.conv.name, dict(variant.conv.arguments))
        self.vit = make_dinov2(variant.vit.name, variant.geometry.vit_px, dict(variant.vit.arguments))


class Heads(nn.Module):
    """Linear read-outs of the features of a view's cells, and of its first token for the view as a whole."""

    def __init__(self, channels: int):
        super().__init__()
        self.cell_widths = (NUM_KINDS, NUM_COLOURS, 4, WORD_LETTERS * NUM_LETTERS)
        self.view_widths = (len(SHAPES) * NUM_COLOURS, WORD_LETTERS * NUM_LETTERS)
        self.cell = nn.Linear(channels, sum(self.cell_widths))
        self.view = nn.Linear(channels, sum(self.view_widths))

    def read(self, features: Tensor) -> tuple[Tensor, ...]:
        """Features [V, 1 + C, F] to kinds, colours, boxes, letters of cells, and colours by shape, letters of views."""
        kinds, colours, boxes, letters = self.cell(features[:, 1:]).split(self.cell_widths, dim=-1)
        shape_colours, word_letters = self.view(features[:, 0]).split(self.view_widths, dim=-1)
        by_letter = (WORD_LETTERS, NUM_LETTERS)
        by_shape = shape_colours.unflatten(-1, (len(SHAPES), NUM_COLOURS))
        return kinds, colours, boxes, letters.unflatten(-1, by_letter), by_shape, word_letters.unflatten(-1, by_letter)

    def loss(self, features: Tensor, examples: Examples) -> Tensor:
        """Sum of the tasks' mean losses."""
        kinds, colours, boxes, letters, shape_colours, word_letters = self.read(features)
        something = examples.kinds > 0
        return (
            _mean_loss(kinds, examples.kinds, _EMPTY_WEIGHT)
            + _mean_loss(colours, examples.colours, _EMPTY_WEIGHT)
            + _BOX_WEIGHT * F.smooth_l1_loss(boxes[something], examples.boxes[something], beta=0.05)
            + _mean_loss(letters, examples.letters)
            + _mean_loss(shape_colours, examples.shape_colours, _EMPTY_WEIGHT)
            + _mean_loss(word_letters, examples.word_letters)
        )


def _mean_loss(logits: Tensor, labels: Tensor, weight_of_zero: float = 1.0) -> Tensor:
    """Mean cross-entropy over labels that count, 0 where none does; class 0 is the most frequent and may count less."""
    weights = torch.ones(logits.shape[-1])
    weights[0] = weight_of_zero
    losses = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), weights, ignore_index=IGNORED, reduction="sum")
    counted = labels[labels != IGNORED]
    return losses / weights[counted].sum().clamp(min=1)


def pretrain_encoders(
    variant: Variant,
    scene_seed: int,
    seed: int,
    settings: PretrainSettings,
    processes: int,
    progress: Callable[[int, int, str], None],
) -> dict[str, Tensor]:
    """Train both encoders from nothing; the same arguments give the same weights, whatever `processes` is.

    Returns:
        `conv.*` and `vit.*`, as `encoders.safetensors` of a base directory holds them.

    Raises:
        TrainError: a process ended before the work was done.
    """
    context = torch.multiprocessing.get_context("spawn")
    with TemporaryDirectory(prefix="sphinx-x-prelude-") as folder:
        workers: list[SpawnProcess] = []
        readers: list[Connection] = []
        try:
            for rank in range(processes):
                reader, writer = context.Pipe(duplex=False)
                job = (variant, scene_seed, seed, settings, rank, processes, folder, writer)
                workers.append(context.Process(target=_work, args=job, daemon=True))
                readers.append(reader)
                workers[-1].start()
                writer.close()
            return _results(readers, workers, settings.steps, progress)
        finally:
            for worker in workers:
                worker.terminate()
                worker.join()


def _results(readers: list, workers: list, steps: int, progress: Callable[[int, int, str], None]) -> dict[str, Tensor]:
    """Listen to rank 0, and to the others for their end."""
    while True:
        for reader in wait(readers):
            try:
                message = reader.recv()  # type: ignore[union-attr]
            except EOFError:
                codes = [worker.exitcode for worker in workers]
                raise TrainError(
                    f"pre-training of the encoders stopped early (exit codes {codes}); is there enough memory? Run it again."
                ) from None
            if isinstance(message, dict):
                return {name: torch.from_numpy(array) for name, array in message.items()}
            progress(message, steps, "pre-training the encoders")


def _work(
    variant: Variant,
    scene_seed: int,
    seed: int,
    settings: PretrainSettings,
    rank: int,
    processes: int,
    folder: str,
    writer: Any,
) -> None:
    """One process: its halves of every batch, gradients summed over all."""
    torch.set_num_threads(1)
    parent = os.getppid()
    if processes > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{Path(folder) / 'rendezvous'}", rank=rank, world_size=processes
        )
    torch.manual_seed(seed)
    encoders = Encoders(variant)
    heads = Heads(variant.fused_channels)
    parameters = [*encoders.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, betas=(0.9, 0.98))
    halves = [half for half in range(HALVES) if half % processes == rank]
    examples = [draw_examples(variant, scene_seed, range(half, settings.scenes, HALVES)) for half in halves]
    order = np.random.default_rng([seed, 1])
    encode = inspect.unwrap(encode_views)  # the function itself, below its no_grad
    for step in range(settings.steps):
        chosen = order.integers(0, settings.scenes // HALVES, (HALVES, settings.batch_scenes // HALVES))
        shares = order.random(chosen.shape)
        optimizer.zero_grad()
        for half, drawn in zip(halves, examples, strict=True):
            batch = select(drawn, chosen[half], shares[half])
            features = encode(encoders.conv, encoders.vit, batch.conv_views, batch.vit_views)
            (heads.loss(features, batch) / HALVES).backward()
        if processes > 1:
            _sum_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate(step, settings.steps)
        optimizer.step()
        if rank == 0 and ((step + 1) % _STEPS_PER_MESSAGE == 0 or step + 1 == settings.steps):
            writer.send(step + 1)
        if os.getppid() != parent:
            return
    if rank == 0:
        writer.send({name: tensor.numpy() for name, tensor in encoders.state_dict().items()})
    if processes > 1:
        torch.distributed.barrier()


def draw_examples(variant: Variant, scene_seed: int, indices: range) -> Examples:
    """Draw scenes, cut them into views and label the cells of each real view."""
    geometry = variant.geometry
    labels = [field.name for field in fields(ViewTargets)]
    parts: list[list[np.ndarray]] = [[] for _ in ("conv", "vit", *labels)]
    first_views = [0]
    for index in indices:
        scene = make_scene(scene_seed, index)
        views = cut_views(draw(scene), geometry.grid, geometry.conv_px, geometry.vit_px)
        areas = view_areas(scene.width, scene.height, geometry.grid)
        kept = [area for area, keep in zip(areas, views.kept, strict=True) if keep]
        targets = [view_targets(scene, area, geometry.cells_per_side) for area in kept]
        rows = (views.conv, views.vit, *(np.stack([getattr(target, name) for target in targets]) for name in labels))
        for part, row in zip(parts, rows, strict=True):
            part.append(row)
        first_views.append(first_views[-1] + len(kept))
    return Examples(*(torch.from_numpy(np.concatenate(part)) for part in parts), torch.tensor(first_views))


def select(examples: Examples, scenes: np.ndarray, shares: np.ndarray) -> Examples:
    """Of each scene the global view and, where there are sub-images, one of them.

    Args:
        scenes: numbers of scenes.
        shares: for each, in 0..1: which of its sub-images.
    """
    starts, ends = examples.first_views[scenes], examples.first_views[scenes + 1]
    parts = starts + 1 + (torch.from_numpy(shares) * (ends - starts - 1)).long()
    rows = torch.cat([starts, parts[parts < ends]])
    return Examples(*(tensor[rows] for tensor in examples[:-1]), examples.first_views)


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: warm-up, then flat, then down to nothing."""
    return min(1.0, (step + 1) / _WARMUP_STEPS, (steps - step) / (steps * _DECAY_FRACTION))


def _sum_gradients(parameters: list[nn.Parameter]) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, summed in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))
