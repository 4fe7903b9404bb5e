"""How fast this machine trains a variant, where the time of a step goes, and what memory it takes against what `sphinx-x plan` says.

    python bench/training.py [variant] [setting=value ...]         torchrun --nproc-per-node 8 bench/training.py tiny

The real loader, model and engine over a drawn mixture, as in `original_way.py`: half of the samples text only, a third wide or tall
pictures, a sixth square ones. Weights are random, at the variant's own size and in the preset's precision; no checkpoint is written.
`setting=value` overrides the preset, as `engine.offload=optimizer`. First come whole steps with the loader; then the packs of the last
one are done again in parts, the device waited for after each, which a step never does.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import deepspeed
import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.support.drawn import make_corpus
from model.build import build_model
from model.data.deal import packs_per_rank
from model.data.flops import encoder_flops_per_view
from model.data.lengths import corpus_lengths
from model.data.loader import Loader, open_loader
from model.data.plan import PackPlan, make_plan
from model.train.config import TrainConfig, load_train_config
from model.train.engine import DTYPES, Engine
from model.train.estimate import memory
from model.train.machine import H200_GB, Machine
from model.train.metrics import Window
from model.train.ranks import Ranks, join_ranks
from model.train.spec import read_corpus_manifest
from model.variants import variant_named
from pipelines.commands.options import overrides_of

WARM_STEPS, TIMED_STEPS = 2, 6
SIZES_PX = (None, None, None, (1280, 620), (640, 480), (420, 900))
"""Of a picture, or none, by turns."""
PARTS: tuple[str, ...] = ("encoders", "forward", "backward", "update")


def time_steps(engine: Engine, loader: Loader, window: Window, ranks: Ranks) -> tuple[dict[str, Any], list[Any]]:
    """The log's row of the steps after the warm ones, and this rank's packs of the last step."""
    samples = tokens = 0
    packs: list[Any] = []
    began = time.perf_counter()
    for batch in loader:
        packs = [pack.to(ranks.device) for pack in batch.packs]
        outcome = engine.step(packs, batch.supervised_tokens, batch.filled_packs, 1e-5)
        now = time.perf_counter()
        window.add(batch, outcome, now - began)
        samples, tokens, began = samples + batch.samples, tokens + batch.tokens, now
        if batch.number + 1 == WARM_STEPS:
            window.row(batch.number + 1, 1e-5, samples, tokens)
        if batch.number + 1 == WARM_STEPS + TIMED_STEPS:
            return window.row(batch.number + 1, 1e-5, samples, tokens), packs
    raise AssertionError("make_the_plan draws too few samples")


def time_parts(engine: Engine, packs: list[Any], ranks: Ranks) -> tuple[dict[str, float], int]:
    """Seconds of each part of a step over this rank's packs, and the number of their views."""
    seconds, views = dict.fromkeys(PARTS, 0.0), 0

    def part(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        if ranks.device.type == "cuda":
            torch.cuda.synchronize()
        seconds[name] += time.perf_counter() - began
        return result

    for pack in packs:
        if pack.conv_views is not None:
            views += len(pack.conv_views)
            features = part("encoders", lambda pack=pack: engine.model.encode_views(pack.conv_views, pack.vit_views))
            pack = replace(pack, features=features, conv_views=None, vit_views=None)
        loss = part("forward", lambda pack=pack: engine.deepspeed(pack))
        part("backward", lambda loss=loss: engine.backward_sum(loss, 1000))
        part("update", engine.deepspeed.step)
    return seconds, views


def make_the_plan(folder: Path, config: TrainConfig) -> tuple[PackPlan, str, str]:
    num_samples = config.packs.batch_size * (WARM_STEPS + TIMED_STEPS + 1)
    corpus_uri, base_uri = make_corpus(folder, [SIZES_PX[number % len(SIZES_PX)] for number in range(num_samples)])
    lengths = corpus_lengths(corpus_uri, base_uri, str(folder / "store"))
    return make_plan(read_corpus_manifest(corpus_uri), lengths, variant_named(config.variant), config), corpus_uri, base_uri


def show_memory(config: TrainConfig, ranks: Ranks, measured_gb: float) -> None:
    on_gpu = ranks.device.type == "cuda"
    machine = Machine(1, ranks.world_size, H200_GB, "gpu" if on_gpu else "cpu")
    foretold = memory(variant_named(config.variant), config, machine)
    if on_gpu:  # what torch has allocated is measured; context and NCCL's buffers are outside
        foretold.pop("reserve")
    total = sum(foretold.values())
    parts = ", ".join(f"{name} {size:.2f}" for name, size in foretold.items())
    print(
        f"memory of a rank: {measured_gb:.2f} GB at its peak, {total:.2f} GB foretold ({measured_gb / total:.3f} of it): {parts}"
    )


def main() -> None:
    variant = variant_named(sys.argv[1] if len(sys.argv) > 1 else "nano")
    config = load_train_config(variant.name, overrides_of(sys.argv[2:]))
    ranks = join_ranks()
    with tempfile.TemporaryDirectory() as name:
        plan, corpus_uri, base_uri = make_the_plan(Path(name), config)
        model = build_model(variant, None, DTYPES[config.engine.precision], config.seed)
        engine = Engine(model, config, ranks, packs_per_rank(plan.packs_per_step, ranks.world_size))
        window = Window(plan, config, variant, ranks)
        with open_loader(plan, corpus_uri, base_uri, variant, config, ranks.rank, ranks.world_size, 0) as loader:
            row, packs = time_steps(engine, loader, window, ranks)
        seconds, views = time_parts(engine, packs, ranks)
    if not ranks.is_first:
        return
    device = torch.cuda.get_device_name(ranks.device) if ranks.device.type == "cuda" else "CPU"
    print(
        f"{variant.name} on {ranks.world_size} x {device}; torch {torch.__version__}, transformers {transformers.__version__}, "
        f"deepspeed {deepspeed.__version__}, {date.today()}"
    )
    print(f"settings: {config.engine.model_dump_json()} {config.packs.model_dump_json()}")
    mfu = f"{row['mfu']:.1%}" if "mfu" in row else "no peak known"
    print(
        f"{TIMED_STEPS} steps of {plan.packs_per_step} packs ({row['pack_fill']:.0%} full): "
        f"{row['samples_per_second']:.2f} samples/s, {row['tokens_per_second']:.0f} tokens/s, MFU {mfu}, "
        f"data wait {row['data_wait_share']:.1%}, straggler ratio {row['straggler_ratio']:.2f}"
    )
    whole = sum(seconds.values())
    print("parts: " + ", ".join(f"{part} {seconds[part]:.3f} s ({seconds[part] / whole:.0%})" for part in PARTS))
    print(f"encoders: {views * encoder_flops_per_view(variant) / seconds['encoders'] / 1e12:.3f} TFLOP/s over {views} views")
    show_memory(config, ranks, row["memory_gb"])


if __name__ == "__main__":
    main()
