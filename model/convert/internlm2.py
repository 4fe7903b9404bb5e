"""InternLM2's weights as transformers' Llama, weight by weight and without remote code.

InternLM2 stores queries, keys and values in one matrix `wqkv` of [kv_heads, queries_per_kv + 2, head_dim, hidden]: for each
key-value head its queries, then its key, then its value. The rotary embedding already is Llama's half-split form, so nothing
is permuted. Layout: `tools/convert2llama.py` of InternLM/InternLM.
"""

from collections.abc import Iterable, Iterator

import torch

from model.errors import DataError
from model.variants import LanguageShape

_RENAMES = (
    ("attention.wo.", "self_attn.o_proj."),
    ("feed_forward.w1.", "mlp.gate_proj."),
    ("feed_forward.w3.", "mlp.up_proj."),
    ("feed_forward.w2.", "mlp.down_proj."),
    ("attention_norm.", "input_layernorm."),
    ("ffn_norm.", "post_attention_layernorm."),
    ("model.tok_embeddings.", "model.embed_tokens."),
    ("output.", "lm_head."),
)


def internlm2_to_llama(tensors: Iterable[tuple[str, torch.Tensor]], shape: LanguageShape) -> Iterator[tuple[str, torch.Tensor]]:
    """Rename and split the tensors of an InternLM2 checkpoint.

    Raises:
        DataError: a bias, which Llama does not have, or a `wqkv` of another size than `shape` says.
    """
    per_kv, head_dim = shape.heads // shape.kv_heads, shape.hidden // shape.heads
    for name, tensor in tensors:
        if name.endswith(".bias"):
            raise DataError(
                f"{name}: this InternLM2 checkpoint has biases, which the Llama layout cannot hold; use internlm2-7b."
            )
        if name.endswith("attention.wqkv.weight"):
            if tensor.shape != (shape.kv_heads * (per_kv + 2) * head_dim, shape.hidden):
                raise DataError(
                    f"{name} has shape {tuple(tensor.shape)}, which is not that of the variant; check the directory."
                )
            grouped = tensor.view(shape.kv_heads, per_kv + 2, head_dim, shape.hidden)
            prefix = name.removesuffix("attention.wqkv.weight") + "self_attn."
            yield prefix + "q_proj.weight", grouped[:, :per_kv].reshape(-1, shape.hidden)
            yield prefix + "k_proj.weight", grouped[:, -2].reshape(-1, shape.hidden)
            yield prefix + "v_proj.weight", grouped[:, -1].reshape(-1, shape.hidden)
            continue
        for theirs, ours in _RENAMES:
            if theirs in name:
                name = name.replace(theirs, ours)
                break
        yield name, tensor
