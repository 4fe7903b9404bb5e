"""The whole model against the record written down a second time, in one straight line and without any of the code under test.

From a picture's pixels and a dialogue's ids to the loss: view order, channel order, pseudo-CLS, tags, skip token, positions,
Llama and Mixtral. Only the two timm encoders are shared, called here in their own way.
"""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from model.sphinx_x.image_processing_sphinx_x import cut_views
from tests.model.sphinx_x.tiny_models import KINDS, TinySample, make_pack, tiny_model, tiny_variant

CONV_PX, VIT_PX, CELLS = 64, 28, 2
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def scene(width_px: int, height_px: int) -> Image.Image:
    """A picture whose every region differs."""
    rows, columns = np.mgrid[0:height_px, 0:width_px]
    pixels = np.stack([rows * 255 // height_px, columns * 255 // width_px, (rows + columns) * 7 % 256], -1)
    return Image.fromarray(pixels.astype(np.uint8))


def recorded_views(image: Image.Image, view_px: int) -> list[np.ndarray | None]:
    """[global, top left, top right, bottom left, bottom right], None where a sub-image is padding; all cut from one canvas."""
    longest = max(image.size)
    canvas = Image.new("RGB", (2 * CONV_PX, 2 * CONV_PX), (122, 116, 104))
    scaled = (image.width * 2 * CONV_PX // longest, image.height * 2 * CONV_PX // longest)
    canvas.paste(image.resize(scaled, Image.Resampling.BICUBIC))
    whole = np.asarray(canvas.resize((view_px, view_px), Image.Resampling.BICUBIC))
    large = np.asarray(canvas if view_px == CONV_PX else canvas.resize((2 * view_px, 2 * view_px), Image.Resampling.BICUBIC))
    views: list[np.ndarray | None] = [whole]
    for top in (0, 1):
        for left in (0, 1):
            empty = (top == 1 and image.height * 2 <= longest) or (left == 1 and image.width * 2 <= longest)
            part = large[top * view_px : (top + 1) * view_px, left * view_px : (left + 1) * view_px]
            views.append(None if empty else part)
    return views


def normalised(view: np.ndarray, constants: tuple[tuple[float, ...], tuple[float, ...]]) -> torch.Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in constants)
    return ((torch.from_numpy(view.copy()).permute(2, 0, 1).float() / 255 - mean) / std)[None]


def view_tokens(model, conv_view: np.ndarray, vit_view: np.ndarray) -> torch.Tensor:
    """257 tokens and two tags at full size; here 5 and two tags."""
    feature_map = model.conv(normalised(conv_view, CLIP))[0]
    assert feature_map.shape[1:] == (CELLS, CELLS)
    cells = torch.stack([feature_map[:, row, column] for row in range(CELLS) for column in range(CELLS)])
    conv_tokens = torch.cat([cells.mean(0, keepdim=True), cells])
    vit_tokens = model.vit.norm(run_vit(model.vit, normalised(vit_view, IMAGENET)))[0]
    fused = torch.cat([conv_tokens, vit_tokens], dim=1)
    state = model.fusion.state_dict()
    line = fused @ state["project.weight"].T + state["project.bias"]
    centred = line - line.mean(-1, keepdim=True)
    line = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * state["norm.weight"] + state["norm.bias"]
    return torch.cat([state["start"][None], line, state["end"][None]])


def run_vit(vit, pixels: torch.Tensor) -> torch.Tensor:
    """CLS, then patches row by row, with positions added to both; through the blocks."""
    patches = vit.patch_embed.proj(pixels).flatten(2).transpose(1, 2)
    line = torch.cat([vit.cls_token, patches], dim=1) + vit.pos_embed
    for block in vit.blocks:
        line = block(line)
    return line


def run_language(state: dict[str, torch.Tensor], shape, line: torch.Tensor) -> torch.Tensor:
    """Logits [T, vocabulary] of embeddings [T, D], position 0 first."""
    head, length = shape.hidden // shape.heads, len(line)
    angles = torch.arange(length)[:, None] / shape.rope_theta ** (torch.arange(0, head, 2)[None] / head)
    turn = torch.polar(torch.ones_like(angles), angles)
    future = torch.full((length, length), -math.inf).triu(1)

    def rms(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return rows / (rows.square().mean(-1, keepdim=True) + shape.rms_eps).sqrt() * weight

    def rotated(rows: torch.Tensor) -> torch.Tensor:
        pairs = torch.complex(rows[:, : head // 2].contiguous(), rows[:, head // 2 :].contiguous()) * turn
        return torch.cat([pairs.real, pairs.imag], dim=1)

    for number in range(shape.layers):
        part = {name.split(f"layers.{number}.")[1]: value for name, value in state.items() if f"layers.{number}." in name}
        normed = rms(line, part["input_layernorm.weight"])
        q, k, v = (normed @ part[f"self_attn.{name}_proj.weight"].T for name in "qkv")
        heads = []
        for one in range(shape.heads):
            shared = one // (shape.heads // shape.kv_heads)
            columns, shared_columns = slice(one * head, (one + 1) * head), slice(shared * head, (shared + 1) * head)
            scores = rotated(q[:, columns]) @ rotated(k[:, shared_columns]).T / math.sqrt(head) + future
            heads.append(scores.softmax(-1) @ v[:, shared_columns])
        line = line + torch.cat(heads, dim=1) @ part["self_attn.o_proj.weight"].T
        normed = rms(line, part["post_attention_layernorm.weight"])
        line = line + (dense(part, normed) if shape.experts == 1 else experts(part, normed, shape))
    return rms(line, state["model.norm.weight"]) @ state["lm_head.weight"].T


def dense(part: dict[str, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    gate, up = (rows @ part[f"mlp.{name}_proj.weight"].T for name in ("gate", "up"))
    return (gate * gate.sigmoid() * up) @ part["mlp.down_proj.weight"].T


def experts(part: dict[str, torch.Tensor], rows: torch.Tensor, shape) -> torch.Tensor:
    """The two likeliest experts of each token, weighted by their probabilities made to sum to one."""
    mixed = []
    for row in rows:
        probabilities = (row @ part["mlp.gate.weight"].T).softmax(-1)
        best = probabilities.topk(shape.active_experts)
        out = torch.zeros_like(row)
        for weight, expert in zip(best.values / best.values.sum(), best.indices.tolist(), strict=True):
            gate, up = (part["mlp.experts.gate_up_proj"][expert] @ row).chunk(2)
            out += weight * (part["mlp.experts.down_proj"][expert] @ (gate * gate.sigmoid() * up))
        mixed.append(out)
    return torch.stack(mixed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size_px", [(200, 200), (200, 75), (60, 240), (256, 128)])
@torch.no_grad()
def test_the_model_is_the_record_written_down_a_second_time(kind: str, size_px: tuple[int, int]) -> None:
    model, shape = tiny_model(kind), tiny_variant(kind).language
    image = scene(*size_px)
    text, supervised = [17, 40, 5, 99, 7, 120, 33], [False, False, True, True, False, True, True]

    state = model.language.state_dict()
    words = state["model.embed_tokens.weight"]
    rows = [words[1:2]]
    for conv_view, vit_view in zip(recorded_views(image, CONV_PX), recorded_views(image, VIT_PX), strict=True):
        padded = conv_view is None or vit_view is None
        rows.append(model.fusion.skip[None] if padded else view_tokens(model, conv_view, vit_view))
    rows.append(words[torch.tensor(text)])
    line = torch.cat(rows)
    chances = run_language(state, shape, line).log_softmax(-1)
    first = len(line) - len(text)
    expected = -torch.stack([chances[first + i - 1, id] for i, id in enumerate(text) if supervised[i]])

    views = cut_views(image, 2, CONV_PX, VIT_PX)
    sample = TinySample(text, supervised, [views.kept], torch.from_numpy(views.conv), torch.from_numpy(views.vit))
    loss = model(pack=make_pack([sample], model))
    torch.testing.assert_close(loss.token_losses, expected, rtol=1e-3, atol=1e-3)
    assert expected.std() > 0.1
    assert sum(views.kept) == {(200, 200): 5, (200, 75): 3, (60, 240): 3, (256, 128): 3}[size_px]
