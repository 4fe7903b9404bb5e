"""A small real corpus: raw rows of seven families, unified and merged, and a base directory with a tokenizer trained on its text."""

import io
from pathlib import Path
from typing import Any

import sentencepiece

from model import storage
from model.contracts.base import canonical_json
from model.contracts.recipe import DatasetSpec
from model.data.shards import read_samples
from model.data.unify import merge_corpus, unify_dataset
from model.sphinx_x.dialogue import dialogue_text
from model.weights import BASE_FILE, TOKENIZER_FILE
from tests.support.raw_layouts import FAMILIES, WRITERS, recipe_of, spec


def make_corpus(folder: Path, store_uri: str, shares: dict[str, float] | None = None, **recipe_fields: Any) -> str:
    """Unify and merge a dataset of every family below `folder`; returns the corpus's folder."""
    specs: list[DatasetSpec] = []
    for family in FAMILIES:
        root = folder / "raw" / family
        if not root.exists():
            WRITERS[family](root)
        name = family.replace("_", "-")
        specs.append(spec(root, family, name=name, share=(shares or {}).get(name, 1.0)))
    recipe = recipe_of(*specs, **recipe_fields)
    return merge_corpus(recipe, [unify_dataset(recipe, one.name, store_uri) for one in specs], store_uri)


def make_base(dataset_uris: list[str], base_uri: str, num_pieces: int = 420) -> str:
    """A base directory without weights: `tokenizer.model` and `base.json`."""
    texts = [
        dialogue_text([(turn.question, turn.answer) for turn in sample.turns])
        for uri in dataset_uris
        for sample, _ in read_samples(uri)
    ]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="bpe", vocab_size=num_pieces, byte_fallback=True,
        character_coverage=1.0, normalization_rule_name="identity", remove_extra_whitespaces=False,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2,
    )  # fmt: skip
    storage.write_bytes(storage.join(base_uri, TOKENIZER_FILE), model.getvalue())
    fields = {"name": "a tokenizer alone", "uri": base_uri, "digest": "d" * 64, "licence": "Apache-2.0"}
    storage.write_text(storage.join(base_uri, BASE_FILE), canonical_json(fields))
    return base_uri
