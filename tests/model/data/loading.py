"""A small corpus with its base and plan, to be read by the loader."""

from dataclasses import fields
from pathlib import Path

import torch

from model import storage
from model.data.lengths import corpus_lengths
from model.data.loader import open_loader
from model.data.materialise import PackBatch
from model.data.plan import make_plan
from model.train.config import load_train_config
from model.train.spec import read_corpus_manifest
from tests.support.corpora import make_base, make_corpus
from tests.support.variants import NANO


def config_of(**loader):
    packs = {"tokens_per_pack": 512, "batch_size": 8, "packs_multiple": 4}
    settings = {"read_timeout_s": 20, "feature_cache_mb": 0, **loader}
    return load_train_config("nano", {"epochs": 2, "packs": packs, "loader": settings})


class Run:
    """A corpus, a base and their plan."""

    def __init__(self, folder: Path, store_uri: str) -> None:
        self.corpus_uri = make_corpus(folder, store_uri, {"coco-detection": 2.0, "llava": 0.5})
        self.corpus = read_corpus_manifest(self.corpus_uri)
        self.base_uri = make_base([one.uri for one in self.corpus.datasets], storage.join(store_uri, "base"))
        lengths = corpus_lengths(self.corpus_uri, self.base_uri, store_uri)
        self.plan = make_plan(self.corpus, lengths, NANO, config_of())

    def open(self, rank: int = 0, world_size: int = 1, first_step: int = 0, encode=None, **loader):
        config = config_of(**loader)
        return open_loader(self.plan, self.corpus_uri, self.base_uri, NANO, config, rank, world_size, first_step, encode)

    def read(self, *arguments, **loader) -> list[list[PackBatch]]:
        with self.open(*arguments, **loader) as steps:
            return [step.packs for step in steps]

    def shard(self, dataset: int) -> str:
        return storage.join(self.corpus.datasets[dataset].uri, self.corpus.datasets[dataset].manifest.shards[0].file)


def same(one: PackBatch, other: PackBatch) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in ((getattr(one, field.name), getattr(other, field.name)) for field in fields(PackBatch))
    )
