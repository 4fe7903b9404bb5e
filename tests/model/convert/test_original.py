"""An original SPHINX checkpoint gives, converted, the logits of the original's own layout; what does not match is refused."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from model.build import build_model
from model.convert.__main__ import main
from model.sphinx_x.encoders import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from model.variants import Variant, variant_named
from model.weights import FUSION_FILE, read_base
from tests.model.convert.test_convert import SHAPE, fused_internlm2_logits, internlm2_state
from tests.model.sphinx_x.tiny_models import FULL, TinySample, prompt_tensors, tiny_sample, tiny_variant
from tests.support.tiny import make_base as make_tiny_base

LLAMA = tiny_variant("llama").model_copy(update={"name": "tiny"})
ROW_SPLIT, COLUMN_SPLIT = ("wq", "wk", "wv", "w1", "w3", "output"), ("wo", "w2", "tok_embeddings")
State = dict[str, torch.Tensor]


def original_state(variant: Variant, seed: int = 0) -> tuple[State, torch.nn.Module]:
    """A checkpoint as the original's code saves it, of random weights, and the model that its encoders are from."""
    generator = torch.Generator().manual_seed(seed)

    def random(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator) * 0.15

    shape, channels = variant.language, variant.fused_channels
    head = shape.hidden // shape.heads
    state = {"llma.tok_embeddings.weight": random(shape.vocab, shape.hidden), "llma.output.weight": random(shape.vocab, shape.hidden),
             "llma.norm.weight": 1 + random(shape.hidden), "llma.visual_proj.0.weight": random(shape.hidden, channels),
             "llma.visual_proj.0.bias": random(shape.hidden), "llma.visual_proj.1.weight": 1 + random(shape.hidden),
             "llma.visual_proj.1.bias": random(shape.hidden), "llma.start_img": random(1, 1, shape.hidden),
             "llma.end_img": random(1, 1, shape.hidden)}  # fmt: skip
    for layer in range(shape.layers):
        prefix = f"llma.layers.{layer}."
        state[prefix + "attention.wq.weight"] = random(shape.heads * head, shape.hidden)
        state[prefix + "attention.wk.weight"] = random(shape.kv_heads * head, shape.hidden)
        state[prefix + "attention.wv.weight"] = random(shape.kv_heads * head, shape.hidden)
        state[prefix + "attention.wo.weight"] = random(shape.hidden, shape.heads * head)
        state[prefix + "feed_forward.w1.weight"] = random(shape.ffn, shape.hidden)
        state[prefix + "feed_forward.w2.weight"] = random(shape.hidden, shape.ffn)
        state[prefix + "feed_forward.w3.weight"] = random(shape.ffn, shape.hidden)
        state[prefix + "attention_norm.weight"] = 1 + random(shape.hidden)
        state[prefix + "ffn_norm.weight"] = 1 + random(shape.hidden)
    model = build_model(variant, None, seed=seed).eval()
    with torch.no_grad():
        for value in (*model.conv.parameters(), *model.vit.parameters()):
            value.copy_(value.bfloat16())  # a base holds encoders in bfloat16
    state |= encoder_state(model)
    return state, model


