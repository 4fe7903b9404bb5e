"""A corpus of some fifty samples and a base with random encoders, made by the real code, for tests that train.

Texts are of very unequal length, pictures wide, tall and square; some samples show none.
"""

import io
import json
import random
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from PIL import Image
from safetensors.torch import save_file

from model import storage
from model.build import build_model
from model.contracts.checkpoint import BaseModel
from model.contracts.recipe import BenchmarkSpec, DatasetSpec, Recipe
from model.data.unify import merge_corpus, unify_dataset
from model.train.config import TrainConfig, load_train_config
from model.train.spec import TrainSpec
from model.variants import variant_named
from model.weights import BASE_FILE, ENCODERS_FILE, TOKENIZER_FILE

SIZES = ((64, 64), (120, 40), (40, 120), (96, 80))
"""Pictures' sizes in pixels; the wide and the tall one have padded views."""
QUICK = {
    "epochs": 1,
    "packs": {"tokens_per_pack": 384, "views_per_pack": 12, "batch_size": 8, "packs_multiple": 4},
    "optimizer": {"eps": 1e-3, "clip_norm": 0.5},
    "checkpoint": {"every_steps": 2},
    "watch": {"log_every_steps": 1},
    "loader": {"workers": 0, "feature_cache_mb": 0},
}
"""eps far above Adam's usual one: a wrong scale of the gradient cannot hide behind Adam's invariance."""


def make_corpus(folder: Path, num_pictured: int = 36, num_texts: int = 12, seed: int = 0) -> str:
    """Raw files, unified and merged into `<folder>/store`; the corpus's URI."""
    draw = random.Random(seed)
    raw = folder / "raw"
    _write_pictured(raw / "pictured", num_pictured, draw)
    _write_texts(raw / "texts", num_texts, draw)
    recipe = Recipe(
        name="tiny",
        datasets=(
            DatasetSpec(name="pictured", family="llava", root=str(raw / "pictured"), licence="CC-BY-4.0", held_out_share=0.1),
            DatasetSpec(name="texts", family="text_dialogue", root=str(raw / "texts"), licence="MIT"),
        ),
        benchmarks=(BenchmarkSpec(name="held", benchmark="pope", held_out_of="pictured"),),
    )
    store = str(folder / "store")
    return merge_corpus(recipe, [unify_dataset(recipe, dataset.name, store) for dataset in recipe.datasets], store)


def make_base(folder: Path, seed: int = 0) -> str:
    """A nano base with random encoders and a tokenizer of its own; its URI."""
    folder.mkdir(parents=True, exist_ok=True)
    model = build_model(variant_named("nano"), None, seed=seed)
    encoders = {
        f"{part}.{name}": value for part in ("conv", "vit") for name, value in getattr(model, part).state_dict().items()
    }
    save_file({name: value.contiguous() for name, value in encoders.items()}, folder / ENCODERS_FILE)
    draw = random.Random(seed)
    words = [_word(draw) for _ in range(3000)]
    model_bytes = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words[start : start + 10]) for start in range(0, len(words), 10)]),
        model_writer=model_bytes, vocab_size=variant_named("nano").language.vocab, model_type="bpe", byte_fallback=True, character_coverage=1.0,
        minloglevel=2, num_threads=1,
    )  # fmt: skip
    (folder / TOKENIZER_FILE).write_bytes(model_bytes.getvalue())
    digest = "".join(storage.sha256_of(folder / name)[:32] for name in (ENCODERS_FILE, TOKENIZER_FILE))
    base = BaseModel(name="tiny-base", uri=str(folder), digest=digest, licence="Apache-2.0")
    storage.write_text(storage.join(str(folder), BASE_FILE), base.model_dump_json())
    return str(folder)


def make_spec(folder: Path, store_uri: str | None = None, **overrides: Any) -> TrainSpec:
    """A run over a tiny corpus and base below `folder` (made once), nano with `QUICK` and the given fields."""
    corpora = sorted((folder / "store" / "corpora").glob("*/manifest.json"))
    corpus_uri = str(corpora[0].parent) if corpora else make_corpus(folder)
    base_uri = str(folder / "base")
    if not (folder / "base" / BASE_FILE).exists():
        make_base(folder / "base")
    store = store_uri or str(folder / "store")
    return TrainSpec(corpus_uri=corpus_uri, base_uri=base_uri, store_uri=store, config=quick_config(**overrides))


def quick_config(**overrides: Any) -> TrainConfig:
    """nano, small and fast; nested fields as in YAML."""
    fields = json.loads(json.dumps(QUICK))
    for key, value in overrides.items():
        fields[key] = fields.get(key, {}) | value if isinstance(value, dict) else value
    return load_train_config("nano", fields)


def full_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of a model's trained parameters."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def _write_pictured(root: Path, number: int, draw: random.Random) -> None:
    rows = []
    for index in range(number):
        width_px, height_px = SIZES[index % len(SIZES)]
        image = Image.new("RGB", (width_px, height_px), (index * 37 % 256, index * 91 % 256, 80))
        image.paste((255, 255, 255), (index % 20, index % 15, index % 20 + 18, index % 15 + 12))
        path = root / "images" / f"{index:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        turns = _turns(draw, 1 + index % 3, 1 + (index * 7) % 23)
        turns[0]["value"] = f"<image>\n{turns[0]['value']}"
        rows.append({"id": f"p{index}", "image": f"{index:06d}.png", "conversations": turns})
    (root / "llava.json").write_text(json.dumps(rows))


def _write_texts(root: Path, number: int, draw: random.Random) -> None:
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(number):
        turns = _turns(draw, 1 + index % 2, 2 + (index * 11) % 40)
        rows.append({"id": str(index), "data": [turn["value"] for turn in turns]})
    (root / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")


def _turns(draw: random.Random, number: int, words: int) -> list[dict[str, str]]:
    said = []
    for turn in range(number):
        said.append({"from": "human", "value": " ".join(_word(draw) for _ in range(3)) + "?"})
        said.append({"from": "gpt", "value": " ".join(_word(draw) for _ in range(words if turn == 0 else 1)) + "."})
    return said


def _word(draw: random.Random) -> str:
    return "".join(draw.choice("bdfgklmnprstvz") + draw.choice("aeiou") for _ in range(draw.randint(1, 3)))
