"""The trainer's way against the original's, on the same samples and weights: packs, skip tokens and a head on supervised tokens alone,
against every view encoded, one padded sample a row and the whole vocabulary at every text position. Forward and backward pass.

    python bench/original_way.py         a small member, float32, seconds of processor time in one thread
    python bench/original_way.py tiny    on a GPU: that variant at its own size, random weights, bfloat16, seconds of the GPU's work

Half of the samples are text only, a third wide or tall pictures, a sixth square ones. The model is a small member of the family whose
parts cost in proportion what they cost in `tiny` (see `small_member`); its texts are a quarter as long as usual ones, as a view has a
quarter of the tokens. The original's rows are batches of four of one kind, text or picture, three times: sorted by length and padded to
the longest of the batch, as its sampler and its model do; padded so in the order in which they were drawn; and padded to `max_words`,
where its collate function leaves them before the model cuts them. Ways take turns.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.build import build_model
from model.data.flops import train_flops
from model.data.materialise import IGNORED, PackBatch, SamplePart, assemble_pack
from model.data.packing import best_fit
from model.data.steps import PackRef, SampleRef
from model.sphinx_x.image_processing_sphinx_x import Views
from model.sphinx_x.views import kept_views
from model.variants import LanguageShape, Variant, ViewGeometry, variant_named

NUM_SAMPLES, ROUNDS, ROWS_PER_BATCH = 48, 5, 4
VIEWS_PER_PACK = 15
SIZES_PX = {"wide or tall": ((1920, 900), (800, 400), (400, 900)), "square": ((512, 512), (640, 480))}
BOS = 1


def small_member() -> Variant:
    """A view costs 1.3 times the FLOPs in the encoders that its tokens cost in the language model (tiny: 1.45), and the head 7 % of
    the layers' FLOPs for a token (tiny: 7 %)."""
    nano = variant_named("nano")
    conv = nano.conv.model_copy(update={"channels": 224, "arguments": {"depths": [1, 1, 2, 1], "dims": [28, 56, 112, 224]}})
    language = LanguageShape(hidden=256, layers=1, heads=8, kv_heads=2, ffn=704, vocab=192, max_positions=2048)
    return nano.model_copy(
        update={"geometry": ViewGeometry(grid=2, conv_px=256, vit_px=112), "conv": conv, "language": language}
    )


@dataclass(frozen=True)
class Setup:
    """What is trained, where, and how long its texts, packs and rows are."""

    variant: Variant
    device: torch.device
    shorter: int
    """Texts, packs and rows are so many times shorter than usual."""

    @property
    def tokens_per_pack(self) -> int:
        return 4096 // self.shorter

    @property
    def max_words(self) -> int:
        """2048 positions of a row are SPHINX-Tiny's."""
        return 2048 // self.shorter

    def seconds(self) -> float:
        """A clock: of the processor, or of the GPU when all it was given is done."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


SETUP = (
    Setup(variant_named(sys.argv[1]), torch.device("cuda"), 1)
    if len(sys.argv) > 1
    else Setup(small_member(), torch.device("cpu"), 4)
)
VARIANT, DEVICE = SETUP.variant, SETUP.device


@dataclass(frozen=True)
class Drawn:
    """A sample: its text after BOS, which of it is supervised, and the five views of its picture if it has one."""

    text: np.ndarray
    supervised: np.ndarray
    kept: tuple[bool, ...]
    conv: np.ndarray
    vit: np.ndarray

    @property
    def tokens(self) -> int:
        per_view = VARIANT.geometry.tokens_per_view
        return 1 + len(self.text) + sum(per_view if keep else 1 for keep in self.kept)


@dataclass
class Cost:
    """What one way took for all samples."""

    views: int = 0
    positions: int = 0
    logits: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"encoders": 0.0, "language": 0.0})
    loss: float = 0.0

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def draw_samples(seed: int) -> list[Drawn]:
    draw = np.random.default_rng(seed)
    kinds = ["text"] * (NUM_SAMPLES // 2) + ["wide or tall"] * (NUM_SAMPLES // 3) + ["square"] * (NUM_SAMPLES // 6)
    samples = []
    for number in draw.permutation(len(kinds)):
        kind = kinds[number]
        turns = draw.integers(1, 4) if kind == "text" else 1
        length = int(np.clip(draw.lognormal(4.4, 0.9, turns), 12, 1400).sum() + 40) // SETUP.shorter
        kept: tuple[bool, ...] = ()
        if kind != "text":
            width_px, height_px = SIZES_PX[kind][number % len(SIZES_PX[kind])]
            kept = kept_views(width_px, height_px, VARIANT.geometry.grid)
        sides_px = (VARIANT.geometry.conv_px, VARIANT.geometry.vit_px)
        conv, vit = (draw.integers(0, 256, (len(kept), 3, side, side), dtype=np.uint8) for side in sides_px)
        text = draw.integers(3, VARIANT.language.vocab, length)
        samples.append(Drawn(text, np.arange(length) >= length // 2, kept, conv, vit))
    return samples


def make_packs(samples: Sequence[Drawn]) -> list[PackBatch]:
    """Best fit and the trainer's own assembly."""
    tokens = np.array([sample.tokens for sample in samples], np.int32)
    views = np.array([sum(sample.kept) for sample in samples], np.int32)
    places, num_packs = best_fit(tokens, views, SETUP.tokens_per_pack, VIEWS_PER_PACK)
    pieces: Any = SimpleNamespace(bos_id=BOS)
    packs = []
    for number in range(num_packs):
        chosen = [samples[int(row)] for row in np.flatnonzero(places == number)]
        refs = PackRef(tuple(SampleRef(0, 1, one.tokens, int(one.supervised.sum()), sum(one.kept), 0) for one in chosen))
        packs.append(assemble_pack(refs, [as_part(one) for one in chosen], pieces))
    return packs


