"""What of a store may go: never what a registered version, a training or anything written lately is made of."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.register import logic as register
from model.contracts.release import Tag
from model.errors import StorageError
from model.train.spec import read_corpus_manifest
from pipelines.cli import app
from pipelines.tidy import find_unwanted, remove
from tests.support.released import Judged, judge
from tests.support.tiny import make_corpus

NOW = datetime.now(UTC)


def aged(folder: Path, days: float = 30.0) -> None:
    """Make files look as if they had been written so long ago."""
    then = (NOW - timedelta(days=days)).timestamp()
    for path in [folder] if folder.is_file() else folder.rglob("*"):
        os.utime(path, (then, then))


class Store:
    """Two models of one corpus, and a second corpus that shares one of its two datasets; nothing was written lately."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "store"
        self.first, self.second = judge(folder, seed=70), judge(folder, seed=71)
        for model in (self.first, self.second):
            base_uri = f"{self.root}/bases/{'theirs' if model is self.first else 'former'}"
            spec = {"corpus_uri": model.corpus_uri, "base_uri": base_uri}
            Path(model.run_uri, "spec.json").write_text(json.dumps(spec))
            model.arguments()  # writes its results
        self.corpus = Path(self.first.corpus_uri).name
        self.other = Path(make_corpus(folder, num_texts=9)).name
        for name in ("theirs", "former"):
            (self.root / "bases" / name).mkdir(parents=True)
            (self.root / "bases" / name / "base.json").write_text("{}")
        aged(self.root)

    def datasets(self, corpus: str) -> set[str]:
        return {f"datasets/{Path(one.uri).name}" for one in read_corpus_manifest(str(self.root / "corpora" / corpus)).datasets}

    def of(self, model: Judged) -> set[str]:
        run = model.manifest.run_digest[:12]
        return {f"runs/{run}", f"models/nano-{run}", f"results/{model.manifest.digest[:12]}"}

    def unwanted(self, *versions: Judged, training: tuple[str, ...] = (), keep_days: float = 7) -> set[str]:
        tags = [("models:/x/1", tags_of(model)) for model in versions]
        return {item.path for item in find_unwanted(str(self.root), tags, {"former"}, training, keep_days, NOW).unwanted}

    @property
    def everything(self) -> set[str]:
        corpora = {f"corpora/{self.corpus}", f"corpora/{self.other}"}
        data = corpora | self.datasets(self.corpus) | self.datasets(self.other)
        return self.of(self.first) | self.of(self.second) | data | {"bases/former"}  # never what people put there


def tags_of(model: Judged) -> dict[str, str]:
    manifest = model.manifest
    return {
        Tag.VARIANT: manifest.variant,
        Tag.RUN_DIGEST: manifest.run_digest,
        Tag.MODEL_DIGEST: manifest.digest,
        Tag.CORPUS_DIGEST: manifest.corpus_digest,
    }


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def test_what_a_registered_version_is_made_of_stays_and_the_rest_may_go(store):
    others = store.datasets(store.other) - store.datasets(store.corpus)
    assert len(others) == 1  # the other dataset is shared
    assert store.unwanted(store.first) == store.of(store.second) | {f"corpora/{store.other}", "bases/former"} | others
    assert "bases/former" in store.unwanted(store.second)  # its training is over
    assert store.unwanted() == store.everything


def test_what_was_written_lately_stays_with_all_that_it_was_made_of(store):
    run = store.root / "runs" / store.second.manifest.run_digest[:12]
    aged(run / "log.jsonl", days=3)  # it goes on training
    kept = {f"runs/{run.name}", f"corpora/{store.corpus}", "bases/former"} | store.datasets(store.corpus)
    assert store.unwanted() == store.everything - kept
    assert store.unwanted(keep_days=2) == store.everything
    assert store.unwanted(keep_days=40) == set()


def test_a_training_that_waits_for_its_nodes_keeps_its_corpus(store):
    run = store.second.manifest.run_digest[:12]
    kept = {f"runs/{run}", f"corpora/{store.corpus}", "bases/former"} | store.datasets(store.corpus)
    assert store.unwanted(training=(run,)) == store.everything - kept


@pytest.mark.parametrize("content", [None, "", "{}", "not json"])
def test_a_manifest_that_cannot_be_read_costs_no_data(store, content):
    manifest = store.root / "corpora" / store.corpus / "manifest.json"
    manifest.unlink() if content is None else manifest.write_text(content)
    aged(store.root)
    everything = {f"datasets/{path.name}" for path in (store.root / "datasets").iterdir()}
    assert not store.unwanted(store.first) & everything


def test_a_removal_that_is_interrupted_leaves_nothing_that_looks_whole(store):
    found = find_unwanted(str(store.root), [], (), (), 7, NOW)
    (corpus,) = [item for item in found.unwanted if item.name == store.corpus]
    with pytest.raises(KeyboardInterrupt):
        remove(str(store.root), corpus, stop)
    assert (store.root / corpus.path / "index.parquet").exists()
    with pytest.raises(StorageError):
        read_corpus_manifest(store.first.corpus_uri)
    remove(str(store.root), corpus)
    assert not list((store.root / "corpora" / store.corpus).glob("*"))


def stop(path: str) -> None:
    raise KeyboardInterrupt(path)


def gc(store: Store, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["gc", str(store.root), *options])
    return done.exit_code, done.output


def test_the_command_lists_and_removes_only_when_told(store, mlflow):
    register.run(**store.first.arguments(name="kept"))
    aged(store.root)
    unwanted = store.unwanted(store.first) - {"bases/former"}  # of a name that this registry does not know
    before, before_paths = sorted(store.root.rglob("*")), store.everything
    code, said = gc(store)
    assert code == 0
    assert all(path in said for path in unwanted)
    assert "--yes removes the unwanted ones" in said
    assert sorted(store.root.rglob("*")) == before
    code, said = gc(store, "--yes")
    assert code == 0
    assert "are free" in said
    assert store.unwanted(store.first) == {"bases/former"}
    assert not any((store.root / path / "manifest.json").exists() for path in unwanted)
    assert "Nothing in" in gc(store)[1]
    kept = {f"{path.parent.name}/{path.name}" for path in store.root.glob("*/*") if any(path.iterdir())}
    assert kept == (before_paths | {"bases/theirs"}) - unwanted
    assert register.run(**store.first.arguments(name="kept")).version == "1"


def test_a_registry_that_knows_nothing_of_the_store_removes_nothing_unless_told(tmp_path, mlflow):
    corpus = Path(make_corpus(tmp_path, num_texts=7))
    aged(tmp_path / "store")
    refused = CliRunner().invoke(app, ["gc", str(tmp_path / "store"), "--yes"])
    assert refused.exit_code == 2
    assert "no registered version refers to anything in" in refused.output
    assert (corpus / "manifest.json").exists()
    assert CliRunner().invoke(app, ["gc", str(tmp_path / "store"), "--yes", "--nothing-registered"]).exit_code == 0
    assert not (corpus / "manifest.json").exists()


def test_without_a_registry_nothing_is_even_listed(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, said = gc(store)
    assert code == 2
    assert "there is no registry here" in said
