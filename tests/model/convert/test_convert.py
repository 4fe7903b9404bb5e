"""Published weights convert exactly, or not at all."""

import json

import pytest
import torch
import torch.nn.functional as F

from model.build import text_config
from model.convert.__main__ import main
from model.convert.encoders import convnext_to_timm, dinov2_to_timm, resize_positions
from model.convert.internlm2 import internlm2_to_llama
from model.convert.tensors import read_tensors, write_tensors
from model.errors import DataError
from model.variants import LanguageShape

SHAPE = LanguageShape(hidden=64, layers=2, heads=8, kv_heads=2, ffn=96, vocab=101, rope_theta=1e6, max_positions=128)
HEAD = SHAPE.hidden // SHAPE.heads


def internlm2_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def random(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator) * 0.1

    state = {
        "model.tok_embeddings.weight": random(SHAPE.vocab, SHAPE.hidden),
        "output.weight": random(SHAPE.vocab, SHAPE.hidden),
    }
    state["model.norm.weight"] = 1 + random(SHAPE.hidden)
    for layer in range(SHAPE.layers):
        prefix = f"model.layers.{layer}."
        state[prefix + "attention.wqkv.weight"] = random((SHAPE.heads + 2 * SHAPE.kv_heads) * HEAD, SHAPE.hidden)
        state[prefix + "attention.wo.weight"] = random(SHAPE.hidden, SHAPE.hidden)
        state[prefix + "feed_forward.w1.weight"] = random(SHAPE.ffn, SHAPE.hidden)
        state[prefix + "feed_forward.w3.weight"] = random(SHAPE.ffn, SHAPE.hidden)
        state[prefix + "feed_forward.w2.weight"] = random(SHAPE.hidden, SHAPE.ffn)
        state[prefix + "attention_norm.weight"] = 1 + random(SHAPE.hidden)
        state[prefix + "ffn_norm.weight"] = 1 + random(SHAPE.hidden)
    return state


def fused_internlm2_logits(state: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """InternLM2 as its authors' fused block defines it, without any of the code under test."""

    def rms(x, weight):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + SHAPE.rms_eps) * weight

    def rotate(x):
        angles = torch.outer(torch.arange(ids.shape[1]).float(), 1 / SHAPE.rope_theta ** (torch.arange(0, HEAD, 2) / HEAD))
        angles = torch.cat([angles, angles], -1)
        turned = torch.cat([-x[..., HEAD // 2 :], x[..., : HEAD // 2]], -1)
        return x * angles.cos() + turned * angles.sin()

    per_kv, (batch, length) = SHAPE.heads // SHAPE.kv_heads, ids.shape
    x = state["model.tok_embeddings.weight"][ids]
    for layer in range(SHAPE.layers):
        weights = {name.removeprefix(f"model.layers.{layer}."): tensor for name, tensor in state.items()}
        qkv = rms(x, weights["attention_norm.weight"]) @ weights["attention.wqkv.weight"].T
        qkv = qkv.view(batch, length, SHAPE.kv_heads, per_kv + 2, HEAD)
        q = rotate(qkv[..., :per_kv, :].reshape(batch, length, SHAPE.heads, HEAD).transpose(1, 2))
        k = rotate(qkv[..., -2, :].transpose(1, 2)).repeat_interleave(per_kv, 1)
        v = qkv[..., -1, :].transpose(1, 2).repeat_interleave(per_kv, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, length, -1)
        x = x + mixed @ weights["attention.wo.weight"].T
        h = rms(x, weights["ffn_norm.weight"])
        gated = F.silu(h @ weights["feed_forward.w1.weight"].T) * (h @ weights["feed_forward.w3.weight"].T)
        x = x + gated @ weights["feed_forward.w2.weight"].T
    return rms(x, state["model.norm.weight"]) @ state["output.weight"].T


def test_internlm2_as_llama_gives_the_logits_of_the_fused_block():
    from transformers import LlamaConfig, LlamaForCausalLM

    state = internlm2_state()
    config = {name: value for name, value in text_config(SHAPE).items() if name != "model_type"}
    model = LlamaForCausalLM(LlamaConfig(**config)).eval()
    model.load_state_dict(dict(internlm2_to_llama(state.items(), SHAPE)), strict=True)
    ids = torch.arange(34).view(2, 17) % SHAPE.vocab
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits
    torch.testing.assert_close(logits, fused_internlm2_logits(state, ids), atol=1e-5, rtol=1e-5)


def test_an_internlm2_checkpoint_with_biases_or_another_size_is_refused():
    with pytest.raises(DataError, match="biases"):
        list(internlm2_to_llama([("model.layers.0.attention.wo.bias", torch.zeros(4))], SHAPE))
    with pytest.raises(DataError, match="not that of the variant"):
        list(internlm2_to_llama([("model.layers.0.attention.wqkv.weight", torch.zeros(4, 64))], SHAPE))


def test_positions_are_resized_the_authors_way_and_neither_timm_s_nor_transformers_s():
    torch.manual_seed(0)
    positions = torch.randn(1, 1 + 37 * 37, 8)
    grid = positions[:, 1:].reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    hub = F.interpolate(grid, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic").permute(0, 2, 3, 1).reshape(1, 256, 8)
    antialiased = F.interpolate(grid, size=(16, 16), mode="bicubic", antialias=True).permute(0, 2, 3, 1).reshape(1, 256, 8)
    resized = resize_positions(positions, 16)
    assert torch.equal(resized[:, :1], positions[:, :1])
    torch.testing.assert_close(resized[:, 1:], hub)
    assert (resized[:, 1:] - antialiased).abs().max() > 0.1
    assert resize_positions(resized, 16) is resized


def test_encoders_keep_what_the_model_loads_and_drop_the_rest():
    zero = torch.zeros(1)
    open_clip = {"visual.trunk.stem.0.weight": zero, "visual.trunk.head.norm.weight": zero, "visual.head.proj.weight": zero,
                 "visual.trunk.head.fc.weight": zero, "logit_scale": zero, "transformer.resblocks.0.x": zero}  # fmt: skip
    assert [name for name, _ in convnext_to_timm(open_clip.items())] == ["stem.0.weight", "head.norm.weight"]
    hub = {"mask_token": zero, "blocks.0.mlp.w12.weight": zero, "blocks.0.mlp.w3.bias": zero, "cls_token": zero}
    assert [name for name, _ in dinov2_to_timm(hub.items())] == [
        "blocks.0.mlp.fc1.weight",
        "blocks.0.mlp.fc2.bias",
        "cls_token",
    ]
    with pytest.raises(DataError, match="register"):
        list(dinov2_to_timm([("register_tokens", zero)]))


def test_shards_stay_below_their_limit_and_hold_every_tensor(tmp_path):
    tensors = {f"w{number}": torch.full((100,), float(number)) for number in range(7)}
    assert write_tensors(tensors.items(), tmp_path, max_shard_bytes=1000) == 2800
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(tensors)
    assert len(set(index["weight_map"].values())) == 4
    back = dict(read_tensors(tmp_path))
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_a_pickle_with_code_is_refused(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"model": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(DataError, match="cannot be read as weights"):
        list(read_tensors(tmp_path / "evil.pth"))
    assert not (tmp_path / "written").exists()


def test_the_wrong_backbone_is_one_sentence(tmp_path, capsys):
    (tmp_path / "tokenizer.model").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"hidden_size": 2048}')
    arguments = [
        "--variant",
        "intern2",
        "--language",
        str(tmp_path),
        "--conv",
        "c",
        "--vit",
        "v",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 2
    assert "hidden_size is 2048, but intern2 has 4096" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
