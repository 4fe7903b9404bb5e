"""How fast questions are answered: one at a time, in batches, and in batches that share a picture's keys and values.

Random weights and short answers (4 tokens): what is measured is encoding, prefill and batching, in one process, as ratios to the
first line. `python bench/evaluation.py [variant] [pictures] [questions a picture]`; on a GPU the weights are bfloat16.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.build import build_model
from model.evaluate.answering import Answerer, Asked
from model.sphinx_x.image_processing_sphinx_x import SphinxXImageProcessor
from model.sphinx_x.processing_sphinx_x import SphinxXProcessor
from model.sphinx_x.tokenization_sphinx_x import SphinxXTokenizer
from model.variants import variant_named
from model.weights import TOKENIZER_FILE
from tests.support.tiny import make_base

NEW_TOKENS = 4
WAYS: tuple[tuple[str, int, bool], ...] = (
    ("one question at a time", 1, False),
    ("batches of 32", 32, False),
    ("batches of 32, each picture once", 32, True),
)


def make_answerer(variant_name: str, folder: Path) -> Answerer:
    """A model of a size with random weights."""
    on_gpu = torch.cuda.is_available()
    variant = variant_named(variant_name)
    model = build_model(variant, None, dtype=torch.bfloat16 if on_gpu else torch.float32)
    tokenizer = SphinxXTokenizer(str(Path(make_base(folder)) / TOKENIZER_FILE))
    image_processor = SphinxXImageProcessor(variant.geometry.grid, variant.geometry.conv_px, variant.geometry.vit_px)
    return Answerer(model.to("cuda" if on_gpu else "cpu"), SphinxXProcessor(image_processor, tokenizer))


def timed(work: Callable[[], int]) -> float:
    """Questions a second."""
    started = time.perf_counter()
    number = work()
    return number / (time.perf_counter() - started)


def main() -> None:
    variant = sys.argv[1] if len(sys.argv) > 1 else "nano"
    num_pictures, per_picture = (int(text) for text in (sys.argv[2:4] or ("24", "9")))
    with tempfile.TemporaryDirectory() as folder:
        answerer = make_answerer(variant, Path(folder))
    asked = [
        Asked(
            answerer.views(Image.new("RGB", (640, 480), (number % 256, 90, 30))),
            tuple((f"{number}-{place}", "is it " + "bado " * place + "here?") for place in range(per_picture)),
        )
        for number in range(num_pictures)
    ]
    alone = [Asked(one.views, (question,)) for one in asked for question in one.questions]
    print(
        f"{variant} on {answerer.device_name}: {num_pictures} pictures, {per_picture} questions each, {NEW_TOKENS} new tokens"
    )
    first = 0.0
    for name, batch_size, shared in WAYS:
        answerer.batch_size = answerer.most_pictures = batch_size
        groups = asked if shared else alone
        list(answerer.answer(groups[:2], NEW_TOKENS))  # warms up
        speed = timed(lambda groups=groups: sum(len(batch) for batch in answerer.answer(groups, NEW_TOKENS)))
        first = first or speed
        print(f"{name}: {speed:.1f} questions/s, {speed / first:.1f} x")


if __name__ == "__main__":
    main()
