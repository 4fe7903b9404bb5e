"""Packs of a step for tests of the engine: very unequal numbers of supervised tokens, pictures here and there, one empty."""

import torch

from model.data.materialise import PackBatch
from model.variants import variant_named

SUPERVISED = (61, 1, 17, 0)
"""Supervised tokens of the four packs of a step; the last one is empty."""
FILLED = 3
"""Packs of a step that hold a sample."""
MIXED = (2, 0, 1, 0)
"""Pictures of the four packs."""


def make_pack(supervised: int, num_pictures: int, seed: int) -> PackBatch:
    """A pack of one sample (none for 0 supervised tokens) with random text and views; pictures have a skipped view each."""
    draw = torch.Generator().manual_seed(seed)
    variant = variant_named("nano")
    per_view = variant.geometry.tokens_per_view
    view_starts = [1 + picture * (2 * per_view + 1) + view * per_view for picture in range(num_pictures) for view in range(2)]
    skips = [1 + picture * (2 * per_view + 1) + 2 * per_view for picture in range(num_pictures)]
    length = 1 + num_pictures * (2 * per_view + 1) + supervised + 5 if supervised else 1
    ids = torch.randint(3, variant.language.vocab, (length,), generator=draw)
    labels = torch.full_like(ids, -100)
    labels[length - supervised :] = ids[length - supervised :] if supervised else labels[length:]
    places = torch.zeros(supervised, dtype=torch.long)

    def views(side_px: int) -> torch.Tensor | None:
        if not num_pictures:
            return None
        return torch.randint(0, 256, (2 * num_pictures, 3, side_px, side_px), generator=draw, dtype=torch.uint8)

    return PackBatch(
        input_ids=ids,
        labels=labels,
        position_ids=torch.arange(length),
        cu_seqlens=torch.tensor([0, length], dtype=torch.int32),
        view_starts=torch.tensor(view_starts, dtype=torch.long),
        skip_positions=torch.tensor(skips, dtype=torch.long),
        supervised_datasets=places,
        supervised_tasks=places,
        conv_views=views(variant.geometry.conv_px),
        vit_views=views(variant.geometry.vit_px),
        features=None,
        max_seqlen=length,
        samples=int(supervised > 0),
    )


def packs_of_step(step: int, pictures: tuple[int, ...]) -> list[PackBatch]:
    return [make_pack(count, shown, 100 * step + n) for n, (count, shown) in enumerate(zip(SUPERVISED, pictures, strict=True))]
