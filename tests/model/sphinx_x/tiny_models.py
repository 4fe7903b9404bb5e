"""Tiny members of the family with random weights, samples with pictures, and the pack and the padded batch of the same samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch

from model.build import build_model
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from model.sphinx_x.views import SKIP_ID, VIEW_ID
from model.variants import LanguageShape, Variant
from tests.support.variants import NANO

KINDS = ("llama", "mixtral")
VOCAB = 300
BOS = 1
FULL = (True,) * 5
WIDE = (True, True, True, False, False)


def tiny_variant(kind: str, vocab: int = VOCAB) -> Variant:
    experts = {"experts": 4, "active_experts": 2} if kind == "mixtral" else {}
    language = LanguageShape.model_validate(
        {"kind": kind, "hidden": 64, "layers": 2, "heads": 4, "kv_heads": 2, "ffn": 96, "vocab": vocab, "max_positions": 512}
        | experts
    )
    return NANO.model_copy(update={"language": language})


@cache
def tiny_model(kind: str, vocab: int = VOCAB) -> SphinxXForConditionalGeneration:
    """A model whose attention and answers depend on what it reads; shared, so tests leave its weights alone."""
    model = build_model(tiny_variant(kind, vocab), None, seed=3, balance_loss_weight=0.01)
    with torch.no_grad():
        for parameter in model.language.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model.eval()


@dataclass
class TinySample:
    """Text tokens after BOS with their supervision, and the pictures' kept views with their pixels."""

    text: list[int]
    supervised: list[bool]
    kept: list[tuple[bool, ...]]
    conv_views: torch.Tensor
    vit_views: torch.Tensor

    def ids(self, per_view: int) -> list[int]:
        places = [id for views in self.kept for keep in views for id in ([VIEW_ID] * per_view if keep else [SKIP_ID])]
        return [BOS, *places, *self.text]

    def labels(self, per_view: int) -> list[int]:
        labels = [id if counts else -100 for id, counts in zip(self.text, self.supervised, strict=True)]
        return [-100] * (len(self.ids(per_view)) - len(labels)) + labels


def tiny_sample(seed: int, num_text: int, kept: Sequence[tuple[bool, ...]] = ()) -> TinySample:
    draw = torch.Generator().manual_seed(seed)
    views = sum(sum(one) for one in kept)
    geometry = NANO.geometry

    def pixels(side_px: int) -> torch.Tensor:
        return torch.randint(0, 256, (views, 3, side_px, side_px), generator=draw, dtype=torch.uint8)

    text = torch.randint(3, VOCAB, (num_text,), generator=draw).tolist()
    supervised = (torch.rand(num_text, generator=draw) < 0.5).tolist()
    return TinySample(text, supervised, list(kept), pixels(geometry.conv_px), pixels(geometry.vit_px))


def mixed_samples() -> list[TinySample]:
    """Text only, one picture, one with skip tokens, two pictures, a single token."""
    return [
        tiny_sample(1, 9),
        tiny_sample(2, 14, [FULL]),
        tiny_sample(3, 1),
        tiny_sample(4, 6, [WIDE]),
        tiny_sample(5, 11, [WIDE, FULL]),
        tiny_sample(6, 5, [(True, False, True, False, True)]),
    ]


def make_pack(samples: Sequence[TinySample], model: SphinxXForConditionalGeneration, **changes: Any) -> Any:
    """The samples as one pack, in the shape of `modeling_sphinx_x.Pack`."""
    per_view = model.config.tokens_per_view
    rows = [torch.tensor(sample.ids(per_view)) for sample in samples]
    ids = torch.cat(rows)
    views = ids == VIEW_ID
    # Views lie side by side, so a view starts at each `per_view`-th of the view positions.
    starts = views.nonzero().squeeze(1)[::per_view]
    bounds = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0).int()
    conv, vit = (torch.cat([getattr(sample, name) for sample in samples]) for name in ("conv_views", "vit_views"))
    fields = {
        "input_ids": ids,
        "labels": torch.tensor([label for sample in samples for label in sample.labels(per_view)]),
        "position_ids": torch.cat([torch.arange(len(row)) for row in rows]),
        "cu_seqlens": bounds,
        "view_starts": starts,
        "skip_positions": (ids == SKIP_ID).nonzero().squeeze(1),
        "conv_views": conv if len(conv) else None,
        "vit_views": vit if len(vit) else None,
        "features": None,
        "max_seqlen": max(len(row) for row in rows),
    }
    return SimpleNamespace(**fields | changes)


def prompt_tensors(samples: Sequence[TinySample], per_view: int) -> dict[str, torch.Tensor]:
    """The samples as a left-padded batch, as the processor makes it."""
    rows = [sample.ids(per_view) for sample in samples]
    width = max(len(row) for row in rows)
    tensors = {
        "input_ids": torch.tensor([[2] * (width - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows]),
    }
    views = {name: torch.cat([getattr(sample, name) for sample in samples]) for name in ("conv_views", "vit_views")}
    return tensors | (views if len(views["conv_views"]) else {})
