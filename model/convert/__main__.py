"""`python -m model.convert`: make a base directory out of published weights.

    python -m model.convert --variant intern2 --language internlm2-7b/ --conv open_clip_model.safetensors \\
        --vit dinov2_vitg14_pretrain.pth --out s3://bucket/bases/intern2

Writes `language/` (Hugging Face Llama or Mixtral), `tokenizer.model`, `encoders.safetensors` and, last, `base.json`.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from model import storage
from model.build import text_config
from model.contracts.base import digest_of
from model.contracts.checkpoint import BaseModel
from model.convert.encoders import convnext_to_timm, dinov2_to_timm
from model.convert.internlm2 import internlm2_to_llama
from model.convert.tensors import read_tensors, write_tensors
from model.errors import DataError, SphinxError
from model.variants import Variant, variant_named
from model.weights import BASE_FILE, ENCODERS_FILE, LANGUAGE_FOLDER, TOKENIZER_FILE


def make_base(variant: Variant, language: Path, conv: Path, vit: Path, out_uri: str) -> BaseModel:
    """Convert and check published weights; everything is written before `base.json` is.

    Raises:
        DataError: a file is missing, or its tensors are not those of the variant.
    """
    with tempfile.TemporaryDirectory(prefix="sphinx-x-base-") as temporary:
        folder = Path(temporary)
        tokenizer = language / TOKENIZER_FILE
        if not tokenizer.is_file():
            raise DataError(f"{tokenizer} is missing; download the backbone's SentencePiece model beside its weights.")
        shutil.copyfile(tokenizer, folder / TOKENIZER_FILE)
        write_tensors(_language_tensors(variant, language), folder / LANGUAGE_FOLDER)
        architecture = "MixtralForCausalLM" if variant.language.kind == "mixtral" else "LlamaForCausalLM"
        config = {**text_config(variant.language), "architectures": [architecture], "dtype": "bfloat16"}
        (folder / LANGUAGE_FOLDER / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        encoders = {f"conv.{name}": tensor.to(torch.bfloat16) for name, tensor in convnext_to_timm(read_tensors(conv))}
        patches = variant.geometry.vit_px // 14
        encoders |= {f"vit.{name}": tensor.to(torch.bfloat16) for name, tensor in dinov2_to_timm(read_tensors(vit), patches)}
        save_file({name: tensor.contiguous() for name, tensor in encoders.items()}, str(folder / ENCODERS_FILE))
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        digest = digest_of({path.relative_to(folder).as_posix(): storage.sha256_of(path) for path in files})
        storage.upload_tree(folder, out_uri)
        base = BaseModel(name=variant.base, uri=out_uri, digest=digest, licence=variant.base_licence)
        storage.write_text(storage.join(out_uri, BASE_FILE), base.model_dump_json(indent=2) + "\n")
        return base


def _language_tensors(variant: Variant, language: Path) -> Iterator[tuple[str, torch.Tensor]]:
    config_file = language / "config.json"
    if not config_file.is_file():
        raise DataError(f"{config_file} is missing; --language must be the backbone's Hugging Face directory.")
    config = json.loads(config_file.read_text())
    shape = variant.language
    for field, expected in (("hidden_size", shape.hidden), ("num_hidden_layers", shape.layers), ("vocab_size", shape.vocab)):
        if config.get(field) != expected:
            raise DataError(
                f"{config_file}: {field} is {config.get(field)}, but {variant.name} has {expected}; --language must be {variant.base}."
            )
    tensors = read_tensors(language)
    if config.get("model_type") == "internlm2":
        tensors = internlm2_to_llama(tensors, shape)
    for name, tensor in tensors:
        if not name.endswith("rotary_emb.inv_freq"):  # a buffer that older conversions stored
            yield name, tensor


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model.convert", description="Make a base directory out of published weights."
    )
    parser.add_argument("--variant", required=True, help="tiny, intern2, plus, plus-2k or moe")
    parser.add_argument("--language", required=True, type=Path, help="Hugging Face directory of the backbone")
    parser.add_argument("--conv", required=True, type=Path, help="CLIP-ConvNeXt-XXL weights: open_clip's or timm's file")
    parser.add_argument("--vit", required=True, type=Path, help="DINOv2 ViT-g/14 weights: the authors' or timm's file")
    parser.add_argument("--out", required=True, help="folder or URI of the base directory")
    options = parser.parse_args(arguments)
    try:
        base = make_base(variant_named(options.variant), options.language, options.conv, options.vit, options.out)
    except SphinxError as error:
        print(f"sphinx-x error: {error}", file=sys.stderr)
        return 2
    print(f"{base.uri}: {base.name}, digest {base.digest[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
