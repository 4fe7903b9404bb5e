"""The demo's raw data: scenes drawn into the layouts that six families of public datasets are published in.

    coco/      instances_<split>.json and pictures            boxes of every shape
    refcoco/   refs(unc).p, instances.json, pictures          names of things and their boxes
    vqav2/     questions and annotations with ten answers     colour, shape, number, presence, the written word
    icdar/     gt_<id>.txt with four corners, pictures        the word and its place
    llava/     instructions.json, pictures                    dialogues of several turns
    text/      train.jsonl                                    dialogues without pictures
    pope/      <split>.json                                   held out: is there a ...? half of the answers are yes
    reading/   <split>.jsonl                                  held out: what word is written?

Training and held-out scenes come from different seeds. Pictures that several datasets show are one file under several names.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from model import storage
from model.contracts.base import digest_of
from model.demo.layouts import FIRST_HELD_OUT_ID, FOLDERS, shown_by, write_annotations
from model.demo.scenes import SCENE_VERSION, draw, encode, make_scene
from model.errors import DataError
from model.processes import end_with_parent

Progress = Callable[[int, int, str], None]
"""(done, total, what is being done)."""

MARKER_FILE = "demo.json"
"""Says that the folder is the demo's, and, written last, that it is whole."""
RAW_VERSION = 1
"""Grows when the same scenes would give other files."""
_CHUNK_SCENES = 100
_SEEDS_PER_DEMO = 10
_PARTS = {"train": 0, "test": 1, "dev": 2, "encoders": 3}


@dataclass(frozen=True)
class DemoSize:
    """How many scenes."""

    train_scenes: int = 4000
    held_out_scenes: int = 500


def scene_seed(seed: int, part: str) -> int:
    """Seed of the scenes of a part: train, test (what the demo is judged on), dev (what it was tuned on), encoders."""
    return seed * _SEEDS_PER_DEMO + _PARTS[part]


def write_raw(
    folder: str | Path,
    seed: int = 0,
    size: DemoSize | None = None,
    held_out: Literal["test", "dev"] = "test",
    processes: int = 2,
    progress: Progress | None = None,
) -> str:
    """Write all raw datasets and held-out benchmark files; returns at once where that was done before.

    Args:
        held_out: scenes of the held-out side; the demo was tuned on `dev`, so only `test` judges it.

    Returns:
        Digest of all files: names and contents.

    Raises:
        DataError: the folder holds something else.
    """
    folder, size = Path(folder), size or DemoSize()
    made_of = {
        "version": [RAW_VERSION, SCENE_VERSION],
        "seed": seed,
        "train_scenes": size.train_scenes,
        "held_out_scenes": size.held_out_scenes,
        "held_out": held_out,
    }
    if (finished := _finished(folder, made_of)) is not None:
        return finished
    _clear(folder)
    (folder / MARKER_FILE).write_text(json.dumps({"made_of": made_of, "digest": None}) + "\n")
    _draw_pictures(folder, seed, size, held_out, processes, progress or (lambda done, total, text: None))
    write_annotations(
        folder,
        train=[make_scene(scene_seed(seed, "train"), index) for index in range(size.train_scenes)],
        held_out=[make_scene(scene_seed(seed, held_out), index) for index in range(size.held_out_scenes)],
    )
    paths = sorted(path for name in FOLDERS for path in (folder / name).rglob("*") if path.is_file())
    digest = digest_of({path.relative_to(folder).as_posix(): storage.sha256_of(path) for path in paths})
    storage.write_text(str(folder / MARKER_FILE), json.dumps({"made_of": made_of, "digest": digest}) + "\n")
    return digest


def _finished(folder: Path, made_of: dict) -> str | None:
    """Digest of the folder if it is whole and made of the same."""
    try:
        marker = json.loads((folder / MARKER_FILE).read_text())
        return marker["digest"] if marker["made_of"] == made_of else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _clear(folder: Path) -> None:
    """Remove what an earlier call wrote; a folder that is not the demo's is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    known = [folder / name for name in FOLDERS if (folder / name).exists()]
    if known and not (folder / MARKER_FILE).exists():
        raise DataError(f"{known[0]} was not made by the demo; give the demo's raw data a folder of its own.")
    for path in known:
        shutil.rmtree(path)


def _draw_pictures(folder: Path, seed: int, size: DemoSize, held_out: str, processes: int, progress: Progress) -> None:
    total = size.train_scenes + size.held_out_scenes
    done = 0
    # Spawned, not forked: the caller may have threads. Each process draws whole chunks, so their number changes no byte.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        jobs = [(str(folder), size.train_scenes, chunk) for chunk in _chunks(seed, size, held_out)]
        for drawn in pool.map(_draw_chunk, jobs):
            done += drawn
            progress(done, total, "drawing pictures")


def _chunks(seed: int, size: DemoSize, held_out: str) -> Iterator[tuple[int, int, int, int]]:
    """(seed, first scene, end, id of scene 0)."""
    for part, num_scenes, first_id in (("train", size.train_scenes, 0), (held_out, size.held_out_scenes, FIRST_HELD_OUT_ID)):
        for start in range(0, num_scenes, _CHUNK_SCENES):
            yield scene_seed(seed, part), start, min(start + _CHUNK_SCENES, num_scenes), first_id


def _draw_chunk(job: tuple[str, int, tuple[int, int, int, int]]) -> int:
    folder, train_scenes, (seed, start, end, first_id) = job
    for index in range(start, end):
        data = encode(draw(make_scene(seed, index)))
        first, *others = (Path(folder) / name for name in shown_by(first_id + index, train_scenes))
        first.parent.mkdir(parents=True, exist_ok=True)
        first.write_bytes(data)
        for other in others:
            other.parent.mkdir(parents=True, exist_ok=True)
            _link(first, other)
    return end - start


def _link(file: Path, other: Path) -> None:
    try:
        os.link(file, other)
    except OSError:  # a file system without links
        shutil.copyfile(file, other)
