"""What is seen of a run: a slow rank, a profiled window of steps; and an optimizer in host memory, which changes nothing."""

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from model import storage
from model.contracts.checkpoint import ModelManifest
from model.train.engine import Trained
from model.train.log import read_log
from model.train.ranks import join_ranks
from model.train.run import train
from model.train.spec import PROFILE_FOLDER, TrainSpec, run_uri
from tests.model.train.packs import MIXED
from tests.model.train.test_engine import assert_equal_training, plain_torch, train_some_steps
from tests.support.gloo import run_gloo
from tests.support.tiny import make_spec

SLOW_S = 0.3


def train_with_a_slow_rank(spec: TrainSpec) -> ModelManifest:
    """Rank 1 needs longer for every pack."""
    if os.environ["RANK"] == "1":
        forward = Trained.forward

        def slow(self: Trained, pack: Any) -> Any:
            time.sleep(SLOW_S)
            return forward(self, pack)

        Trained.forward = slow
    return train(spec)


def test_a_rank_that_others_wait_for_shows_in_the_log(tiny, tmp_path):
    even, uneven = (make_spec(tiny, str(tmp_path / name), epochs=0.5) for name in ("even", "uneven"))
    run_gloo(2, train, even)
    run_gloo(2, train_with_a_slow_rank, uneven)
    ratios = [[row["straggler_ratio"] for row in read_log(run_uri(spec))] for spec in (even, uneven)]
    assert all(1 <= ratio <= 2 for ratio in ratios[0] + ratios[1])  # 2: one of two ranks does all the work
    assert min(ratios[1]) > 1.5
    assert min(ratios[0]) < min(ratios[1])


def test_the_profiler_records_the_steps_that_were_asked_for_and_no_others(tiny, tmp_path):
    spec = make_spec(tiny, str(tmp_path), epochs=0.7, watch={"log_every_steps": 1, "profile_steps": [1, 2]})
    assert run_gloo(1, train, spec)[0].steps > 3
    (trace,) = Path(storage.join(run_uri(spec), PROFILE_FOLDER)).iterdir()
    assert trace.name == "steps-1-2.json.gz"
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert sum(str(event.get("name")).startswith("Optimizer.step#") for event in events) == 2


def compile_optimizer() -> None:
    """DeepSpeed compiles its optimizer for the CPU when it is used first, which takes minutes on a busy machine."""
    join_ranks()
    from deepspeed.accelerator import get_accelerator

    get_accelerator().create_op_builder("CPUAdamBuilder").load(verbose=False)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_optimizer_in_host_memory_trains_the_same(stage):
    run_gloo(1, compile_optimizer, timeout_s=900)
    for found in run_gloo(2, train_some_steps, stage, MIXED, {"offload": "optimizer"}):
        assert_equal_training(found, plain_torch(MIXED))
