"""Original SPHINX checkpoints (`consolidated.XX-of-NN.model.pth`) as a base directory, where the architecture is SPHINX-X's.

That is the two-encoder family of LLaMA2-Accessory and its forks: `llama_ens_light`, `llama_ens5_light` (SPHINX-Tiny, SPHINX-Tiny-1k)
and `internlm_ems5_light`. Each file holds one Megatron tensor-parallel rank; matrices are joined along the dimension that fairscale
split, everything else is in every file alike and taken from the first. Meta's rotary embedding turns neighbouring pairs, transformers'
turns halves, so the rows of queries and keys are put in another order. The projection's inputs, ConvNeXt before DINOv2, are SPHINX-X's.
The original has no skip token; it gets one that is initialised like the tags.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from model.build import model_config
from model.contracts.checkpoint import BaseModel
from model.convert.base import publish, write_encoders, write_language
from model.convert.internlm2 import internlm2_to_llama
from model.errors import DataError
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from model.variants import LanguageShape, Variant
from model.weights import FUSION_FILE, TOKENIZER_FILE

_FILE = re.compile(r"consolidated\.(\d{2})-of-(\d{2})\.model\.pth")
_CONV, _VIT, _INTERNLM2 = "openclip_convnext_xxl.", "dinov2_vitg14.", "llm."
_FUSION = {"visual_proj.0.weight": "project.weight", "visual_proj.0.bias": "project.bias", "visual_proj.1.weight": "norm.weight",
           "visual_proj.1.bias": "norm.bias", "start_img": "start", "end_img": "end"}  # fmt: skip
_LAYER = {"attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "attention.wv": "self_attn.v_proj",
          "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
          "feed_forward.w3": "mlp.up_proj", "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}  # fmt: skip
_OUTER = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}
_SPLIT_DIM = {"attention.wq": 0, "attention.wk": 0, "attention.wv": 0, "attention.wo": 1, "feed_forward.w1": 0, "feed_forward.w2": 1,
              "feed_forward.w3": 0, "tok_embeddings": 1, "output": 0}  # fmt: skip
"""Dimension along which fairscale splits a matrix over ranks; its embedding is split along the width."""

Shards = list[dict[str, torch.Tensor]]


def make_base_of_original(variant: Variant, original: Path, tokenizer: Path | None, out_uri: str) -> BaseModel:
    """Convert a checkpoint's folder.

    Args:
        tokenizer: The SentencePiece model it was trained with; None takes `tokenizer.model` of the folder.

    Raises:
        DataError: a file is missing or cannot be read, the architecture is another, or a tensor does not fit the variant.
    """
    tokenizer = tokenizer or original / TOKENIZER_FILE
    if not tokenizer.is_file():
        raise DataError(f"{tokenizer} is missing; give the SentencePiece model of the checkpoint's backbone with --tokenizer.")
    shards = open_shards(original)
    refuse_other_architectures(shards[0], original)
    with tempfile.TemporaryDirectory(prefix="sphinx-x-base-") as temporary:
        folder = Path(temporary)
        shutil.copyfile(tokenizer, folder / TOKENIZER_FILE)
        with torch.device("meta"):
            model = SphinxXForConditionalGeneration(model_config(variant))
        language = _checked(language_tensors(shards, variant.language), model.language, variant, original)
        write_language(variant, language, folder)
        write_encoders(variant, _part(shards, _CONV), _part(shards, _VIT), folder)
        fusion = dict(_checked(fusion_tensors(shards), model.fusion, variant, original))
        save_file({name: tensor.contiguous() for name, tensor in fusion.items()}, folder / FUSION_FILE)
        licence = f"unknown (original SPHINX checkpoint), of its language model {variant.base_licence}"
        return publish(folder, out_uri, f"original SPHINX on {variant.base}", licence)


def open_shards(folder: Path) -> Shards:
    """The ranks' tensors in order, mapped from the files and not read yet; `llma.` is cut off their names.

    Raises:
        DataError: a rank's file is missing, is more than tensors, or ranks hold other tensors than the first.
    """
    found = {match.group(0): match.groups() for path in folder.glob("*") if (match := _FILE.fullmatch(path.name))}
    sizes = {number for _, number in found.values()}
    expected = [f"consolidated.{rank:02d}-of-{size}.model.pth" for size in sizes for rank in range(int(size))]
    if len(sizes) != 1 or sorted(found) != expected:
        raise DataError(
            f"{folder} must hold consolidated.00-of-NN.model.pth to the last of NN, found {', '.join(sorted(found)) or 'none'}; "
            "download the whole checkpoint."
        )
    shards = [_open(folder / name) for name in expected]
    for name, shard in zip(expected, shards, strict=True):
        if shard.keys() != shards[0].keys():
            raise DataError(f"{folder / name} holds other tensors than {expected[0]}; download the checkpoint again.")
    return shards


def refuse_other_architectures(shard: dict[str, torch.Tensor], folder: Path) -> None:
    """
    Raises:
        DataError: not of the two-encoder family; says why.
    """
    if any(".feed_forward.gate." in name or ".experts." in name for name in shard):
        raise DataError(
            f"{folder} is an original SPHINX-MoE: it has four encoders, and each of its experts is cut over all files; "
            "make the base of moe from Mixtral-8x7B with --language."
        )
    inputs = shard["visual_proj.0.weight"].shape[-1] if "visual_proj.0.weight" in shard else 0
    if inputs == 5632 or any(name.startswith(("clip.", "qformer")) for name in shard):
        raise DataError(
            f"{folder} is a SPHINX with four encoders: its projection takes CLIP's 1024 channels before the 4608 of SPHINX-X, and "
            "its Q-Former's tokens stand before the picture's; make the base from the backbone's own weights with --language."
        )
    if not inputs:
        raise DataError(f"{folder} holds no projection (visual_proj): it is a language model alone; give it with --language.")


def language_tensors(shards: Shards, shape: LanguageShape) -> Iterator[tuple[str, torch.Tensor]]:
    """The language model under transformers' names, joined, one tensor at a time."""
    if any(name.startswith(_INTERNLM2) for name in shards[0]):
        yield from internlm2_to_llama(_part(shards, _INTERNLM2), shape)
        return
    for name in shards[0]:
        if name.startswith((_CONV, _VIT)) or name in _FUSION or name == "rope.freqs":
            continue
        match = re.fullmatch(r"(layers\.\d+\.)?(.+)\.weight", name)
        if match is None:
            yield name, shards[0][name]  # nothing of ours is called so: `_checked` refuses it
            continue
        layer, kind = match.groups()
        tensor = _joined(shards, name, _SPLIT_DIM.get(kind))
        if kind in ("attention.wq", "attention.wk"):
            tensor = halves(tensor, shape.heads if kind == "attention.wq" else shape.kv_heads)
        yield f"model.{layer}{_LAYER.get(kind, kind)}.weight" if layer else f"{_OUTER.get(kind, kind)}.weight", tensor


def halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows [heads x D, in] of queries or keys, from neighbouring rotary pairs to transformers' first and second halves."""
    rows, width = weight.shape
    return weight.view(heads, rows // heads // 2, 2, width).transpose(1, 2).reshape(rows, width)


def fusion_tensors(shards: Shards) -> Iterator[tuple[str, torch.Tensor]]:
    """Under the names of `model.sphinx_x.encoders.Fusion`; the skip token, which the original lacks, is drawn like its tags."""
    for theirs, ours in _FUSION.items():
        if theirs in shards[0]:
            tensor = shards[0][theirs]
            yield ours, tensor.flatten() if theirs.endswith("_img") else tensor
    tag = shards[0]["visual_proj.1.bias"]
    yield "skip", torch.rand(len(tag), generator=torch.Generator().manual_seed(0)).to(tag.dtype)


def _open(file: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise DataError(
            f"{file} cannot be read as weights ({type(error).__name__}: {str(error)[:120]}); download it again."
        ) from error
    inner = state.get("model", state) if isinstance(state, dict) else {}
    return {name.removeprefix("llma."): tensor for name, tensor in inner.items() if isinstance(tensor, torch.Tensor)}


def _joined(shards: Shards, name: str, split_dim: int | None) -> torch.Tensor:
    if split_dim is None or len(shards) == 1:
        return shards[0][name]
    return torch.cat([shard[name] for shard in shards], dim=split_dim)


def _part(shards: Shards, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in shards[0].items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), tensor


def _checked(tensors, module: torch.nn.Module, variant: Variant, folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The same tensors, until one does not fit or is missing at the end."""
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    for name, tensor in tensors:
        expected = shapes.pop(name, None)
        if expected is None:
            raise DataError(f"{folder}: tensor {name} is not part of {variant.name}; convert it as the variant that it is.")
        if tensor.shape != expected:
            raise DataError(
                f"{folder}: tensor {name} is {tuple(tensor.shape)}, {variant.name} needs {tuple(expected)}; "
                "convert it as the variant that it is."
            )
        yield name, tensor
    if shapes:
        raise DataError(f"{folder}: {len(shapes)} tensors are missing, the first is {min(shapes)}; download it again.")
