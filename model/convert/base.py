"""The parts of a base directory, as every source of weights ends in them; `base.json` is written last."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file

from model import storage
from model.build import text_config
from model.contracts.base import digest_of
from model.contracts.checkpoint import BaseModel
from model.convert.encoders import convnext_to_timm, dinov2_to_timm
from model.convert.tensors import write_tensors
from model.variants import Variant
from model.weights import BASE_FILE, ENCODERS_FILE, LANGUAGE_FOLDER

Tensors = Iterable[tuple[str, torch.Tensor]]


def write_language(variant: Variant, tensors: Tensors, folder: Path) -> None:
    """A Hugging Face directory of transformers' Llama or Mixtral, one tensor at a time."""
    write_tensors(tensors, folder / LANGUAGE_FOLDER)
    architecture = "MixtralForCausalLM" if variant.language.kind == "mixtral" else "LlamaForCausalLM"
    config = {**text_config(variant.language), "architectures": [architecture], "dtype": "bfloat16"}
    (folder / LANGUAGE_FOLDER / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_encoders(variant: Variant, conv: Tensors, vit: Tensors, folder: Path) -> None:
    """Both encoders in bfloat16, under timm's names."""
    patches = variant.geometry.vit_px // 14
    encoders = {f"conv.{name}": tensor.to(torch.bfloat16) for name, tensor in convnext_to_timm(conv)}
    encoders |= {f"vit.{name}": tensor.to(torch.bfloat16) for name, tensor in dinov2_to_timm(vit, patches)}
    save_file({name: tensor.contiguous() for name, tensor in encoders.items()}, str(folder / ENCODERS_FILE))


def publish(folder: Path, out_uri: str, name: str, licence: str, licences: dict[str, str] | None = None) -> BaseModel:
    """Copy a finished folder to its URI and say last what it is.

    Args:
        licences: By dataset that the weights were trained on.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digest = digest_of({path.relative_to(folder).as_posix(): storage.sha256_of(path) for path in files})
    storage.upload_tree(folder, out_uri)
    base = BaseModel(name=name, uri=out_uri, digest=digest, licence=licence, licences=licences or {})
    storage.write_text(storage.join(out_uri, BASE_FILE), base.model_dump_json(indent=2) + "\n")
    return base