def encoder_state(model: torch.nn.Module) -> State:
    state = {f"llma.openclip_convnext_xxl.{name}": value for name, value in model.conv.state_dict().items()}  # type: ignore
    for name, value in model.vit.state_dict().items():  # type: ignore
        state["llma.dinov2_vitg14." + name.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3.")] = value
    state["llma.dinov2_vitg14.mask_token"] = torch.zeros(1, 4)
    return state


def save(state: State, folder: Path, num_shards: int) -> Path:
    """Files as `num_shards` tensor-parallel ranks write them."""
    folder.mkdir(parents=True, exist_ok=True)
    for rank in range(num_shards):
        shard = {}
        for name, tensor in state.items():
            kind = name.removesuffix(".weight").rsplit(".", 1)[-1]
            language = "openclip" not in name and "dinov2" not in name and "llm." not in name.removeprefix("llma.")
            split = 0 if language and kind in ROW_SPLIT else 1 if language and kind in COLUMN_SPLIT else None
            shard[name] = tensor if split is None else tensor.chunk(num_shards, split)[rank].clone()
        torch.save({"model": shard}, folder / f"consolidated.{rank:02d}-of-{num_shards:02d}.model.pth")
    (folder / "tokenizer.model").write_bytes(b"pieces")
    return folder


def meta_logits(state: State, variant: Variant, encoders: torch.nn.Module, sample: TinySample) -> torch.Tensor:
    """The original's forward pass of one sample [1, positions, vocabulary] in plain operations, rotary by complex pairs."""
    weights = {name.removeprefix("llma."): tensor for name, tensor in state.items()}
    shape = variant.language
    head, eps = shape.hidden // shape.heads, shape.rms_eps

    def normalised(views: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
        return (views / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    feature_map = encoders.conv(normalised(sample.conv_views, CLIP_MEAN, CLIP_STD)).flatten(2).transpose(1, 2)  # type: ignore
    conv = torch.cat([feature_map.mean(1, keepdim=True), feature_map], 1)
    vit = encoders.vit.forward_features(normalised(sample.vit_views, IMAGENET_MEAN, IMAGENET_STD))  # type: ignore
    tokens = F.linear(torch.cat([conv, vit], 2), weights["visual_proj.0.weight"], weights["visual_proj.0.bias"])
    tokens = F.layer_norm(tokens, (shape.hidden,), weights["visual_proj.1.weight"], weights["visual_proj.1.bias"])
    views = [part for view in tokens for part in (weights["start_img"][0], view, weights["end_img"][0])]
    words = weights["tok_embeddings.weight"][torch.tensor([1, *sample.text])]
    x = torch.cat([words[:1], *views, words[1:]])
    length = len(x)
    turns = torch.outer(torch.arange(length).float(), 1 / shape.rope_theta ** (torch.arange(0, head, 2).float() / head))
    turns = torch.polar(torch.ones_like(turns), turns)[:, None]

    def rms(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return value * torch.rsqrt(value.pow(2).mean(-1, keepdim=True) + eps) * weight

    def rotated(value: torch.Tensor, heads: int) -> torch.Tensor:
        pairs = torch.view_as_complex(value.view(length, heads, head // 2, 2).contiguous())
        return torch.view_as_real(pairs * turns).flatten(2)

    for layer in range(shape.layers):
        w = {name.removeprefix(f"layers.{layer}."): tensor for name, tensor in weights.items()}
        h = rms(x, w["attention_norm.weight"])
        q = rotated(h @ w["attention.wq.weight"].T, shape.heads)
        k = rotated(h @ w["attention.wk.weight"].T, shape.kv_heads).repeat_interleave(shape.heads // shape.kv_heads, 1)
        v = (
            (h @ w["attention.wv.weight"].T)
            .view(length, shape.kv_heads, head)
            .repeat_interleave(shape.heads // shape.kv_heads, 1)
        )
        scores = torch.einsum("qhd,khd->hqk", q, k) / head**0.5
        scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), float("-inf"))
        x = x + torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).flatten(1) @ w["attention.wo.weight"].T
        h = rms(x, w["ffn_norm.weight"])
        x = (
            x
            + (F.silu(h @ w["feed_forward.w1.weight"].T) * (h @ w["feed_forward.w3.weight"].T)) @ w["feed_forward.w2.weight"].T
        )
    return (rms(x, weights["norm.weight"]) @ weights["output.weight"].T)[None]


def convert(monkeypatch: pytest.MonkeyPatch, variant: Variant, original: Path, out: Path, *more: str) -> int:
    monkeypatch.setattr("model.convert.__main__.variant_named", lambda name: variant)
    return main(["--variant", variant.name, "--original", str(original), "--out", str(out), *more])


@pytest.mark.parametrize("num_shards", [1, 2])
def test_a_converted_checkpoint_gives_the_originals_logits(num_shards, tmp_path, monkeypatch, capsys):
    state, encoders = original_state(LLAMA)
    assert convert(monkeypatch, LLAMA, save(state, tmp_path / "original", num_shards), tmp_path / "base") == 0
    said = capsys.readouterr().out
    assert "no skip token: the base's is drawn like its tags" in said
    model = build_model(LLAMA, str(tmp_path / "base"), seed=8).eval()
    sample = tiny_sample(2, 14, [FULL])
    with torch.no_grad():
        logits = model(**prompt_tensors([sample], model.config.tokens_per_view)).logits
        expected = meta_logits(state, LLAMA, encoders, sample)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    skip = model.fusion.skip.detach()
    assert 0 <= skip.min() < 0.2 < 0.8 < skip.max() < 1
    base = read_base(str(tmp_path / "base"))
    assert (base.name, base.licence.split(" (")[0]) == (f"original SPHINX on {LLAMA.base}", "unknown")


def test_the_internlm2_family_converts_too(tmp_path, monkeypatch):
    variant = LLAMA.model_copy(update={"language": SHAPE})
    state, encoders = original_state(variant)
    language = internlm2_state()
    state = {name: tensor for name, tensor in state.items() if "visual" in name or "_img" in name} | encoder_state(encoders)
    state |= {f"llma.llm.{name}": tensor for name, tensor in language.items()}
    assert convert(monkeypatch, variant, save(state, tmp_path / "original", 1), tmp_path / "base") == 0
    model = build_model(variant, str(tmp_path / "base")).eval()
    ids = torch.arange(34).view(2, 17) % SHAPE.vocab
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, fused_internlm2_logits(language, ids), atol=1e-5, rtol=1e-5)
    assert torch.equal(model.fusion.start, state["llma.start_img"].flatten())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: state.update({"llma.visual_proj.0.weight": torch.zeros(64, 5632)}), "is a SPHINX with four encoders: its projection"),
        (lambda state: state.update({"llma.qformer.query_tokens": torch.zeros(1)}), "its Q-Former's tokens stand before the picture's"),
        (lambda state: state.update({"llma.layers.0.feed_forward.gate.weight": torch.zeros(8, 64)}), "is an original SPHINX-MoE: it has four encoders"),
        (lambda state: state.pop("llma.visual_proj.0.weight"), "is a language model alone"),
        (lambda state: state.pop("llma.layers.1.ffn_norm.weight"), "1 tensors are missing, the first is model.layers.1.post_attention_layernorm.weight"),
        (lambda state: state.update({"llma.layers.0.attention.wq.bias": torch.zeros(64)}), "tensor layers.0.attention.wq.bias is not part of tiny"),
        (lambda state: state.update({"llma.output.weight": torch.zeros(7, 64)}), r"tensor lm_head.weight is (7, 64), tiny needs (300, 64)"),
    ],
)  # fmt: skip
def test_another_architecture_is_refused_in_one_sentence_that_says_why(change, sentence, tmp_path, monkeypatch, capsys):
    state, _ = original_state(LLAMA)
    change(state)
    assert convert(monkeypatch, LLAMA, save(state, tmp_path / "original", 1), tmp_path / "base") == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "base").exists()


