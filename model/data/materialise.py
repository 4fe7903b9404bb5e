"""Materialise: the tensors of a planned pack, out of the bytes of its samples. Planned length is materialised length, or it stops.

A sample is [BOS][each view of each picture: its tokens, or one skip token][text]. Positions of views and skip tokens hold BOS as
a valid id that the model overwrites. An empty pack becomes one unsupervised BOS, so that every rank runs the same graph.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from model.contracts.corpus import Picture, Sample
from model.data.steps import PackRef, SampleRef
from model.errors import DataError
from model.sphinx_x.dialogue import encode_dialogue
from model.sphinx_x.image_processing_sphinx_x import Views, cut_views, open_picture
from model.sphinx_x.pieces import Pieces
from model.sphinx_x.views import kept_views
from model.variants import ViewGeometry

IGNORED = -100
"""Label of a token that the loss does not count."""


@dataclass(frozen=True, eq=False)
class PackBatch:
    """A pack as the model takes it (`model.sphinx_x.modeling_sphinx_x.Pack`). T positions, V real views, S supervised tokens."""

    input_ids: Tensor
    """[T] int64"""
    labels: Tensor
    """[T] int64, `IGNORED` where not supervised."""
    position_ids: Tensor
    """[T] int64, from 0 in each sample."""
    cu_seqlens: Tensor
    """[samples + 1] int32"""
    view_starts: Tensor
    """[V] int64, position of the start tag of each real view."""
    skip_positions: Tensor
    """[K] int64"""
    supervised_datasets: Tensor
    """[S] int64: place in the plan's `dataset_names`, in the order of the model's `token_losses`."""
    supervised_tasks: Tensor
    """[S] int64: place in the plan's `task_names`."""
    conv_views: Tensor | None
    """[V, 3, conv_px, conv_px] uint8; None without views, or with `features`."""
    vit_views: Tensor | None
    """[V, 3, vit_px, vit_px] uint8"""
    features: Tensor | None
    """[V, P, C] of the frozen encoders, instead of the views."""
    max_seqlen: int
    """Length of the longest sample."""
    samples: int
    """0 for an empty pack."""

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "PackBatch":
        """The same on a device; copies run beside the computation where the memory is pinned."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pinned(self) -> "PackBatch":
        """The same in page-locked memory."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "PackBatch":
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in tensors.items() if isinstance(value, Tensor)})


@dataclass(frozen=True, eq=False)
class SamplePart:
    """One sample of a pack; positions count from its own start."""

    ids: np.ndarray
    labels: np.ndarray
    view_starts: np.ndarray
    skip_positions: np.ndarray
    dataset: int
    task: int
    views: tuple[Views, ...] = ()
    features: tuple[Tensor, ...] = ()


Encode = Callable[[Picture, bytes], Tensor]
"""Features [V, P, C] of one picture, in place of its views."""


