"""A corpus for benchmarks, drawn: photographs of given sizes and dialogues of log-normal length, unified like any dataset."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sentencepiece
from PIL import Image

from model.contracts.recipe import BenchmarkSpec, DatasetSpec, Recipe
from model.data.shards import read_samples
from model.data.unify import merge_corpus, unify_dataset

TEXT = (
    "a man with two dogs walks past the red house on the left while three children play near an old tree and what is the "
    "number written over its door the sign reads open every day from nine to five except on sunday please describe how many"
)


def photograph(seed: int, width_px: int, height_px: int) -> bytes:
    """A picture whose JPEG is about as large as a photograph's: smooth shapes under fine noise."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize(
        (width_px, height_px), Image.Resampling.BICUBIC
    )
    noise = draw.normal(0, 12, (height_px, width_px, 1))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_corpus(folder: Path, sizes_px: Sequence[tuple[int, int] | None], seed: int = 0) -> tuple[str, str]:
    """Addresses of a corpus of one dialogue an entry, about a picture of that size or None, and of a base that is a tokenizer."""
    raw, draw = folder / "raw", np.random.default_rng(seed)
    (raw / "images").mkdir(parents=True)
    rows, words = [], TEXT.split()
    for number, size_px in enumerate(sizes_px):
        row: dict[str, object] = {"id": str(number)}
        if size_px is not None:
            row["image"] = f"{number:06d}.jpg"
            (raw / "images" / f"{number:06d}.jpg").write_bytes(photograph(number, *size_px))
        turns = 1 if size_px is not None else draw.integers(1, 4)
        row["conversations"] = [
            {"from": speaker, "value": " ".join(draw.choice(words, int(np.clip(draw.lognormal(3.4, 0.9), 4, 600))))}
            for _ in range(turns)
            for speaker in ("human", "gpt")
        ]
        rows.append(row)
    (raw / "train.json").write_text(json.dumps(rows))
    recipe = Recipe(
        name="bench",
        datasets=(DatasetSpec(name="drawn", family="llava", root=str(raw)),),
        benchmarks=(BenchmarkSpec(name="any", benchmark="pope", root="unused"),),
    )
    dataset_uri = unify_dataset(recipe, "drawn", str(folder / "store"))
    texts = [turn.question + " " + turn.answer for sample, _ in read_samples(dataset_uri) for turn in sample.turns]
    return merge_corpus(recipe, [dataset_uri], str(folder / "store")), _make_tokenizer(texts, folder / "base")


def _make_tokenizer(texts: list[str], folder: Path) -> str:
    folder.mkdir()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="bpe", vocab_size=400, byte_fallback=True,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return str(folder)
