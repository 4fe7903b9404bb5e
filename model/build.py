"""Build a model for training: a variant's shape, the base directory's weights (`model/weights.py`), strictly."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from model import storage
from model.errors import DataError
from model.sphinx_x.configuration_sphinx_x import SphinxXConfig
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from model.variants import LanguageShape, Variant
from model.weights import ENCODERS_FILE, FUSION_FILE, LANGUAGE_FOLDER


def model_config(variant: Variant, padding: str = "corner", balance_loss_weight: float = 0.0) -> SphinxXConfig:
    """Configuration of a variant."""
    return SphinxXConfig(
        variant=variant.name,
        grid=variant.geometry.grid,
        conv_px=variant.geometry.conv_px,
        vit_px=variant.geometry.vit_px,
        padding=padding,
        conv_name=variant.conv.name,
        conv_arguments=dict(variant.conv.arguments),
        conv_channels=variant.conv.channels,
        vit_name=variant.vit.name,
        vit_arguments=dict(variant.vit.arguments),
        vit_channels=variant.vit.channels,
        text_config=text_config(variant.language),
        balance_loss_weight=balance_loss_weight,
    )


def text_config(shape: LanguageShape) -> dict[str, Any]:
    """Configuration of a language model for transformers' Llama or Mixtral class."""
    fields = {
        "model_type": shape.kind,
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.max_positions,
        "rms_norm_eps": shape.rms_eps,
        "initializer_range": shape.initializer_range,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if shape.kind == "mixtral":
        fields |= {"num_local_experts": shape.experts, "num_experts_per_tok": shape.active_experts}
    return fields


def build_model(
    variant: Variant,
    base_uri: str | None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    padding: str = "corner",
    balance_loss_weight: float = 0.0,
) -> SphinxXForConditionalGeneration:
    """A model ready to be trained, on the CPU; what the base does not bring is initialised from `seed`.

    Args:
        base_uri: a base directory; None initialises every weight.

    Raises:
        DataError: a tensor of the base is missing, not known or of another shape.
    """
    config = model_config(variant, padding, balance_loss_weight)
    with torch.random.fork_rng(devices=[]), _default_dtype(dtype):
        torch.manual_seed(seed)
        if base_uri is None:
            return SphinxXForConditionalGeneration(config)
        with storage.as_local_folder(base_uri) as folder:
            return _built_from(config, folder, variant)


def _built_from(config: SphinxXConfig, folder: Path, variant: Variant) -> SphinxXForConditionalGeneration:
    encoders, language = folder / ENCODERS_FILE, folder / LANGUAGE_FOLDER
    if not encoders.is_file():
        raise DataError(f"{encoders} is missing; make the base directory again.")
    if not language.is_dir() and variant.name != "nano":
        raise DataError(
            f"{language} is missing: {variant.name} starts from {variant.base}; make the base with python -m model.convert."
        )
    # Random numbers for billions of weights that a file replaces would take minutes: build without storage, then fill.
    with torch.device("meta"):
        model = SphinxXForConditionalGeneration(config)
    model.to_empty(device="cpu")
    model.fusion.reset_parameters()
    if (folder / FUSION_FILE).is_file():
        fill(model.fusion.state_dict(keep_vars=True), [folder / FUSION_FILE])
    parts = {"conv": model.conv, "vit": model.vit}
    fill(
        {
            f"{part}.{name}": tensor
            for part, module in parts.items()
            for name, tensor in module.state_dict(keep_vars=True).items()
        },
        [encoders],
    )
    if language.is_dir():
        fill(model.language.state_dict(keep_vars=True), sorted(language.glob("*.safetensors")))
    for module in model.language.modules():
        # A rotary embedding's frequencies are in no file; without a language model in the base, nothing is.
        if not language.is_dir() or not list(module.parameters()):
            model.language._init_weights(module)
    return model


def fill(targets: dict[str, torch.Tensor], files: Sequence[Path]) -> None:
    """Give every target the tensor of its name in safetensors files, one at a time; nothing may be missing or left over.

    A tensor of the target's type stays in the mapped file until it is written to, so that the processes of a machine which build
    the same model share one copy in memory; of another type it is copied.

    Args:
        targets: Parameters and buffers themselves (`state_dict(keep_vars=True)`), on the CPU.

    Raises:
        DataError: a tensor is missing, not known or of another shape; names it and its file.
    """
    missing = set(targets)
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (not a dict)
                tensor = opened.get_tensor(name)
                if name not in targets:
                    raise DataError(f"{file}: tensor {name} is not part of this model; the base is of another kind.")
                target = targets[name]
                if target.shape != tensor.shape:
                    raise DataError(f"{file}: tensor {name} is {tuple(tensor.shape)}, the model needs {tuple(target.shape)}.")
                if (target.dtype, target.stride()) == (tensor.dtype, tensor.stride()):
                    target.data = tensor
                else:
                    with torch.no_grad():
                        target.copy_(tensor)
                missing.discard(name)
    if missing:
        where = files[0].parent if files else "the base directory's language folder"
        raise DataError(
            f"{where}: {len(missing)} tensors are missing, the first is {min(missing)}; make the base directory again."
        )


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
