"""Raw datasets, a recipe and a base that go through the whole DAG in a minute, by real code throughout."""

from pathlib import Path

import yaml

from tests.support.raw_layouts import instances, write_coco, write_refcoco, write_text
from tests.support.tiny import make_base

OVERRIDES = {
    "epochs": 2,
    "packs": {"tokens_per_pack": 256, "views_per_pack": 10, "batch_size": 4, "packs_multiple": 2},
    "checkpoint": {"every_steps": 2},
    "watch": {"log_every_steps": 1},
    "loader": {"workers": 0, "feature_cache_mb": 0},
}


def write_recipe(folder: Path, name: str = "small", **fields) -> Path:
    """Raw files of three families below `raw/`, and a recipe beside them with relative roots."""
    write_coco(folder / "raw/coco", instances(10))
    write_refcoco(folder / "raw/refcoco")
    write_text(folder / "raw/text")
    options = {"max_new_tokens": 8}
    recipe = {
        "schema_version": 1,
        "name": name,
        "datasets": [
            {"name": "cups", "family": "coco_detection", "root": "raw/coco", "held_out_share": 0.3, "licence": "MIT"},
            {"name": "named", "family": "refcoco", "root": "raw/refcoco", "licence": "CC-BY-4.0"},
            {"name": "talk", "family": "text_dialogue", "root": "raw/text", "licence": "MIT"},
        ],
        "benchmarks": [
            {"name": "cups-held-out", "benchmark": "detection", "held_out_of": "cups", "limit": 6, "options": options},
            {"name": "named-val", "benchmark": "refcoco", "root": "raw/refcoco", "split": "val", "options": options},
        ],
        **fields,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def write_world(folder: Path, **fields) -> tuple[Path, str]:
    """The recipe's file, and a base directory with random encoders."""
    return write_recipe(folder, **fields), make_base(folder / "base")
