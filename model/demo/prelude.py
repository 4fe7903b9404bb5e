"""Nano's base directory: what published weights are to the large sizes, made in two minutes from generated scenes.

`encoders.safetensors` (both encoders, pre-trained on cells), `tokenizer.model` (a BPE of the demo's own dialogues) and, last,
`base.json`. The language model starts from nothing, so there is no `language/`.
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from model import storage
from model.contracts.base import digest_of
from model.contracts.checkpoint import BaseModel
from model.demo.generate import scene_seed
from model.demo.pretrain import Lessons, PretrainSettings, pretrain_encoders
from model.demo.scenes import SCENE_VERSION
from model.demo.vocabulary import PHRASES, dialogue_texts, train_vocabulary
from model.errors import DataError
from model.variants import VARIANTS, Variant
from model.weights import BASE_FILE, ENCODERS_FILE, TOKENIZER_FILE, read_base

BASE_VERSION = 1
"""Grows when the same settings would give other weights."""


def make_nano_base(
    out_uri: str,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
    settings: PretrainSettings | None = None,
    processes: int = 2,
    variant: Variant | None = None,
) -> BaseModel:
    """Pre-train the encoders and train the vocabulary; returns at once where that was done before.

    Args:
        seed: of scenes, initial weights and batches; the same seed gives the same bytes on the same machine.

    Raises:
        DataError: the place holds another base.
        TrainError: a training process ended early.
    """
    from safetensors.torch import save

    variant, settings = variant or VARIANTS["nano"], settings or PretrainSettings()
    made_of = digest_of([BASE_VERSION, SCENE_VERSION, seed, asdict(settings), variant.model_dump(mode="json"), list(PHRASES)])
    name = f"nano-prelude-{made_of[:12]}"
    if storage.exists(storage.join(out_uri, BASE_FILE)):
        if (finished := read_base(out_uri)).name == name:
            return finished
        raise DataError(f"{out_uri} holds another base ({finished.name}); give this one a folder of its own.")
    vocabulary = train_vocabulary(dialogue_texts(scene_seed(seed, "encoders")), PHRASES)
    show = progress or (lambda done, total, text: None)
    lessons = Lessons(variant, scene_seed(seed, "encoders"), seed, settings)
    weights = pretrain_encoders(lessons, processes, lambda done: show(done, settings.steps, "pre-training the encoders"))
    with tempfile.TemporaryDirectory(prefix="sphinx-x-base-") as temporary:
        folder = Path(temporary)
        (folder / TOKENIZER_FILE).write_bytes(vocabulary)
        (folder / ENCODERS_FILE).write_bytes(save({name: tensor.contiguous() for name, tensor in sorted(weights.items())}))
        files = {file: storage.sha256_of(folder / file) for file in (ENCODERS_FILE, TOKENIZER_FILE)}
        storage.upload_tree(folder, out_uri)
    base = BaseModel(name=name, uri=out_uri, digest=digest_of(files), licence=variant.base_licence)
    storage.write_text(storage.join(out_uri, BASE_FILE), base.model_dump_json(indent=2) + "\n")
    return base
