"""Experts spread over ranks train, resume and export exactly as experts that every rank has."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from model.build import build_model
from model.contracts.checkpoint import ModelManifest
from model.errors import ConfigError
from model.sphinx_x.modeling_sphinx_x import SphinxXForConditionalGeneration
from model.train.checkpoint import checkpoint_uri, committed_steps
from model.train.config import EngineConfig
from model.train.engine import Engine
from model.train.experts import recorders_by_name, require_experts_fit
from model.train.ranks import join_ranks
from model.train.run import train
from model.train.spec import TrainSpec, model_uri, run_uri
from model.variants import VARIANTS, Variant, variant_named
from tests.model.train.packs import FILLED, MIXED, SUPERVISED, packs_of_step
from tests.support.gloo import run_gloo
from tests.support.tiny import make_spec, quick_config

NUM_STEPS = 3
WEIGHTS_RTOL = 2e-4
"""Routers are sharp here, so rounding in another order of summation grows; a wrong scale shows as some percent."""


def moe_variant() -> Variant:
    """nano with four experts, two of them active."""
    nano = variant_named("nano")
    fields = nano.language.model_dump() | {
        "kind": "mixtral",
        "layers": 2,
        "experts": 4,
        "active_experts": 2,
        "initializer_range": 0.02,
    }
    return nano.model_copy(update={"language": type(nano.language).model_validate(fields)})


def moe_model() -> SphinxXForConditionalGeneration:
    """With routers that prefer some experts clearly, so that no rounding turns a choice and the balance loss has a slope."""
    model = build_model(moe_variant(), None, seed=1, balance_loss_weight=0.5)
    with torch.no_grad():
        for name, parameter in model.language.named_parameters():
            if name.endswith("mlp.gate.weight"):
                parameter.mul_(20)
    return model


def train_experts(pictures: tuple[int, ...] = MIXED, precision: str = "fp32", weight: float = 0.5, **engine_fields) -> dict:
    """Runs on every rank: weights as exported, gradient norms and losses of all ranks."""
    VARIANTS["nano"] = moe_variant()
    ranks = join_ranks()
    config = quick_config(engine={"precision": precision, **engine_fields}, balance_loss_weight=weight)
    each = 4 // ranks.world_size
    engine = Engine(moe_model(), config, ranks, each)
    norms, losses = [], []
    for step in range(NUM_STEPS):
        mine = packs_of_step(step, pictures)[ranks.rank * each : (ranks.rank + 1) * each]
        outcome = engine.step(mine, sum(SUPERVISED), FILLED, 1e-2)
        norms.append(float(outcome.gradient_norm))
        losses.append(sum(ranks.gather(float(sum(one.sum() for one in outcome.token_losses)))))
    weights = {name: value.float().numpy() for name, value in engine.weights() if not name.startswith(("conv.", "vit."))}
    return {"weights": weights, "norms": norms, "losses": losses, "shapes": engine.weight_shapes()}


def assert_equal_training(found: dict, expected: dict) -> None:
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-5)
    assert found["norms"] == pytest.approx(expected["norms"], rel=1e-4)
    assert list(found["weights"]) == list(expected["weights"])
    for name, value in expected["weights"].items():
        assert found["shapes"][name][0] == value.shape == found["weights"][name].shape
        error = np.abs(found["weights"][name] - value).max() / np.abs(value).max()
        assert error < WEIGHTS_RTOL, f"{name} differs by {error:.1e}"


def train_dense(pictures: tuple[int, ...], weight: float = 0.5) -> dict:
    """The same steps in plain torch: one process, one gradient over all packs, transformers' own experts."""
    settings = quick_config().optimizer
    model: Any = moe_model().train()
    model.config.text_config.use_cache = False
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.AdamW(
        trained.values(), lr=1e-2, betas=(settings.beta1, settings.beta2), eps=settings.eps, weight_decay=settings.weight_decay
    )
    norms, losses = [], []
    for step in range(NUM_STEPS):
        outcomes = [model.forward_packed(pack) for pack in packs_of_step(step, pictures)]
        loss_sum = torch.stack([one.loss_sum for one in outcomes]).sum()
        balances = [one.balance_loss for one, count in zip(outcomes, SUPERVISED, strict=True) if count]
        total = loss_sum / sum(SUPERVISED) + weight * sum(one for one in balances if one is not None) / FILLED
        total.backward()
        norms.append(float(nn.utils.clip_grad_norm_(trained.values(), settings.clip_norm)))
        losses.append(float(loss_sum.detach()))
        optimizer.step()
        optimizer.zero_grad()
    return {"weights": {name: value.detach().numpy() for name, value in trained.items()}, "norms": norms, "losses": losses}


@pytest.fixture(scope="module")
def dense() -> dict:
    return train_dense(MIXED)


def train_spread(stage: int, pictures: tuple[int, ...] = MIXED, size: int = 2, precision: str = "fp32") -> dict:
    return train_experts(pictures, precision, zero_stage=stage, expert_parallel_size=size)


