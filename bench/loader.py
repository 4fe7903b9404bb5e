"""How near the loader comes to what its cores can do: pictures a second against bare decoding and resizing in as many threads.

Photographs of 640 x 480 are drawn, saved as JPEG, unified like any dataset, and read under `tiny`'s geometry (1024 and 448 pixel
canvases). Both ways run in turn, several times; the ratio is of the medians. `python bench/loader.py [threads]`
"""

import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.contracts.recipe import BenchmarkSpec, DatasetSpec, Recipe
from model.data.lengths import corpus_lengths
from model.data.loader import open_loader
from model.data.plan import PackPlan, make_plan
from model.data.shards import read_samples
from model.data.unify import merge_corpus, unify_dataset
from model.sphinx_x.image_processing_sphinx_x import cut_views, open_picture
from model.train.config import load_train_config
from model.train.spec import read_corpus_manifest
from model.variants import variant_named

NUM_PICTURES = 240
ROUNDS = 5
VARIANT = variant_named("tiny")


def photograph(seed: int) -> bytes:
    """A picture whose JPEG is about as large as a photograph's: smooth shapes under fine noise."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
    noise = draw.normal(0, 12, (480, 640, 1))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_raw(folder: Path) -> None:
    """Pictures with instances, in COCO's layout."""
    (folder / "train").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "width": 640, "height": 480} for n in range(1, NUM_PICTURES + 1)]
    boxes = [
        {"id": 10 * image["id"] + k, "image_id": image["id"], "category_id": 1, "bbox": [40 * k, 30 * k, 200, 150], "iscrowd": 0,
         "area": 30_000, "segmentation": []}
        for image in images for k in range(4)
    ]  # fmt: skip
    for image in images:
        (folder / "train" / image["file_name"]).write_bytes(photograph(image["id"]))
    content = {"info": {}, "images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cup"}]}
    (folder / "annotations/instances_train.json").write_text(json.dumps(content))


def make_base(texts: list[str], folder: Path) -> None:
    import sentencepiece

    folder.mkdir()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="bpe", vocab_size=400, byte_fallback=True, minloglevel=2
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())


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
        make_raw(folder / "raw")
        recipe = Recipe(
            name="bench",
            datasets=(DatasetSpec(name="drawn", family="coco_detection", root=str(folder / "raw")),),
            benchmarks=(BenchmarkSpec(name="any", benchmark="pope", root="unused"),),
        )
        dataset_uri = unify_dataset(recipe, "drawn", str(folder / "store"))
        corpus_uri = merge_corpus(recipe, [dataset_uri], str(folder / "store"))
        samples = list(read_samples(dataset_uri))
        make_base([turn.question + " " + turn.answer for sample, _ in samples for turn in sample.turns], folder / "base")
        contents = [content for _, pictures in samples for content in pictures]
        lengths = corpus_lengths(corpus_uri, str(folder / "base"), str(folder / "store"))
        config = load_train_config("tiny", {"packs": {"batch_size": 16}})
        plan = make_plan(read_corpus_manifest(corpus_uri), lengths, VARIANT, config)
        ways = (lambda: bare(contents, threads), lambda: loaded(plan, corpus_uri, str(folder / "base"), threads))
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
