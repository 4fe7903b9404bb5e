"""Samples that exist only as lengths, for tests of what is planned from lengths alone."""

from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
from hypothesis import strategies as st

from model.contracts.base import digest_of
from model.contracts.corpus import CorpusDataset, CorpusManifest, DatasetManifest
from model.data.lengths import Lengths

OPENING_TOKENS = 12


@dataclass(frozen=True)
class Drawn:
    """One sample: its dataset, (asked, answered, supervised) tokens by turn, and its pictures' sizes."""

    dataset: int
    turns: tuple[tuple[int, int, bool], ...]
    pictures_px: tuple[tuple[int, int], ...] = ()

    @property
    def turn_ends(self) -> list[int]:
        return [OPENING_TOKENS + end for end in accumulate(asked + answered for asked, answered, _ in self.turns)]

    @property
    def turn_supervised(self) -> list[int]:
        return list(accumulate(answered if counts else 0 for _, answered, counts in self.turns))


def lengths_of(samples: list[Drawn]) -> Lengths:
    def starts(counts: list[int]) -> np.ndarray:
        return np.array([0, *accumulate(counts)], np.int32)

    def flat(lists: list) -> np.ndarray:
        return np.array(list(chain.from_iterable(lists)), np.int32)

    zeros = np.zeros(len(samples), np.int32)
    return Lengths(
        digest=digest_of([[one.dataset, one.turns, one.pictures_px] for one in samples]),
        tasks=("drawn",),
        dataset=np.array([one.dataset for one in samples], np.int16),
        task=zeros.astype(np.int16),
        shard=zeros,
        offset=zeros.astype(np.int64),
        bytes=zeros,
        picture_starts=starts([len(one.pictures_px) for one in samples]),
        picture_widths=flat([[width for width, _ in one.pictures_px] for one in samples]),
        picture_heights=flat([[height for _, height in one.pictures_px] for one in samples]),
        turn_starts=starts([len(one.turns) for one in samples]),
        turn_ends=flat([one.turn_ends for one in samples]),
        turn_supervised=flat([one.turn_supervised for one in samples]),
    )


def corpus_with(*shares: float) -> CorpusManifest:
    """A manifest of datasets `set-0`, `set-1`, ... with these shares."""
    datasets = [
        CorpusDataset(
            name=f"set-{place}",
            uri="",
            share=share,
            manifest=DatasetManifest(
                name=f"set-{place}", family="text_dialogue", licence="unknown", digest=str(place), samples=0, turns=0, pictures=0,
                held_out_pictures=0, tasks={}, rejects={}, padding="corner", shards=(), index_sha256="",
            ),
        )
        for place, share in enumerate(shares)
    ]  # fmt: skip
    return CorpusManifest(
        recipe="drawn", digest="drawn", padding="corner", samples=0, index_sha256="", datasets=tuple(datasets)
    )


def samples(num_datasets: int) -> st.SearchStrategy[list[Drawn]]:
    """Lists of samples, some without an answer, some longer than any pack."""
    turn = st.tuples(st.integers(1, 90), st.integers(1, 90), st.booleans())
    picture = st.sampled_from([(64, 64), (128, 32), (30, 200), (80, 40), (7, 3000)])
    one = st.builds(
        Drawn,
        st.integers(0, num_datasets - 1),
        st.lists(turn, min_size=1, max_size=4).map(tuple),
        st.lists(picture, max_size=3).map(tuple),
    )
    return st.lists(one, min_size=1, max_size=60)
