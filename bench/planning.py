"""How long a run over the paper's 15.3 million samples takes to plan on one core, how much memory that needs, how full packs are.

The samples are drawn: half text only, half with one picture of a size that is common in COCO, Objects365 or a scan; texts are
log-normal. Prints one line a figure. `python bench/planning.py [millions of samples]`
"""

import gc
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.contracts.corpus import CorpusDataset, CorpusManifest, DatasetManifest
from model.data.deal import deal
from model.data.flops import pack_flops
from model.data.lengths import Lengths, read_lengths, write_lengths
from model.data.plan import make_plan
from model.train.config import load_train_config
from model.variants import variant_named

SIZES_PX = np.array(
    [(640, 480), (480, 640), (640, 427), (500, 375), (1024, 768), (1654, 2339), (1920, 480), (512, 512)], np.int32
)


def synthetic_lengths(num_samples: int, seed: int) -> Lengths:
    """Lengths of samples that exist nowhere else."""
    draw = np.random.default_rng(seed)
    turns = draw.integers(1, 4, num_samples, dtype=np.int32)
    turn_starts = np.concatenate([[0], np.cumsum(turns, dtype=np.int32)])
    turn_tokens = np.clip(draw.lognormal(4.4, 0.9, turn_starts[-1]), 12, 3000).astype(np.int32)
    totals = np.concatenate([[0], np.cumsum(turn_tokens, dtype=np.int64)])
    turn_ends = (totals[1:] - np.repeat(totals[turn_starts[:-1]], turns) + 40).astype(np.int32)
    with_picture = draw.random(num_samples) < 0.5
    sizes = SIZES_PX[draw.integers(0, len(SIZES_PX), int(with_picture.sum()))]
    return Lengths(
        digest="drawn",
        tasks=("drawn",),
        dataset=np.zeros(num_samples, np.int16),
        task=np.zeros(num_samples, np.int16),
        shard=np.zeros(num_samples, np.int32),
        offset=np.zeros(num_samples, np.int64),
        bytes=np.zeros(num_samples, np.int32),
        picture_starts=np.concatenate([[0], np.cumsum(with_picture, dtype=np.int32)]),
        picture_widths=np.ascontiguousarray(sizes[:, 0]),
        picture_heights=np.ascontiguousarray(sizes[:, 1]),
        turn_starts=turn_starts.astype(np.int32),
        turn_ends=turn_ends,
        turn_supervised=turn_ends // 2,
    )


def corpus_of(num_samples: int) -> CorpusManifest:
    dataset = DatasetManifest(
        name="drawn", family="text_dialogue", licence="unknown", digest="drawn", samples=num_samples, turns=0, pictures=0,
        held_out_pictures=0, tasks={}, rejects={}, padding="corner", shards=(), index_sha256="",
    )  # fmt: skip
    return CorpusManifest(
        recipe="drawn", digest="drawn", padding="corner", samples=num_samples, index_sha256="",
        datasets=(CorpusDataset(name="drawn", uri="", share=1.0, manifest=dataset),),
    )  # fmt: skip


def main() -> None:
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else 15.3
    variant, config = variant_named("tiny"), load_train_config("tiny")
    num_samples = round(millions * 1e6)
    with tempfile.TemporaryDirectory() as folder:
        uri = f"{folder}/lengths.parquet"
        write_lengths(synthetic_lengths(num_samples, seed=0), uri)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of drawing
        started, started_cpu = time.perf_counter(), time.process_time()
        lengths = read_lengths(uri, "drawn")
    plan = make_plan(corpus_of(num_samples), lengths, variant, config)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    statistics = plan.statistics
    columns_gb = sum(value.nbytes for value in vars(lengths).values() if isinstance(value, np.ndarray)) / 1e9
    print(
        f"reading lengths and planning {millions:g} million samples: {cpu_seconds:.1f} s of one core, {seconds:.1f} s by the clock"
    )
    print(f"length columns: {columns_gb:.2f} GB; peak memory of the process meanwhile: {_peak_gb():.2f} GB")
    print(f"{plan.num_steps} steps of {plan.packs_per_step} packs, {statistics.samples_per_step:.2f} samples a step")
    print(f"fill: {statistics.pack_fill_tokens:.4f} of tokens, {statistics.pack_fill_views:.4f} of views; ", end="")
    print(f"{statistics.empty_packs} empty packs; {statistics.cut_samples} samples cut; rejected: {statistics.rejected}")
    numbers = range(0, plan.num_steps, max(1, plan.num_steps // 500))
    started = time.perf_counter()
    steps = [plan.step(number) for number in numbers]
    print(f"one step out of the plan: {(time.perf_counter() - started) / len(steps) * 1e3:.2f} ms")
    for num_ranks in (2, 8):
        if plan.packs_per_step % num_ranks == 0:
            print(f"dealt to {num_ranks} ranks: the busiest has {_imbalance(steps, num_ranks, variant):.3f} of the mean FLOPs")


def _imbalance(steps: list, num_ranks: int, variant) -> float:
    ratios = []
    for step in steps:
        loads = [sum(pack_flops(step.packs[pack], variant) for pack in rank) for rank in deal(step, num_ranks, variant)]
        ratios.append(max(loads) / (sum(loads) / num_ranks))
    return float(np.mean(ratios))


def _peak_gb() -> float:
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024 / 1e9


if __name__ == "__main__":
    main()
