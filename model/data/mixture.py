"""Mixture: what one epoch shows, and in which order. Shares first, then a shuffle by seed and epoch; nothing else decides.

numpy promises equal raw streams of a generator in all its versions, but not equal shuffles, so order comes from sorting raw
64-bit numbers: a run that goes on under a newer numpy finds the same order.
"""

import hashlib

import numpy as np

from model.contracts.corpus import CorpusManifest


def epoch_entries(corpus: CorpusManifest, dataset: np.ndarray, seed: int) -> np.ndarray:
    """The rows of the corpus that one epoch shows, each as often as its dataset's share says; sorted.

    A share of 2.5 shows every sample twice and one half three times. Which half is chosen by the seed and the dataset's name,
    and is the same in every epoch.

    Args:
        dataset: [N] place of each sample's dataset in the manifest.
    """
    parts = []
    for place, one in enumerate(corpus.datasets):
        rows = np.flatnonzero(dataset == place).astype(np.int32)
        whole, fraction = divmod(one.share, 1)
        parts += [rows] * int(whole)
        if fraction:
            chosen = _order(len(rows), "share", one.name, seed)[: round(fraction * len(rows))]
            parts.append(rows[np.sort(chosen)])
    return np.sort(np.concatenate(parts), kind="stable")


def shuffled(entries: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """An epoch's entries in the order of its shuffle."""
    return entries[_order(len(entries), "epoch", str(epoch), seed)]


def shuffled_packs(num_packs: int, seed: int, epoch: int) -> np.ndarray:
    """[packs] the place of each pack in its epoch."""
    return _order(num_packs, "packs", str(epoch), seed)


def _order(length: int, purpose: str, name: str, seed: int) -> np.ndarray:
    """A permutation of `range(length)`."""
    words = np.frombuffer(hashlib.sha256(f"{purpose}/{name}/{seed}".encode()).digest(), np.uint32)
    return np.random.PCG64(np.random.SeedSequence(words.tolist())).random_raw(length).argsort(kind="stable")
