"""What the encoders are taught from: views of scenes with labels, and linear heads that must read the labels off the features.

Shapes: V views, C cells of a view, F fused channels.
"""

from dataclasses import fields
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.demo.cells import IGNORED, NUM_COLOURS, NUM_KINDS, NUM_LETTERS, ViewTargets, view_areas, view_targets
from model.demo.scenes import WORD_LETTERS, draw, make_scene
from model.sphinx_x.image_processing_sphinx_x import cut_views
from model.variants import Variant

NUM_MARKS = 33
"""Marks along a view that a box's edge is told by: it lies between two of them, as a share of each. A language model reads such a
code off with one matrix, where a bare number would need a curve for each of its hundred coordinates."""
_EMPTY_WEIGHT = 0.15
"""Most cells are empty; their loss counts less."""
_KIND_WEIGHT = 2.0


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
    word_letters: Tensor
    """[V, WORD_LETTERS]."""
    first_views: Tensor
    """[scenes + 1]: where each scene's views begin."""


class Heads(nn.Module):
    """Linear read-outs of the features of a view's cells, and of its first token for the view as a whole."""

    def __init__(self, channels: int):
        super().__init__()
        self.cell_widths = (NUM_KINDS, NUM_COLOURS, 4 * NUM_MARKS, WORD_LETTERS * NUM_LETTERS)
        self.cell = nn.Linear(channels, sum(self.cell_widths))
        self.view = nn.Linear(channels, WORD_LETTERS * NUM_LETTERS)

    def read(self, features: Tensor) -> tuple[Tensor, ...]:
        """Features [V, 1 + C, F] to kinds, colours, edges and letters of cells, and letters of views."""
        kinds, colours, edges, letters = self.cell(features[:, 1:]).split(self.cell_widths, dim=-1)
        by_letter = (WORD_LETTERS, NUM_LETTERS)
        words = self.view(features[:, 0]).unflatten(-1, by_letter)
        return kinds, colours, edges.unflatten(-1, (4, NUM_MARKS)), letters.unflatten(-1, by_letter), words

    def loss(self, features: Tensor, examples: Examples) -> Tensor:
        """Sum of the tasks' mean losses."""
        kinds, colours, edges, letters, word_letters = self.read(features)
        something = examples.kinds > 0
        return (
            _KIND_WEIGHT * _mean_loss(kinds, examples.kinds, _EMPTY_WEIGHT)
            + _mean_loss(colours, examples.colours, _EMPTY_WEIGHT)
            - (_between_marks(examples.boxes[something]) * edges[something].log_softmax(-1)).sum(-1).mean()
            + _mean_loss(letters, examples.letters)
            + _mean_loss(word_letters, examples.word_letters)
        )


def _between_marks(edges: Tensor) -> Tensor:
    """Edges [..., 4] in 0..1 to shares [..., 4, NUM_MARKS] of the two marks that each lies between."""
    place = edges.clamp(0, 1) * (NUM_MARKS - 1)
    lower = place.floor().clamp(max=NUM_MARKS - 2).long()
    share = (place - lower)[..., None]
    shares = torch.zeros(*edges.shape, NUM_MARKS)
    return shares.scatter(-1, lower[..., None], 1 - share).scatter(-1, lower[..., None] + 1, share)


def _mean_loss(logits: Tensor, labels: Tensor, weight_of_zero: float = 1.0) -> Tensor:
    """Mean cross-entropy over labels that count, 0 where none does; class 0 is the most frequent and may count less."""
    weights = torch.ones(logits.shape[-1])
    weights[0] = weight_of_zero
    losses = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), weights, ignore_index=IGNORED, reduction="sum")
    counted = labels[labels != IGNORED]
    return losses / weights[counted].sum().clamp(min=1)


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
    return Examples._make([*(torch.from_numpy(np.concatenate(part)) for part in parts), torch.tensor(first_views)])


def select(examples: Examples, scenes: np.ndarray, shares: np.ndarray) -> Examples:
    """Of each scene the global view and, where there are sub-images, one of them.

    Args:
        scenes: numbers of scenes.
        shares: for each, in 0..1: which of its sub-images.
    """
    starts, ends = examples.first_views[scenes], examples.first_views[scenes + 1]
    parts = starts + 1 + (torch.from_numpy(shares) * (ends - starts - 1)).long()
    rows = torch.cat([starts, parts[parts < ends]])
    return Examples._make([*(tensor[rows] for tensor in examples[:-1]), examples.first_views])