def as_part(sample: Drawn) -> SamplePart:
    lengths = np.where(sample.kept, VARIANT.geometry.tokens_per_view, 1).astype(np.int64)
    starts, real = 1 + np.cumsum(lengths) - lengths, np.array(sample.kept, bool)
    ids = np.full(sample.tokens, BOS, np.int64)
    ids[len(ids) - len(sample.text) :] = sample.text
    labels = np.full(len(ids), IGNORED, np.int64)
    labels[len(ids) - len(sample.text) :] = np.where(sample.supervised, sample.text, IGNORED)
    views = (Views(sample.conv[real], sample.vit[real], sample.kept),) if sample.kept else ()
    return SamplePart(ids, labels, starts[real], starts[~real], 0, 0, views)


def trainers_way(model: Any, packs: Sequence[PackBatch]) -> Cost:
    cost = Cost()
    for pack in packs:
        pack = pack.to(DEVICE)
        started = SETUP.seconds()
        if pack.conv_views is not None:
            features = model.encode_views(pack.conv_views, pack.vit_views)
            pack = replace(pack, features=features, conv_views=None, vit_views=None)
        encoded = SETUP.seconds()
        outcome = model.forward_packed(pack)
        outcome.loss_sum.backward()
        cost.seconds["encoders"] += encoded - started
        cost.seconds["language"] += SETUP.seconds() - encoded
        cost.views += 0 if pack.features is None else len(pack.features)
        cost.positions += len(pack.input_ids)
        cost.logits += len(outcome.token_losses)
        cost.loss += float(outcome.loss_sum.detach())
    return cost


def original_batches(samples: Sequence[Drawn], by_length: bool) -> list[list[Drawn]]:
    """Batches of one kind; sorted by length, as the original's sampler groups them, or in the order in which they were drawn."""
    batches = []
    for pictured in (False, True):
        kind = [sample for sample in samples if bool(sample.kept) == pictured]
        if by_length:
            kind.sort(key=lambda sample: len(sample.text))
        batches += [kind[start : start + ROWS_PER_BATCH] for start in range(0, len(kind), ROWS_PER_BATCH)]
    return batches


def originals_way(model: Any, batches: Sequence[Sequence[Drawn]], to_max_words: bool = False) -> Cost:
    cost = Cost()
    for batch in batches:
        longest = max(len(sample.text) for sample in batch)
        if to_max_words:
            longest = max(longest, SETUP.max_words - 1 - len(batch[0].kept) * VARIANT.geometry.tokens_per_view)
        ids, labels = (torch.full((len(batch), longest), fill) for fill in (0, IGNORED))
        for row, sample in enumerate(batch):
            ids[row, : len(sample.text)] = torch.from_numpy(sample.text)
            labels[row, : len(sample.text)] = torch.from_numpy(np.where(sample.supervised, sample.text, IGNORED))
        conv, vit = (torch.from_numpy(np.concatenate([getattr(one, name) for one in batch])) for name in ("conv", "vit"))
        ids, labels, conv, vit = (tensor.to(DEVICE) for tensor in (ids, labels, conv, vit))
        started = SETUP.seconds()
        features = model.encode_views(conv, vit) if batch[0].kept else None
        encoded = SETUP.seconds()
        words = model.get_input_embeddings()(torch.cat([ids.new_full((len(batch), 1), BOS), ids], 1))
        pictures = words[:, :0] if features is None else model.fusion(features).reshape(len(batch), -1, words.shape[2])
        embeds = torch.cat([words[:, :1], pictures, words[:, 1:]], 1)
        hidden = model.language.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        logits = model.language.lm_head(
            hidden[:, pictures.shape[1] : -1]
        )  # of BOS's place and every text position but the last
        loss = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        loss.backward()
        cost.seconds["encoders"] += encoded - started
        cost.seconds["language"] += SETUP.seconds() - encoded
        cost.views += 0 if features is None else len(features)
        cost.positions += embeds.shape[0] * embeds.shape[1]
        cost.logits += logits.shape[0] * logits.shape[1]
        cost.loss += float(loss.detach())
    return cost


