"""A base out of a model of ours: its language model, encoders, fusion and tokenizer, to go on from in another run.

Any variant with the same parts may start from it: plus-2k from plus, say, whose views are cut in another way.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from model import storage
from model.build import model_config
from model.contracts.checkpoint import BaseModel, ModelManifest
from model.convert.base import publish, write_language
from model.convert.tensors import read_tensors
from model.errors import DataError
from model.variants import Variant
from model.weights import ENCODERS_FILE, FUSION_FILE, TOKENIZER_FILE, read_model_manifest

_SAME = ("conv_name", "conv_arguments", "conv_px", "vit_name", "vit_arguments", "vit_px")
_SAME_TEXT = (
    "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "vocab_size", "rms_norm_eps", "rope_parameters", "num_local_experts", "num_experts_per_tok",
)  # fmt: skip
"""What a variant must share with the model, or its weights would mean something else."""


def make_base_of_model(variant: Variant, model_uri: str, out_uri: str) -> BaseModel:
    """Take an exported model apart, tensor by tensor and in its own precision; `base.json` is written last.

    Raises:
        DataError: there is no exported model, a file is not what was exported, or the variant has other parts.
    """
    manifest = read_model_manifest(model_uri)
    with storage.as_local_folder(model_uri) as exported, tempfile.TemporaryDirectory(prefix="sphinx-x-base-") as temporary:
        _require_whole(manifest, exported)
        _require_same_parts(variant, exported)
        folder = Path(temporary)
        kept: dict[str, dict[str, torch.Tensor]] = {"fusion": {}, "encoders": {}}
        write_language(variant, _language_tensors(exported, kept), folder)
        save_file(kept["fusion"], str(folder / FUSION_FILE))
        save_file(kept["encoders"], str(folder / ENCODERS_FILE))
        shutil.copyfile(exported / TOKENIZER_FILE, folder / TOKENIZER_FILE)
        licences = {name: licence for base in manifest.bases for name, licence in base.licences.items()} | manifest.licences
        licence = ", ".join(sorted({base.licence for base in manifest.bases}))
        return publish(folder, out_uri, f"sphinx-x-{manifest.variant}-{manifest.run_digest[:12]}", licence, licences)


def _language_tensors(exported: Path, kept: dict[str, dict[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """The language model's tensors one by one; what else comes by is kept under its part."""
    for name, tensor in read_tensors(exported):
        part, _, rest = name.partition(".")
        if part == "language":
            yield rest, tensor
        elif part == "fusion":
            kept["fusion"][rest] = tensor
        else:
            kept["encoders"][name] = tensor


def _require_whole(manifest: ModelManifest, exported: Path) -> None:
    for file in manifest.files:
        path = exported / file.path
        if not path.is_file() or storage.sha256_of(path) != file.sha256:
            raise DataError(
                f"{path} is not what was exported; copy the model again, or export it again by running its training."
            )


def _require_same_parts(variant: Variant, exported: Path) -> None:
    wanted = model_config(variant).to_dict()
    found = json.loads((exported / "config.json").read_text())
    pairs = [(field, found.get(field), wanted[field]) for field in _SAME]
    pairs += [(field, found["text_config"].get(field), wanted["text_config"].get(field)) for field in _SAME_TEXT]
    for field, has, needs in pairs:
        if has != needs:
            raise DataError(f"{exported}: {field} is {has}, but {variant.name} has {needs}; take a model of the same parts.")
