"""Export: a trained model as a Hugging Face directory that loads without this project.

`config.json` with `auto_map`, safetensors of at most 5 GB, `tokenizer.model`, tokenizer and processor configuration, generation
settings, and the flat files of `model/sphinx_x` beside them. Tensors come one at a time and leave file by file, so no model is
ever held twice. `sphinx_x_manifest.json` lists every file with its digest and is written last; equal weights, equal digest.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from model import storage
from model.contracts.base import canonical_json, digest_of
from model.contracts.checkpoint import MODEL_MANIFEST_FILE, ModelManifest, StoredFile
from model.sphinx_x.configuration_sphinx_x import SphinxXConfig
from model.sphinx_x.dialogue import stop_ids
from model.sphinx_x.pieces import Pieces
from model.weights import TOKENIZER_FILE, read_base

MAX_FILE_BYTES = 5_000_000_000
CODE = Path(__file__).parent / "sphinx_x"
_CLASS = "modeling_sphinx_x.SphinxXForConditionalGeneration"

Shapes = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


def export_model(
    config: SphinxXConfig,
    shapes: Shapes,
    weights: Iterable[tuple[str, Tensor]],
    base_uri: str,
    out_uri: str,
    described: dict[str, Any],
    max_file_bytes: int = MAX_FILE_BYTES,
) -> ModelManifest:
    """Write a model's directory.

    Args:
        shapes: Shape and type of every tensor, in the order in which `weights` gives them.
        base_uri: The base it started from; gives the tokenizer.
        described: The manifest's other fields.

    Raises:
        StorageError: the directory cannot be written.
    """
    # What an interrupted export left must not lie among the files of this one.
    storage.delete_tree(out_uri)
    with tempfile.TemporaryDirectory(prefix="sphinx-x-export-") as scratch:
        folder = Path(scratch)
        files = [_store(path, folder, out_uri) for path in _weight_files(folder, shapes, weights, max_file_bytes)]
        (folder / TOKENIZER_FILE).write_bytes(storage.read_bytes(storage.join(base_uri, TOKENIZER_FILE)))
        _write_settings(folder, config)
        for source in sorted(CODE.glob("*.py")):
            (folder / source.name).write_bytes(source.read_bytes())
        files += [_store(path, folder, out_uri) for path in sorted(folder.iterdir())]
    files.sort(key=lambda file: file.path)
    base = read_base(base_uri)
    manifest = ModelManifest(
        digest=digest_of([file.model_dump(mode="json") for file in files]),
        bases=(base,),
        files=tuple(files),
        **{**described, "licences": base.licences | described["licences"]},
    )
    storage.write_text(storage.join(out_uri, MODEL_MANIFEST_FILE), manifest.to_json())
    return manifest


def _store(path: Path, folder: Path, out_uri: str) -> StoredFile:
    """Upload a file, note what it holds, and drop it from the local disk."""
    name = path.relative_to(folder).as_posix()
    stored = StoredFile(path=name, sha256=storage.sha256_of(path), bytes=path.stat().st_size)
    storage.upload_file(path, storage.join(out_uri, name))
    path.unlink()
    return stored


def _weight_files(folder: Path, shapes: Shapes, weights: Iterable[tuple[str, Tensor]], max_file_bytes: int) -> Iterator[Path]:
    """Write tensors to files of at most `max_file_bytes`, then the index; a file is yielded when it is whole."""
    sizes = {name: _num_bytes(*shape) for name, shape in shapes.items()}
    groups = _groups(sizes, max_file_bytes)
    names = ["model.safetensors"] if len(groups) == 1 else [
        f"model-{number:05d}-of-{len(groups):05d}.safetensors" for number in range(1, len(groups) + 1)
    ]  # fmt: skip
    stream = iter(weights)
    for name, group in zip(names, groups, strict=True):
        held = dict(next(stream) for _ in group)
        assert list(held) == group, "weights come in another order than their shapes"
        save_file({key: tensor.contiguous() for key, tensor in held.items()}, folder / name, metadata={"format": "pt"})
        del held
        yield folder / name
    assert next(stream, None) is None, "there are more weights than shapes"
    if len(groups) > 1:
        index = {
            "metadata": {"total_size": sum(sizes.values())},
            "weight_map": {key: name for name, group in zip(names, groups, strict=True) for key in group},
        }
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps(index, indent=1), encoding="utf-8")
        yield path


def _groups(sizes: Mapping[str, int], max_bytes: int) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if groups[-1] and filled + size > max_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    return groups


def _num_bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return torch.Size(shape).numel() * dtype.itemsize


def _write_settings(folder: Path, config: SphinxXConfig) -> None:
    """config.json, generation, tokenizer and processor settings, each by the keys that transformers' Auto classes look for."""
    pieces = Pieces(str(folder / TOKENIZER_FILE))
    fields = config.to_dict()
    fields |= {
        "architectures": ["SphinxXForConditionalGeneration"],
        "auto_map": {
            "AutoConfig": "configuration_sphinx_x.SphinxXConfig",
            "AutoModelForImageTextToText": _CLASS,
            "AutoModelForCausalLM": _CLASS,
        },
        "stop_ids": list(stop_ids(pieces.encode_text)),
        "bos_token_id": pieces.bos_id,
        "eos_token_id": pieces.eos_id,
        "pad_token_id": pieces.eos_id,
    }
    fields["text_config"]["use_cache"] = True  # off in training
    # The version of the library that wrote the file says nothing about the model, and would change its digest.
    for noise in ("transformers_version", "_name_or_path"):
        fields.pop(noise, None)
        fields["text_config"].pop(noise, None)
    image = {"grid": config.grid, "conv_px": config.conv_px, "vit_px": config.vit_px, "padding": config.padding}
    auto_image = {"AutoImageProcessor": "image_processing_sphinx_x.SphinxXImageProcessor"}
    auto_processor = {"AutoProcessor": "processing_sphinx_x.SphinxXProcessor"}
    auto_tokenizer = {"AutoTokenizer": ["tokenization_sphinx_x.SphinxXTokenizer", None]}
    settings = {
        "config.json": fields,
        "generation_config.json": {
            "bos_token_id": pieces.bos_id,
            "eos_token_id": pieces.eos_id,
            "pad_token_id": pieces.eos_id,
            "do_sample": False,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "SphinxXTokenizer",
            "auto_map": {**auto_tokenizer, **auto_processor},
            "processor_class": "SphinxXProcessor",
            "padding_side": "left",
        },
        "preprocessor_config.json": {
            "image_processor_type": "SphinxXImageProcessor",
            "processor_class": "SphinxXProcessor",
            "auto_map": {**auto_image, **auto_processor},
            **image,
        },
        "processor_config.json": {"processor_class": "SphinxXProcessor", "auto_map": auto_processor},
    }
    for name, value in settings.items():
        text = json.dumps(json.loads(canonical_json(value)), indent=2, ensure_ascii=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")
