"""What of a store nothing refers to any more, and its removal: corpora, training runs, exported models, results.

    registered version ─ run, exported model, results, corpus ─ datasets          (all of them stay)
    training run or exported model that changed lately ─ its corpus ─ datasets    (the same)

Whatever was written within the last days stays with all that it was made of: a run that is going on writes its log all the time, and
what its first tasks made is used by its later ones. Recipes and token counts are no concern of this, being small; nor are bases that
people put there. A base that a run made of a former champion may go once no training needs it: it can be made of the registered
version again.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from model import storage
from model.contracts.checkpoint import COMMITTED_FILE, MODEL_MANIFEST_FILE
from model.contracts.corpus import MANIFEST_FILE
from model.contracts.evaluation import RESULT_FILE
from model.contracts.release import Tag
from model.errors import SphinxError
from model.train.spec import SPEC_FILE, read_corpus_manifest
from model.weights import BASE_FILE

KINDS = ("results", "models", "runs", "corpora", "datasets", "bases")
"""Folders of a store, those that are made of others first: removed in this order, an interruption leaves nothing without its parts."""
PARTS = {
    "results": (),
    "models": ("results", "runs", "corpora"),
    "runs": ("corpora", "bases"),
    "corpora": ("datasets",),
    "datasets": (),
    "bases": (),
}
"""Kind to the kinds of what it is made of or belongs with."""
_MARKS = (MANIFEST_FILE, MODEL_MANIFEST_FILE, RESULT_FILE, COMMITTED_FILE, BASE_FILE)
"""Files that say that something is whole; removed first, so that nothing half removed is taken for finished."""
DIGEST_CHARACTERS = 12
"""Of a digest in a folder's name."""


@dataclass(frozen=True)
class Item:
    """One thing of a store."""

    kind: str
    name: str
    bytes: int
    changed: datetime | None
    """When any of its files was written last; None where nobody knows."""

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Found:
    """A store's things, with the reason for which each one stays."""

    items: tuple[Item, ...]
    stays: Mapping[str, str]
    """Path to reason; whatever is not in it may go."""
    registered: int
    """How many things of this store a registered version refers to."""

    @property
    def unwanted(self) -> list[Item]:
        return [item for item in self.items if item.path not in self.stays]


def find_unwanted(
    store_uri: str,
    versions: Sequence[tuple[str, Mapping[str, str]]],
    former_bases: Collection[str],
    training: Iterable[str],
    keep_days: float,
    now: datetime,
) -> Found:
    """Look through a store.

    Args:
        versions: Address and tags of every registered version.
        former_bases: Names of bases that a run would make again of a registered version that is no champion.
        training: First characters of the digests of runs that train now, by whoever knows.
        keep_days: Age in days below which everything stays.

    Raises:
        StorageError: the store does not answer.
    """
    found = read_items(store_uri)
    items = {item.path: item for item in found if item.kind != "bases" or item.name in former_bases}
    addresses = {address for address, _ in versions}
    stays: dict[str, str] = {}

    def keep(path: str, reason: str) -> None:
        if path in items:
            stays.setdefault(path, reason)

    for address, tags in versions:
        run = tags.get(Tag.RUN_DIGEST, "")[:DIGEST_CHARACTERS]
        keep(f"runs/{run}", address)
        keep(f"models/{tags.get(Tag.VARIANT)}-{run}", address)
        keep(f"results/{tags.get(Tag.MODEL_DIGEST, '')[:DIGEST_CHARACTERS]}", address)
        keep(f"corpora/{tags.get(Tag.CORPUS_DIGEST, '')[:DIGEST_CHARACTERS]}", address)
    registered = len(stays)
    for run in training:
        keep(f"runs/{run[:DIGEST_CHARACTERS]}", "a TrainJob trains it")
    for item in items.values():
        if item.changed is None or now - item.changed < timedelta(days=keep_days):
            keep(item.path, "written lately" if item.changed else "nobody knows how old it is")
    looked_at: set[str] = set()
    while left := set(stays) - looked_at:
        for path in left:
            try:
                for used in _made_of(store_uri, items[path]):
                    # A registered version's training is over, and needs its base no more.
                    if not (used.startswith("bases/") and stays[path] in addresses):
                        keep(used, f"{path} is made of it")
            except (SphinxError, ValueError, KeyError, TypeError):
                for other in items.values():  # one that is being written, or damaged
                    if other.kind in PARTS[path.partition("/")[0]]:
                        keep(other.path, f"{path} may be made of it: its manifest cannot be read")
        looked_at |= left
    return Found(tuple(items.values()), stays, registered)


def read_items(store_uri: str) -> list[Item]:
    """Everything in a store that may be removed, with size and age."""
    items = []
    for kind in KINDS:
        by_name: dict[str, list[storage.FileInfo]] = {}
        for file in storage.list_files(storage.join(store_uri, kind)):
            by_name.setdefault(file.path.partition("/")[0], []).append(file)
        for name, files in by_name.items():
            changes = [file.changed for file in files]
            known = [change for change in changes if change is not None]
            changed = max(known) if len(known) == len(changes) else None
            items.append(Item(kind, name, sum(file.bytes for file in files), changed))
    return items


def remove(store_uri: str, item: Item, progress: Callable[[str], None] = lambda path: None) -> None:
    """Remove one thing, so that at no moment half of it can be taken for all of it.

    Raises:
        StorageError: the store does not answer, or refuses.
    """
    folder = storage.join(store_uri, item.kind, item.name)
    for file in storage.list_files(folder):
        if file.path.rpartition("/")[2] in _MARKS:
            storage.delete_tree(storage.join(folder, file.path))
    progress(item.path)
    storage.delete_tree(folder)


def _made_of(store_uri: str, item: Item) -> list[str]:
    """Paths of what a thing was made of.

    Raises:
        SphinxError, ValueError, KeyError, TypeError: its manifest is not there or not readable.
    """
    folder = storage.join(store_uri, item.kind, item.name)
    match item.kind:
        case "corpora":
            return [f"datasets/{_last(dataset.uri)}" for dataset in read_corpus_manifest(folder).datasets]
        case "runs":
            spec = json.loads(storage.read_bytes(storage.join(folder, SPEC_FILE)))
            return [f"corpora/{_last(spec['corpus_uri'])}", f"bases/{_last(spec['base_uri'])}"]
        case "models":
            manifest = json.loads(storage.read_bytes(storage.join(folder, MODEL_MANIFEST_FILE)))
            digests = {"runs": "run_digest", "corpora": "corpus_digest", "results": "digest"}
            return [f"{kind}/{manifest[name][:DIGEST_CHARACTERS]}" for kind, name in digests.items()]
        case _:
            return []


def _last(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2]
