"""A tiny exported model and raw benchmark files, for tests of evaluation; the weights are random, the code is the real one."""

import json
from collections.abc import Sequence
from pathlib import Path

from model.build import build_model
from model.contracts.base import digest_of
from model.contracts.checkpoint import BaseModel, ModelManifest
from model.contracts.recipe import BenchmarkSpec, DatasetSpec, Recipe
from model.export import export_model
from model.variants import variant_named
from tests.support.raw_layouts import picture, put
from tests.support.tiny import make_base

SIZES_PX = ((64, 64), (120, 40), (40, 120), (96, 80))


def manifest_of(**fields) -> ModelManifest:
    """A model manifest with made-up figures and no files."""
    given = {
        "variant": "nano",
        "digest": digest_of("a model"),
        "run_digest": digest_of("a run"),
        "corpus_digest": digest_of("a corpus"),
        "plan_digest": digest_of("a plan"),
        "train_config": {},
        "steps": 1,
        "samples_seen": 1,
        "tokens_seen": 1,
        "train_seconds": 1.0,
        "bases": (BaseModel(name="base", uri="somewhere", digest="0", licence="Apache-2.0"),),
        "licences": {"pictured": "MIT"},
        "files": (),
    }
    return ModelManifest.model_validate(given | fields)


def save_model(folder: Path, seed: int = 0, padding: str = "corner") -> str:
    """Export a nano model with random weights; its URI."""
    base_uri = make_base(folder.parent / f"{folder.name}-base", seed)
    model = build_model(variant_named("nano"), base_uri, seed=seed, padding=padding)
    weights = model.state_dict()
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in weights.items()}
    described = manifest_of().model_dump(exclude={"schema_version", "digest", "bases", "files"})
    export_model(model.config, shapes, weights.items(), base_uri, str(folder), described)
    return str(folder)


def write_short_answers(root: Path, num_pictures: int = 6, per_picture: int = 5) -> Path:
    """Questions of unequal lengths about pictures of all shapes."""
    rows = []
    for number in range(num_pictures):
        put(root / f"images/{number}.jpg", picture(*SIZES_PX[number % 4], shade=40 * number % 250))
        rows += [
            {
                "question_id": f"{number}-{place}",
                "image": f"{number}.jpg",
                "question": "what is " + "bado " * (place * 3) + "here?",
                "answers": ["yes" if place % 2 else "no"],
                "group": "odd" if place % 2 else "even",
            }
            for place in range(per_picture)
        ]
    put(root / "val.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return root


def write_pope(root: Path, rows: Sequence[tuple | str] | None = None) -> Path:
    """POPE's split random, with the Windows ends of line of the published files; a text is a line as it stands."""
    rows = rows or [(1, "1.jpg", "Is there a cup in the image?", "yes"), (2, "1.jpg", "Is there a dog in the image?", "no")]
    fields = ("question_id", "image", "text", "label")
    lines = [row if isinstance(row, str) else json.dumps(dict(zip(fields, row, strict=True))) for row in rows]
    put(root / "coco_pope_random.json", "\r\n".join(lines) + "\r\n")
    put(root / "val2014/1.jpg", picture(64, 48))
    return root


def recipe_with(*benchmarks: BenchmarkSpec, datasets: tuple[DatasetSpec, ...] = (), **fields) -> Recipe:
    """A recipe around some benchmarks."""
    train = datasets or (DatasetSpec(name="any", family="llava", root="nowhere"),)
    return Recipe(name="judged", datasets=train, benchmarks=benchmarks, **fields)