def flops_ratio(samples: Sequence[Drawn], variant: Variant) -> float:
    """Training FLOPs of the original's way by length over the trainer's, at a variant's own size: texts at their usual length."""
    longer = SETUP.shorter
    per_view = variant.geometry.tokens_per_view
    ours = train_flops(
        [1 + longer * len(one.text) + sum(per_view if keep else 1 for keep in one.kept) for one in samples],
        longer * sum(int(one.supervised.sum()) for one in samples),
        sum(sum(one.kept) for one in samples),
        variant,
    )
    batches = original_batches(samples, True)
    text = [longer * max(len(one.text) for one in batch) for batch in batches for _ in batch]
    views = [len(one.kept) for batch in batches for one in batch]
    rows = [1 + words + seen * per_view for words, seen in zip(text, views, strict=True)]
    return train_flops(rows, sum(text), sum(views), variant) / ours


def check_equal(model: Any, samples: Sequence[Drawn]) -> None:
    """Where no view is skipped both ways are one computation, so they must give one loss."""
    same = [sample for sample in samples if all(sample.kept)]
    ours, theirs = trainers_way(model, make_packs(same)), originals_way(model, original_batches(same, True))
    assert abs(ours.loss / theirs.loss - 1) < (1e-4 if DEVICE.type == "cpu" else 1e-2), (ours.loss, theirs.loss)


def main() -> None:
    if DEVICE.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"{VARIANT.name} needs a GPU; without a variant a small member runs on the CPU.")
    torch.set_num_threads(1)
    dtype = torch.float32 if DEVICE.type == "cpu" else torch.bfloat16
    model = build_model(VARIANT, None, dtype, seed=0).train().to(DEVICE)
    samples = draw_samples(seed=0)
    check_equal(model, samples)
    packs = make_packs(samples)
    ways: dict[str, Callable[[], Cost]] = {
        "trainer": lambda: trainers_way(model, packs),
        "original, by length": lambda: originals_way(model, original_batches(samples, True)),
        "original, as drawn": lambda: originals_way(model, original_batches(samples, False)),
        "original, to max_words": lambda: originals_way(model, original_batches(samples, True), True),
    }
    rounds: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            model.zero_grad(set_to_none=True)
            rounds[name].append(way())
    print(
        f"{sys.argv[1] if len(sys.argv) > 1 else 'a small member'} on {DEVICE}, {len(samples)} samples, {len(packs)} packs; "
        f"torch {torch.__version__}, transformers {transformers.__version__}, {date.today()}"
    )
    print("| way | views encoded | positions | logits | encoders, s | language, s | samples/s, median | best |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, costs in rounds.items():
        median, best = statistics.median(cost.total for cost in costs), min(cost.total for cost in costs)
        parts = [statistics.median(cost.seconds[part] for cost in costs) for part in ("encoders", "language")]
        print(f"| {name} | {costs[0].views} | {costs[0].positions} | {costs[0].logits} | {parts[0]:.2f} | {parts[1]:.2f} "
              f"| {len(samples) / median:.1f} | {len(samples) / best:.1f} |")  # fmt: skip
    for name in list(ways)[1:]:
        ratios = [theirs.total / ours.total for ours, theirs in zip(rounds["trainer"], rounds[name], strict=True)]
        print(f"trainer against {name}: {statistics.median(ratios):.2f} times the samples/s (least {min(ratios):.2f})")
    for name in ("tiny", "intern2"):
        print(
            f"by FLOPs at {name}'s own size, original by length: {flops_ratio(samples, variant_named(name)):.2f} times the trainer's"
        )


if __name__ == "__main__":
    main()
