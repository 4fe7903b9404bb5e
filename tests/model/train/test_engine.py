"""One optimizer step: the same for any number of ranks, any ZeRO stage, any share of text, and equal to plain torch."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model.build import build_model
from model.train.engine import DTYPES, Engine
from model.train.ranks import join_ranks
from model.variants import variant_named
from tests.model.train.packs import FILLED, MIXED, SUPERVISED, packs_of_step
from tests.support.gloo import run_gloo
from tests.support.tiny import full_state, quick_config

NUM_STEPS = 3


def train_some_steps(stage: int, pictures: tuple[int, ...], engine_fields: dict | None = None) -> dict:
    """Runs on every rank: weights, gradient norms and losses after a few steps."""
    ranks = join_ranks()
    config = quick_config(engine={"zero_stage": stage, **(engine_fields or {})})
    each = 4 // ranks.world_size
    engine = Engine(build_model(variant_named("nano"), None, seed=1), config, ranks, each)
    norms, losses = [], []
    for step in range(NUM_STEPS):
        mine = packs_of_step(step, pictures)[ranks.rank * each : (ranks.rank + 1) * each]
        outcome = engine.step(mine, sum(SUPERVISED), FILLED, 1e-2)
        norms.append(float(outcome.gradient_norm))
        losses.append(float(sum(one.sum() for one in outcome.token_losses)))
    weights = {name: value.float().numpy() for name, value in engine.weights() if not name.startswith(("conv.", "vit."))}
    return {"weights": weights, "norms": norms, "losses": losses}


def plain_torch(pictures: tuple[int, ...]) -> dict:
    """The same steps without DeepSpeed: one process, one gradient over all packs."""
    config = quick_config().optimizer
    model: Any = build_model(variant_named("nano"), None, seed=1).train()
    model.config.text_config.use_cache = False
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=1e-2, betas=(config.beta1, config.beta2), eps=config.eps, weight_decay=config.weight_decay
    )
    norms = []
    for step in range(NUM_STEPS):
        total = sum(model.forward_packed(pack).loss_sum for pack in packs_of_step(step, pictures)) / sum(SUPERVISED)
        total.backward()
        norms.append(float(nn.utils.clip_grad_norm_(trained, config.clip_norm)))
        optimizer.step()
        optimizer.zero_grad()
    return {"weights": {name: value.numpy() for name, value in full_state(model).items()}, "norms": norms}


def assert_equal_training(found: dict, expected: dict) -> None:
    assert found["norms"] == pytest.approx(expected["norms"], rel=1e-4)
    assert found["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        error = np.abs(found["weights"][name] - value).max() / np.abs(value).max()
        assert error < 2e-5, f"{name} differs by {error:.1e}"


@pytest.fixture(scope="module")
def expected() -> dict:
    return plain_torch(MIXED)


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_weights_do_not_depend_on_how_packs_are_spread_over_ranks(num_ranks, expected):
    for found in run_gloo(num_ranks, train_some_steps, 1, MIXED):
        assert_equal_training(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_weights_do_not_depend_on_the_zero_stage(stage, num_ranks, expected):
    for found in run_gloo(num_ranks, train_some_steps, stage, MIXED):
        assert_equal_training(found, expected)


@pytest.mark.parametrize("stage", [pytest.param(1), pytest.param(3)])
def test_a_rank_with_text_only_runs_beside_one_with_pictures(stage):
    # Rank 0 has both pictures, rank 1 none at all and an empty pack.
    pictures = (2, 1, 0, 0)
    found = run_gloo(2, train_some_steps, stage, pictures, timeout_s=120)
    assert_equal_training(found[0], plain_torch(pictures))
    assert np.array_equal(found[0]["weights"]["fusion.start"], found[1]["weights"]["fusion.start"])


def test_activation_checkpointing_changes_nothing(expected):
    (found,) = run_gloo(1, train_some_steps, 1, MIXED, {"activation_checkpointing": True})
    assert_equal_training(found, expected)


def skip_second_step(stage: int, precision: str) -> dict:
    ranks = join_ranks()
    config = quick_config(engine={"zero_stage": stage, "precision": precision})
    model = build_model(variant_named("nano"), None, DTYPES[precision], seed=1)
    engine = Engine(model, config, ranks, 4 // ranks.world_size)
    mine = packs_of_step(0, MIXED)[ranks.rank :: ranks.world_size]
    seen = []

    def is_spike(loss: float) -> bool:
        seen.append(loss)
        return len(seen) == 2

    states = []
    for _ in range(3):
        skipped = engine.step(mine, sum(SUPERVISED), FILLED, 1e-2, is_spike).skipped
        states.append((skipped, dict(engine.weights())["language.lm_head.weight"].float().numpy().copy()))
    return {"states": states, "seen": seen}


@pytest.mark.parametrize(
    ("num_ranks", "stage", "precision"),
    [
        (1, 1, "fp32"),  # its last pack is empty
        (2, 1, "fp32"),
        *(pytest.param(2, stage, "fp32", marks=pytest.mark.slow) for stage in (0, 2, 3)),
        *(pytest.param(2, stage, "bf16", marks=pytest.mark.slow) for stage in (1, 2, 3)),
    ],
)
def test_a_spike_leaves_the_update_out_and_training_goes_on(num_ranks, stage, precision):
    for found in run_gloo(num_ranks, skip_second_step, stage, precision):
        (first, second, third) = found["states"]
        assert [one[0] for one in found["states"]] == [False, True, False]
        assert np.array_equal(first[1], second[1])
        assert np.isfinite(third[1]).all()
        assert not np.array_equal(second[1], third[1])
        assert found["seen"][1] == pytest.approx(found["seen"][2])  # the same packs under the same weights