def test_a_missing_rank_a_missing_tokenizer_and_a_pickle_with_code_are_refused(tmp_path, monkeypatch, capsys):
    state, _ = original_state(LLAMA)
    folder = save(state, tmp_path / "original", 2)
    (folder / "tokenizer.model").rename(tmp_path / "pieces.model")
    assert convert(monkeypatch, LLAMA, folder, tmp_path / "base") == 2
    assert "give the SentencePiece model of the checkpoint's backbone with --tokenizer" in capsys.readouterr().err
    beside = ("--tokenizer", str(tmp_path / "pieces.model"))
    (folder / "consolidated.01-of-02.model.pth").rename(tmp_path / "away.pth")
    assert convert(monkeypatch, LLAMA, folder, tmp_path / "base", *beside) == 2
    assert "found consolidated.00-of-02.model.pth; download the whole checkpoint" in capsys.readouterr().err

    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"model": Payload()}, folder / "consolidated.01-of-02.model.pth")
    assert convert(monkeypatch, LLAMA, folder, tmp_path / "base", *beside) == 2
    assert "cannot be read as weights" in capsys.readouterr().err
    assert not (tmp_path / "written").exists()


def test_ways_that_exclude_each_other_are_named(tmp_path, capsys):
    assert main(["--variant", "tiny", "--original", "o", "--language", "l", "--out", str(tmp_path / "base")]) == 2
    assert main(["--variant", "tiny", "--language", "l", "--out", str(tmp_path / "base")]) == 2
    assert capsys.readouterr().err.count("give --language, --conv and --vit, or --original") == 2


def test_a_base_without_a_fusion_still_draws_it_from_the_seed(tmp_path):
    base = make_tiny_base(tmp_path / "base")
    assert not (tmp_path / "base" / FUSION_FILE).exists()
    nano = variant_named("nano")
    first, other = (build_model(nano, base, seed=seed).fusion.start for seed in (1, 2))
    assert not torch.equal(first, other)