@pytest.mark.parametrize(
    ("stage", "num_ranks", "size"),
    [
        (1, 2, 2),
        (2, 2, 2),
        (1, 2, 1),
        *(pytest.param(stage, 4, size, marks=pytest.mark.slow) for stage in (1, 2) for size in (1, 2, 4)),
    ],
)
def test_spread_experts_train_as_plain_torch_with_a_balance_loss_per_pack_that_holds_a_sample(stage, num_ranks, size, dense):
    for found in run_gloo(num_ranks, train_spread, stage, MIXED, size, timeout_s=120):
        assert_equal_training(found, dense)


def test_the_balance_loss_counts(dense):
    assert train_dense(MIXED, weight=0.0)["norms"][0] != pytest.approx(dense["norms"][0], rel=1e-2)


@pytest.mark.parametrize("stage", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_rank_with_text_only_runs_beside_one_with_pictures(stage):
    pictures = (2, 1, 0, 0)  # rank 1 has no picture and an empty pack
    expected = train_dense(pictures)
    for found in run_gloo(2, train_spread, stage, pictures, timeout_s=120):
        assert_equal_training(found, expected)


def train_spread_and_recomputed() -> dict:
    return train_experts(zero_stage=2, expert_parallel_size=2, activation_checkpointing=True)


def test_activation_checkpointing_sends_tokens_again_and_changes_nothing(dense):
    for found in run_gloo(2, train_spread_and_recomputed, timeout_s=120):
        assert_equal_training(found, dense)


def train_whole_under_zero_3() -> dict:
    return train_experts(zero_stage=3)


def test_zero_3_without_spread_experts_trains_the_same(dense):
    for found in run_gloo(2, train_whole_under_zero_3):
        assert_equal_training(found, dense)


def train_moe(spec: TrainSpec) -> ModelManifest:
    """A whole run of nano with experts, on every rank."""
    VARIANTS["nano"] = moe_variant()
    return train(spec)


def spread_spec(tiny: Path, store: Path, stage: int, size: int) -> TrainSpec:
    return make_spec(
        tiny,
        str(store),
        engine={"zero_stage": stage, "expert_parallel_size": size, "precision": "fp32"},
        balance_loss_weight=0.5,
    )


@pytest.mark.parametrize("stage", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_goes_on_exactly_and_with_other_expert_parallel_sizes(stage, tiny, tmp_path):
    whole = spread_spec(tiny, tmp_path / "whole", stage, 2)
    manifest = run_gloo(2, train_moe, whole)[0]
    for num_ranks, size in ((2, 2), (2, 1), *(((4, 4), (4, 2)) if stage == 2 else ())):
        spec = spread_spec(tiny, tmp_path / f"{num_ranks}-{size}", stage, size)
        assert run_uri(spec).rpartition("/")[2] == run_uri(whole).rpartition("/")[2]
        shutil.copytree(run_uri(whole), run_uri(spec))
        shutil.rmtree(checkpoint_uri(run_uri(spec), committed_steps(run_uri(spec))[0]))
        found = run_gloo(num_ranks, train_moe, spec)[0]
        if (num_ranks, size) == (2, 2):
            assert found.digest == manifest.digest
        assert_equal_exports(model_uri(spec), model_uri(whole))
    assert_equal_logits(model_uri(spec), model_uri(whole))


def assert_equal_exports(found_uri: str, expected_uri: str) -> None:
    found, expected = (load_file(Path(uri) / "model.safetensors") for uri in (found_uri, expected_uri))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).abs().max() <= WEIGHTS_RTOL * value.abs().max(), name


def assert_equal_logits(found_uri: str, expected_uri: str) -> None:
    """Of the exports as transformers loads them: no key is missing or left over."""
    logits = []
    for uri in (found_uri, expected_uri):
        model, info = SphinxXForConditionalGeneration.from_pretrained(uri, output_loading_info=True)
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
        logits.append(model.eval()(torch.arange(3, 40)[None]).logits)
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "num_ranks", "words"),
    [
        (
            {"expert_parallel_size": 2},
            3,
            "does not divide 3 ranks; take a divisor of both 3 and 4, or 1 with engine.zero_stage 3",
        ),
        ({"expert_parallel_size": 3}, 3, "does not divide the 4 experts of nano"),
        ({"expert_parallel_size": 2, "zero_stage": 3}, 2, "goes with engine.zero_stage 1 or 2, not 3"),
        ({"expert_parallel_size": 2, "offload": "optimizer"}, 2, "set engine.offload to none"),
    ],
)
def test_a_size_that_cannot_be_had_is_refused_in_a_sentence(fields, num_ranks, words):
    with pytest.raises(ConfigError, match=words) as refusal:
        require_experts_fit(EngineConfig(**fields), moe_variant(), num_ranks)
    assert "\n" not in str(refusal.value)


def test_transformers_registry_of_recorders_is_as_before_once_experts_are_spread():
    from transformers.utils import output_capturing

    registry: Any = output_capturing._CAN_RECORD_REGISTRY
    model = moe_model().language.model
    name = str(model.__class__)
    before = dict(registry)
    expected = registry.get(model)
    with recorders_by_name():
        assert registry.get(name, None) == registry.get(model) == expected
        registry[name] = expected
        assert registry.get("no such class", "given") == "given"
    assert dict(registry) == before
    if hasattr(output_capturing, "_CanRecordRegistry"):
        with pytest.raises(TypeError):  # once this passes, the context is not needed any more
            registry.get(name, None)
