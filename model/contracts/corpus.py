"""Corpus: unified samples in tar shards with a parquet index; one manifest a dataset, one for all of them.

A dataset's folder holds `shards/00000.tar ...`, `index.parquet`, `pictures.parquet` (digests, held-out ones too),
`rejects.jsonl` and `manifest.json`; the corpus's folder holds `index.parquet`, `rejects.jsonl` and `manifest.json`, which
names the datasets' folders. A manifest is written last: no manifest, no data.
Adding a dataset to a recipe makes a new corpus and leaves every other dataset's folder as it is.
"""

from typing import Literal

from pydantic import Field

from model.contracts.base import Contract, Part

MANIFEST_FILE = "manifest.json"
INDEX_FILE = "index.parquet"
REJECTS_FILE = "rejects.jsonl"
SHARDS_FOLDER = "shards"
PICTURES_FILE = "pictures.parquet"


class Picture(Part):
    """A picture of a sample; its bytes lie untouched in the same shard."""

    file: str
    """Member name in the tar, for example 000000123.0.jpg."""
    width_px: int = Field(gt=0)
    """Width as shown: after the rotation that its EXIF tag asks for, if `upright` is set."""
    height_px: int = Field(gt=0)
    """Height as shown."""
    upright: bool = False
    """Whether the reader must apply the EXIF rotation to see the picture as it was annotated."""
    sha256: str
    """Digest of the stored bytes."""


class Turn(Part):
    """One question and its answer; the dialogue template is applied later, per backbone."""

    question: str
    answer: str
    supervised: bool = True
    """Whether the answer's tokens count in the loss."""


class Sample(Part):
    """One dialogue about any number of pictures; the JSON member that precedes its pictures in a shard."""

    id: str
    """<dataset name>/<id in the raw files>."""
    dataset: str
    """Name of the dataset in the recipe."""
    task: str
    """Kind of dialogue: detection, grounding, vqa, spotting, layout, reading, instruction, text, ..."""
    pictures: tuple[Picture, ...] = ()
    turns: tuple[Turn, ...] = Field(min_length=1)


class Reject(Part):
    """What was left out of the corpus, and why; one line of rejects.jsonl."""

    id: str
    reason: str
    """Short and stable, for counting: picture unreadable, box outside the picture, no answer, ..."""
    detail: str = ""
    """What was found, for a person."""
    kind: Literal["sample", "part", "rule"] = "sample"
    """sample: a whole raw sample is faulty; part: a faulty box, line or question of a sample that stays; rule: nothing is
    faulty, the rules leave it out (a crowd, a do-not-care region, a box too small for two decimals). The recipe's
    `max_reject_share` bounds samples among samples and parts among parts; rules are only counted."""


class Shard(Part):
    """One tar file; each sample is its JSON member followed by its pictures."""

    file: str
    """Path under the dataset's folder."""
    sha256: str
    bytes: int
    samples: int


class DatasetManifest(Contract):
    """One unified dataset."""

    name: str
    family: str
    licence: str
    digest: str
    """Digest of what was made: shards, held-out choice and padding; not of where it lies."""
    samples: int
    turns: int
    pictures: int
    """Pictures stored, each counted once a sample that shows it."""
    held_out_pictures: int
    """Pictures that training never sees."""
    tasks: dict[str, int]
    """Samples by task."""
    rejects: dict[str, int]
    """Lines of rejects.jsonl by reason, of all kinds."""
    padding: Literal["corner", "centre"]
    """How boxes in the text are measured."""
    shards: tuple[Shard, ...]
    index_sha256: str


class CorpusDataset(Part):
    """A dataset's place in a corpus."""

    name: str
    uri: str
    """Folder of the unified dataset."""
    share: float
    manifest: DatasetManifest


class CorpusManifest(Contract):
    """All unified datasets of a recipe; what a training run reads."""

    recipe: str
    digest: str
    """Digest of the datasets' digests and shares, in the recipe's order."""
    padding: Literal["corner", "centre"]
    samples: int
    """Rows of the index: the datasets' samples without those below."""
    left_out_samples: int = 0
    """Samples that show a picture which another dataset, or a double of it, holds out; each is a line of rejects.jsonl."""
    datasets: tuple[CorpusDataset, ...]
    index_sha256: str
