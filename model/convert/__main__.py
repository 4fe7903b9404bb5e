"""`python -m model.convert`: make a base directory out of published weights.

    python -m model.convert --variant intern2 --language internlm2-7b/ --conv open_clip_model.safetensors \\
        --vit dinov2_vitg14_pretrain.pth --out s3://bucket/bases/intern2
    python -m model.convert --variant tiny --original SPHINX-Tiny-1k/ --out s3://bucket/bases/sphinx-tiny-1k
    python -m model.convert --variant plus-2k --from-model s3://bucket/store/models/plus-0123456789ab --out s3://bucket/bases/plus-2k

Writes `language/` (Hugging Face Llama or Mixtral), `tokenizer.model`, `encoders.safetensors`, of an original SPHINX checkpoint or
a model of ours `fusion.safetensors`, and, last, `base.json`.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from model.contracts.checkpoint import BaseModel
from model.convert.base import publish, write_encoders, write_language
from model.convert.exported import make_base_of_model
from model.convert.internlm2 import internlm2_to_llama
from model.convert.original import make_base_of_original
from model.convert.tensors import read_tensors
from model.errors import ConfigError, DataError, SphinxError
from model.variants import Variant, variant_named
from model.weights import TOKENIZER_FILE


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
        write_language(variant, _language_tensors(variant, language), folder)
        write_encoders(variant, read_tensors(conv), read_tensors(vit), folder)
        return publish(folder, out_uri, variant.base, variant.base_licence)


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
    parser.add_argument("--language", type=Path, help="Hugging Face directory of the backbone")
    parser.add_argument("--conv", type=Path, help="CLIP-ConvNeXt-XXL weights: open_clip's or timm's file")
    parser.add_argument("--vit", type=Path, help="DINOv2 ViT-g/14 weights: the authors' or timm's file")
    parser.add_argument("--original", type=Path, help="instead of these three: folder of a two-encoder SPHINX checkpoint")
    parser.add_argument("--tokenizer", type=Path, help="with --original: its tokenizer.model, where it is not in that folder")
    parser.add_argument("--from-model", help="instead of all these: folder or URI of a model that training has exported")
    parser.add_argument("--out", required=True, help="folder or URI of the base directory")
    options = parser.parse_args(arguments)
    try:
        base = _made(variant_named(options.variant), options)
    except SphinxError as error:
        print(f"sphinx-x error: {error}", file=sys.stderr)
        return 2
    print(f"{base.uri}: {base.name}, digest {base.digest[:12]}")
    if options.original:
        print("The original has no skip token: the base's is drawn like its tags. It was trained with centred padding.")
    return 0


def _made(variant: Variant, options: argparse.Namespace) -> BaseModel:
    language, conv, vit = options.language, options.conv, options.vit
    if options.from_model and not (language or conv or vit or options.original or options.tokenizer):
        return make_base_of_model(variant, options.from_model, options.out)
    if options.original and not (language or conv or vit):
        return make_base_of_original(variant, options.original, options.tokenizer, options.out)
    if options.from_model or options.original or options.tokenizer or not (language and conv and vit):
        raise ConfigError(
            "give --language, --conv and --vit, or --original and, if need be, --tokenizer, or --from-model alone."
        )
    return make_base(variant, language, conv, vit, options.out)


if __name__ == "__main__":
    sys.exit(main())
