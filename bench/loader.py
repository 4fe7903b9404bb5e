"""How near the loader comes to what its cores can do: pictures a second against bare decoding and resizing in as many threads.

Photographs of 640 x 480 are drawn, saved as JPEG, unified like any dataset, and read under `tiny`'s geometry (1024 and 448 pixel
canvases). Both ways run in turn, several times; the ratio is of the medians. `python bench/loader.py [threads]`
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.support.drawn import make_corpus
from model.data.lengths import corpus_lengths
from model.data.loader import open_loader
from model.data.plan import PackPlan, make_plan
from model.data.shards import read_samples
from model.sphinx_x.image_processing_sphinx_x import cut_views, open_picture
from model.train.config import load_train_config
from model.train.spec import read_corpus_manifest
from model.variants import variant_named

NUM_PICTURES = 240
ROUNDS = 5
VARIANT = variant_named("tiny")


def bare(contents: list[bytes], threads: int) -> None:
    geometry = VARIANT.geometry

    def one(content: bytes) -> None:
        cut_views(open_picture(content), geometry.grid, geometry.conv_px, geometry.vit_px)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, contents))


def loaded(plan: PackPlan, corpus_uri: str, base_uri: str, threads: int) -> None:
    config = load_train_config("tiny", {"loader": {"workers": threads}})
    with open_loader(plan, corpus_uri, base_uri, VARIANT, config, 0, 1, 0) as steps:
        for _ in steps:
            pass


def seconds(work: Callable[..., None], *arguments: object) -> float:
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus_uri, base_uri = make_corpus(folder, [(640, 480)] * NUM_PICTURES)
        corpus = read_corpus_manifest(corpus_uri)
        contents = [content for one in corpus.datasets for _, pictures in read_samples(one.uri) for content in pictures]
        lengths = corpus_lengths(corpus_uri, base_uri, str(folder / "store"))
        config = load_train_config("tiny", {"packs": {"batch_size": 16}})
        plan = make_plan(corpus, lengths, VARIANT, config)
        ways = (lambda: bare(contents, threads), lambda: loaded(plan, corpus_uri, base_uri, threads))
        ways[1]()
        times = [[seconds(way) for way in ways] for _ in range(ROUNDS)]
    bare_s, loaded_s = (statistics.median(column) for column in zip(*times, strict=True))
    kilobytes = sum(map(len, contents)) / len(contents) / 1e3
    print(
        f"{len(contents)} pictures of 640 x 480 ({kilobytes:.0f} kB) for {VARIANT.name}, {threads} threads, median of {ROUNDS}"
    )
    print(f"bare decode and resize: {len(contents) / bare_s:.1f} pictures/s")
    print(f"loader: {len(contents) / loaded_s:.1f} pictures/s, {bare_s / loaded_s:.3f} of the bare rate")


if __name__ == "__main__":
    main()
