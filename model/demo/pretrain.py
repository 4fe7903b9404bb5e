"""Pre-train nano's two encoders on generated scenes: each cell of a view's grid learns to tell what stands there.

A short stand-in for what CLIP and DINOv2 weights bring to the large sizes. Linear heads read the fused features and are thrown
away; no question and no language model takes part. Two processes of one thread each share every batch by halves, because two
threads gain nothing on networks this small; with one process the same halves are summed, so the weights are the same.

Shapes: V views, C cells of a view, F fused channels.
"""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.demo.cells import IGNORED, NUM_COLOURS, NUM_KINDS, NUM_LETTERS, cell_targets, view_areas
from model.demo.scenes import WORD_LETTERS, draw, make_scene
from model.errors import TrainError
from model.sphinx_x.encoders import encode_views, make_convnext, make_dinov2
from model.sphinx_x.image_processing_sphinx_x import cut_views
from model.variants import Variant

HALVES = 2
_DECAY_FRACTION = 0.4
_WARMUP_STEPS = 30
_EMPTY_CELL_WEIGHT = 0.15
_BOX_WEIGHT = 8.0


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
    first_views: Tensor
    """[scenes + 1]: where each scene's views begin."""


class Encoders(nn.Module):
    """Both encoders with the names that a base directory gives their tensors."""

    def __init__(self, variant: Variant):
        super().__init__()
        self.conv = make_convnext(variant.conv.name, dict(variant.conv.arguments))
        self.vit = make_dinov2(variant.vit.name, variant.geometry.vit_px, dict(variant.vit.arguments))


class CellHeads(nn.Module):
    """Linear read-outs of a cell's features."""

    def __init__(self, channels: int):
        super().__init__()
        self.widths = (NUM_KINDS, NUM_COLOURS, 4, WORD_LETTERS * NUM_LETTERS)
        self.read = nn.Linear(channels, sum(self.widths))

    def loss(self, cells: Tensor, examples: Examples) -> Tensor:
        """Sum of the four tasks' mean losses; cells [V, C, F]."""
        kinds, colours, boxes, letters = self.read(cells).split(self.widths, dim=-1)
        something = examples.kinds > 0
        read = examples.letters != IGNORED
        loss = F.cross_entropy(kinds.flatten(0, 1), examples.kinds.flatten(), _weights(NUM_KINDS))
        loss = loss + F.cross_entropy(colours.flatten(0, 1), examples.colours.flatten(), _weights(NUM_COLOURS))
        loss = loss + _BOX_WEIGHT * F.smooth_l1_loss(boxes[something], examples.boxes[something], beta=0.05)
        if bool(read.any()):
            loss = loss + F.cross_entropy(letters.unflatten(-1, (WORD_LETTERS, NUM_LETTERS))[read], examples.letters[read])
        return loss


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
    heads = CellHeads(variant.fused_channels)
    parameters = [*encoders.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, betas=(0.9, 0.98))
    halves = [half for half in range(HALVES) if half % processes == rank]
    examples = [draw_examples(variant, scene_seed, range(half, settings.scenes, HALVES)) for half in halves]
    order = np.random.default_rng([seed, 1])
    encode = inspect.unwrap(encode_views)  # the function itself, below its no_grad
    for step in range(settings.steps):
        chosen = order.integers(0, settings.scenes // HALVES, (HALVES, settings.batch_scenes // HALVES))
        optimizer.zero_grad()
        for half, drawn in zip(halves, examples, strict=True):
            batch = select(drawn, torch.from_numpy(chosen[half]))
            features = encode(encoders.conv, encoders.vit, batch.conv_views, batch.vit_views)
            (heads.loss(features[:, 1:], batch) / HALVES).backward()
        if processes > 1:
            _sum_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate(step, settings.steps)
        optimizer.step()
        if rank == 0 and (step + 1) % 20 == 0:
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
    parts: list[list[np.ndarray]] = [[] for _ in range(6)]
    first_views = [0]
    for index in indices:
        scene = make_scene(scene_seed, index)
        views = cut_views(draw(scene), geometry.grid, geometry.conv_px, geometry.vit_px)
        areas = view_areas(scene.width, scene.height, geometry.grid)
        kept = [area for area, keep in zip(areas, views.kept, strict=True) if keep]
        targets = [cell_targets(scene, area, geometry.cells_per_side) for area in kept]
        rows = (
            views.conv,
            views.vit,
            *(np.stack([getattr(target, name) for target in targets]) for name in ("kinds", "colours", "boxes", "letters")),
        )
        for part, row in zip(parts, rows, strict=True):
            part.append(row)
        first_views.append(first_views[-1] + len(kept))
    return Examples(*(torch.from_numpy(np.concatenate(part)) for part in parts), torch.tensor(first_views))


def select(examples: Examples, scenes: Tensor) -> Examples:
    """The views of some scenes."""
    starts, ends = examples.first_views[scenes], examples.first_views[scenes + 1]
    rows = torch.cat([torch.arange(int(start), int(end)) for start, end in zip(starts, ends, strict=True)])
    return Examples(*(tensor[rows] for tensor in examples[:-1]), examples.first_views)


def _weights(classes: int) -> Tensor:
    """Most cells are empty: their loss counts less."""
    weights = torch.ones(classes)
    weights[0] = _EMPTY_CELL_WEIGHT
    return weights


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: warm-up, then flat, then down to nothing."""
    return min(1.0, (step + 1) / _WARMUP_STEPS, (steps - step) / (steps * _DECAY_FRACTION))


def _sum_gradients(parameters: list[nn.Parameter]) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, summed in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))
