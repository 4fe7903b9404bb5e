"""The table of sizes is true: what it says of encoders and language models is what timm and transformers build."""

import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from model.build import model_config, text_config
from model.errors import ConfigError
from model.sphinx_x.encoders import Fusion, make_convnext, make_dinov2
from model.variants import VARIANTS, EncoderShape, Variant, ViewGeometry, variant_named

ENCODERS = {(variant.conv.name, variant.vit.name): variant for variant in reversed(VARIANTS.values())}
LANGUAGES = {variant.language.model_dump_json(): variant for variant in VARIANTS.values()}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def forward_tflop(run, side_px: int) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run(torch.empty(1, 3, side_px, side_px))
    return counter.get_total_flops() / 1e12


@pytest.mark.parametrize("variant", ENCODERS.values(), ids=lambda variant: variant.name)
def test_encoders_have_the_stated_parameters_flops_and_shapes(variant: Variant) -> None:
    geometry = variant.geometry
    with torch.device("meta"):
        conv = make_convnext(variant.conv.name, dict(variant.conv.arguments))
        vit = make_dinov2(variant.vit.name, geometry.vit_px, dict(variant.vit.arguments))
        feature_map = conv(torch.empty(1, 3, geometry.conv_px, geometry.conv_px))
        tokens = vit.forward_features(torch.empty(1, 3, geometry.vit_px, geometry.vit_px))
        stated: list[tuple[EncoderShape, torch.nn.Module, float]] = [
            (variant.conv, conv, forward_tflop(conv, geometry.conv_px)),
            (variant.vit, vit, forward_tflop(vit.forward_features, geometry.vit_px)),
        ]
    for shape, module, tflop in stated:
        assert count(module) == shape.parameters
        assert shape.forward_tflop_per_view == pytest.approx(tflop, rel=1e-3)
    side = geometry.conv_px // 32
    assert feature_map.shape == (1, variant.conv.channels, side, side)
    assert tokens.shape == (1, 1 + side * side, variant.vit.channels)
    assert geometry.tokens_per_view == 3 + side * side


@pytest.mark.parametrize("variant", LANGUAGES.values(), ids=lambda variant: variant.name)
def test_language_models_have_the_stated_parameters(variant: Variant) -> None:
    with torch.device("meta"):
        language = AutoModelForCausalLM.from_config(AutoConfig.for_model(**text_config(variant.language)))
    assert count(language) == variant.language.parameters
    matmul = [p.numel() for name, p in language.named_parameters() if p.ndim > 1 and "layers" in name]
    if variant.language.experts == 1:
        assert sum(matmul) == variant.language.active_matmul_parameters


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: variant.name)
def test_the_fusion_has_the_stated_parameters_and_the_configuration_the_geometry(variant: Variant) -> None:
    with torch.device("meta"):
        fusion = Fusion(variant.fused_channels, variant.language.hidden)
    assert count(fusion) == variant.fusion_parameters
    assert model_config(variant).tokens_per_view == variant.geometry.tokens_per_view


def test_published_sizes() -> None:
    sizes = {name: round(variant.language.parameters / 1e9, 3) for name, variant in VARIANTS.items() if name != "nano"}
    assert sizes == {"tiny": 1.1, "intern2": 7.738, "plus": 13.016, "plus-2k": 13.016, "moe": 46.703}
    views = {name: variant.geometry.num_views for name, variant in VARIANTS.items()}
    assert views == {"nano": 1, "tiny": 5, "intern2": 5, "plus": 5, "plus-2k": 10, "moe": 5}
    assert {variant.geometry.tokens_per_view for name, variant in VARIANTS.items() if name != "nano"} == {259}


def test_encoders_whose_grids_differ_are_refused() -> None:
    with pytest.raises(ValidationError, match="must be the same whole number"):
        ViewGeometry(grid=2, conv_px=512, vit_px=448)


def test_an_unknown_variant_names_those_that_exist() -> None:
    with pytest.raises(ConfigError, match="no variant 'huge'; choose one of nano, tiny"):
        variant_named("huge")