def materialise_sample(
    ref: SampleRef,
    sample: Sample,
    pictures: Sequence[bytes],
    pieces: Pieces,
    geometry: ViewGeometry,
    padding: str,
    labels_of: tuple[int, int] = (0, 0),
    features_of: Encode | None = None,
) -> SamplePart:
    """Tokens, labels and views of one sample.

    Args:
        labels_of: Places of its dataset and its task, for losses by source.
        features_of: Gives a picture's features; without it the part holds the views.

    Raises:
        DataError: a picture cannot be decoded or has another size than recorded, or the sample is not as long as planned.
    """
    turns = ((turn.question, turn.answer, turn.supervised) for turn in sample.turns[: ref.turns])
    dialogue = encode_dialogue(pieces.encode_text, turns, pieces.bos_id)
    kept = [keep for one in sample.pictures for keep in kept_views(one.width_px, one.height_px, geometry.grid, padding)]
    lengths = np.where(kept, geometry.tokens_per_view, 1)
    ends = 1 + np.cumsum(lengths, dtype=np.int64)
    starts = ends - lengths
    num_picture_tokens = int(lengths.sum())
    ids = np.full(num_picture_tokens + len(dialogue.ids), pieces.bos_id, np.int64)
    ids[1 + num_picture_tokens :] = dialogue.ids[1:]
    labels = np.full(len(ids), IGNORED, np.int64)
    labels[1 + num_picture_tokens :] = np.where(dialogue.supervised[1:], dialogue.ids[1:], IGNORED)
    real = np.array(kept, bool)
    found = (len(ids), int((labels != IGNORED).sum()), int(real.sum()))
    planned = (ref.tokens, ref.supervised_tokens, ref.real_views)
    if found != planned:
        raise DataError(
            f"sample {sample.id} has {found} tokens, supervised tokens and views, {planned} were planned; "
            "its shard or the kept lengths are of another corpus: delete the store's lengths folder and run again."
        )
    views: tuple[Views, ...] = ()
    features: tuple[Tensor, ...] = ()
    if features_of is None:
        views = tuple(picture_views(sample.id, *one, geometry, padding) for one in zip(sample.pictures, pictures, strict=True))
    else:
        features = tuple(features_of(*one) for one in zip(sample.pictures, pictures, strict=True))
    return SamplePart(ids, labels, starts[real], starts[~real], *labels_of, views, features)


def picture_views(sample_id: str, picture: Picture, data: bytes, geometry: ViewGeometry, padding: str) -> Views:
    """The real views of a picture.

    Raises:
        DataError: its bytes are damaged, cannot be decoded, or show another size than recorded.
    """
    if hashlib.sha256(data).hexdigest() != picture.sha256:
        raise DataError(
            f"the bytes of picture {picture.file} of sample {sample_id} are damaged; run unify on its dataset again."
        )
    try:
        image = open_picture(data, picture.upright)
    except ValueError as error:
        raise DataError(f"picture {picture.file} of sample {sample_id}: {error}; run unify on its dataset again.") from error
    if image.size != (picture.width_px, picture.height_px):
        raise DataError(
            f"picture {picture.file} of sample {sample_id} is {image.width} x {image.height} pixels, "
            f"{picture.width_px} x {picture.height_px} are recorded; run unify on its dataset again."
        )
    return cut_views(image, geometry.grid, geometry.conv_px, geometry.vit_px, padding)


def assemble_pack(pack: PackRef, parts: Sequence[SamplePart], pieces: Pieces) -> PackBatch:
    """Join the samples of a pack; none for an empty pack."""
    assert len(parts) == len(pack.samples)
    empty = np.zeros(0, np.int64)
    token = np.array([pieces.bos_id], np.int64)
    parts = parts or [SamplePart(token, np.full(1, IGNORED, np.int64), empty, empty, 0, 0)]
    lengths = np.array([len(part.ids) for part in parts])
    ends = np.cumsum(lengths)
    starts = ends - lengths
    supervised = [int((part.labels != IGNORED).sum()) for part in parts]
    views = [view for part in parts for view in part.views]
    features = [feature for part in parts for feature in part.features]

    def joined(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays).astype(np.int64, copy=False))

    return PackBatch(
        input_ids=joined([part.ids for part in parts]),
        labels=joined([part.labels for part in parts]),
        position_ids=joined([np.arange(length) for length in lengths]),
        cu_seqlens=torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32)),
        view_starts=joined([part.view_starts + start for part, start in zip(parts, starts, strict=True)]),
        skip_positions=joined([part.skip_positions + start for part, start in zip(parts, starts, strict=True)]),
        supervised_datasets=joined([np.full(count, part.dataset) for part, count in zip(parts, supervised, strict=True)]),
        supervised_tasks=joined([np.full(count, part.task) for part, count in zip(parts, supervised, strict=True)]),
        conv_views=torch.from_numpy(np.concatenate([view.conv for view in views])) if views else None,
        vit_views=torch.from_numpy(np.concatenate([view.vit for view in views])) if views else None,
        features=torch.cat(features) if features else None,
        max_seqlen=int(lengths.max()),
        samples=len(pack.samples),
    )
