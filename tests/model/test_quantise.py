"""In 8 and 4 bits a model answers as before within what the bits lose; its encoders, fusion and head lose nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from model.build import build_model
from model.errors import ConfigError
from model.evaluate.answering import open_answerer
from model.export import export_model
from model.quantise import quantisation
from model.sphinx_x.configuration_sphinx_x import SphinxXConfig
from model.variants import variant_named
from tests.model.test_export import DESCRIBED
from tests.support.tiny import make_base

LOST = {"8bit": 0.03, "4bit": 0.4}
"""Largest relative error of the logits of a model with random weights; measured 0.01 and 0.2."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, Path]:
    """nano (its feed-forward of 336 fits no block of 64), and the same with one of 384."""
    folder = tmp_path_factory.mktemp("quantised")
    base, whole = make_base(folder / "base"), variant_named("nano")
    written = {}
    for name, ffn in (("nano", 336), ("even", 384)):
        shape = whole.language.model_copy(update={"ffn": ffn, "initializer_range": 0.02})
        variant = whole.model_copy(update={"language": shape})
        model = build_model(variant, base, seed=3)
        state = model.state_dict()
        assert isinstance(model.config, SphinxXConfig)
        shapes = {key: (tuple(value.shape), value.dtype) for key, value in state.items()}
        export_model(model.config, shapes, state.items(), base, str(folder / name), DESCRIBED)
        written[name] = folder / name
    return written


@pytest.mark.parametrize("kind", ["8bit", "4bit"])
@pytest.mark.parametrize("name", ["nano", "even"])
def test_a_plain_configuration_gives_a_working_model(kind, name, exported):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes (the extra 'quantised') is not installed")
    from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig

    folder = exported[name]
    plain = BitsAndBytesConfig(load_in_8bit=kind == "8bit", load_in_4bit=kind == "4bit")
    models: list[Any] = [
        AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True, **more).eval()
        for more in ({}, {"quantization_config": plain})
    ]
    whole, small = models
    assert plain.llm_int8_skip_modules is None
    quantised = {path for path, layer in small.named_modules() if "bitsandbytes" in type(layer).__module__}
    blocks = ("self_attn",) if name == "nano" else ("self_attn", "mlp")
    assert quantised == {path for path, layer in whole.named_modules()
                         if type(layer) is torch.nn.Linear and path.startswith("language.model.layers.") and path.split(".")[4] in blocks}  # fmt: skip
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    picture = Image.linear_gradient("L").resize((120, 40)).convert("RGB")
    inputs = processor(images=[picture], text=["what?"])
    with torch.no_grad():
        exact, near = (model(**inputs).logits.float() for model in (whole, small))
        features = [model.encode_views(inputs["conv_views"], inputs["vit_views"]) for model in (whole, small)]
    assert torch.equal(*features)
    assert 0 < (near - exact).norm() / exact.norm() < LOST[kind]
    assert small.get_memory_footprint() < whole.get_memory_footprint()
    assert isinstance(small.chat(picture, "what?", processor=processor, max_new_tokens=3), str)


@pytest.mark.parametrize("kind", ["8bit", "4bit"])
def test_the_projects_own_loading_answers_in_fewer_bits(kind, exported):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes (the extra 'quantised') is not installed")
    with open_answerer(str(exported["even"]), quantise=kind) as answerer:
        layer = answerer.model.language.model.layers[0].mlp.up_proj
        assert layer.weight.dtype == {"8bit": torch.int8, "4bit": torch.uint8}[kind]
        assert isinstance(answerer.model.chat(None, "what?", processor=answerer.processor, max_new_tokens=3), str)


def test_what_cannot_be_loaded_in_fewer_bits_is_said_in_one_sentence(exported, tmp_path, monkeypatch):
    monkeypatch.setattr("model.quantise.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="loading in 4bit needs bitsandbytes and accelerate; install sphinx-x with the extra"):
        quantisation("4bit", exported["nano"])
    monkeypatch.setattr("model.quantise.find_spec", lambda name: object())
    (tmp_path / "config.json").write_text('{"text_config": {"num_local_experts": 8}}')
    with pytest.raises(ConfigError, match="8bit would leave a mixture's experts, nearly all of its weights, as they are"):
        quantisation("8bit", tmp_path)
