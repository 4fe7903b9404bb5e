"""One optimizer step: the same for any number of ranks, any ZeRO stage, any share of text, and equal to plain torch."""

import numpy as np
import pytest
import torch
from torch import nn

from model.build import build_model
from model.data.materialise import PackBatch
from model.train.engine import DTYPES, Engine
from model.train.ranks import join_ranks
from model.variants import variant_named
from tests.support.gloo import run_gloo
from tests.support.tiny import full_state, quick_config

SUPERVISED = (61, 1, 17, 0)
"""Supervised tokens of the four packs of a step; the last one is empty."""
NUM_STEPS = 3


def make_pack(supervised: int, num_pictures: int, seed: int) -> PackBatch:
    """A pack of one sample (none for 0 supervised tokens) with random text and views; pictures have a skipped view each."""
    draw = torch.Generator().manual_seed(seed)
    variant = variant_named("nano")
    per_view = variant.geometry.tokens_per_view
    view_starts = [1 + picture * (2 * per_view + 1) + view * per_view for picture in range(num_pictures) for view in range(2)]
    skips = [1 + picture * (2 * per_view + 1) + 2 * per_view for picture in range(num_pictures)]
    length = 1 + num_pictures * (2 * per_view + 1) + supervised + 5 if supervised else 1
    ids = torch.randint(3, variant.language.vocab, (length,), generator=draw)
    labels = torch.full_like(ids, -100)
    labels[length - supervised :] = ids[length - supervised :] if supervised else labels[length:]
    places = torch.zeros(supervised, dtype=torch.long)

    def views(side_px: int) -> torch.Tensor | None:
        if not num_pictures:
            return None
        return torch.randint(0, 256, (2 * num_pictures, 3, side_px, side_px), generator=draw, dtype=torch.uint8)

    return PackBatch(
        input_ids=ids,
        labels=labels,
        position_ids=torch.arange(length),
        cu_seqlens=torch.tensor([0, length], dtype=torch.int32),
        view_starts=torch.tensor(view_starts, dtype=torch.long),
        skip_positions=torch.tensor(skips, dtype=torch.long),
        supervised_datasets=places,
        supervised_tasks=places,
        conv_views=views(variant.geometry.conv_px),
        vit_views=views(variant.geometry.vit_px),
        features=None,
        max_seqlen=length,
        samples=int(supervised > 0),
    )


def packs_of_step(step: int, pictures: tuple[int, ...]) -> list[PackBatch]:
    return [make_pack(count, shown, 100 * step + n) for n, (count, shown) in enumerate(zip(SUPERVISED, pictures, strict=True))]


def train_some_steps(stage: int, pictures: tuple[int, ...], engine_fields: dict | None = None) -> dict:
    """Runs on every rank: weights, gradient norms and losses after a few steps."""
    ranks = join_ranks()
    config = quick_config(engine={"zero_stage": stage, **(engine_fields or {})})
    each = 4 // ranks.world_size
    engine = Engine(build_model(variant_named("nano"), None, seed=1), config, ranks, each)
    norms, losses = [], []
    for step in range(NUM_STEPS):
        mine = packs_of_step(step, pictures)[ranks.rank * each : (ranks.rank + 1) * each]
        outcome = engine.step(mine, sum(SUPERVISED), 1e-2)
        norms.append(float(outcome.gradient_norm))
        losses.append(float(sum(one.sum() for one in outcome.token_losses)))
    weights = {name: value.float().numpy() for name, value in engine.weights() if not name.startswith(("conv.", "vit."))}
    return {"weights": weights, "norms": norms, "losses": losses}


def plain_torch(pictures: tuple[int, ...]) -> dict:
    """The same steps without DeepSpeed: one process, one gradient over all packs."""
    config = quick_config().optimizer
    model = build_model(variant_named("nano"), None, seed=1).train()
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


MIXED = (2, 0, 1, 0)


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
        skipped = engine.step(mine, sum(SUPERVISED), 1e-2, is_spike).skipped
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
