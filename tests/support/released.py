"""A small model with everything that registering needs: a real corpus and export, results, a decision, a page.

def test_x(judged_model, mlflow_database)      # one of each for the session; tests register under names of their own
def test_y(champion)                           # the model as models:/sphinx-x-nano@champion in that database
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from components.promote import logic as promote
from components.register import logic as register
from components.shared import mlflow_client
from model import storage
from model.contracts.base import digest_of
from model.contracts.checkpoint import ModelManifest
from model.contracts.evaluation import RESULT_FILE, GateDecision, Result
from model.contracts.recipe import BenchmarkSpec, DatasetSpec, Recipe
from model.contracts.release import Release
from model.train.spec import read_corpus_manifest
from model.variants import variant_named

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture(scope="session")
def judged_model(tmp_path_factory: pytest.TempPathFactory) -> "Judged":
    return judge(tmp_path_factory.mktemp("judged"))


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with MLflow's tables, which take seconds to make; tests put its address into the environment."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow_client.experiment_id(mlflow_client.open_client())
    return uri


@pytest.fixture
def mlflow(mlflow_database: str, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_database)
    return mlflow_client.open_client()


@pytest.fixture
def champion(judged_model: "Judged", mlflow: "MlflowClient") -> Release:
    """Registered and promoted at its first use in the session."""
    release = register.run(**judged_model.arguments())
    promote.run(release.name, release.version)
    return release


@dataclass(frozen=True)
class Judged:
    """Arguments of `components.register.logic.run`."""

    recipe: Recipe
    corpus_uri: str
    model_uri: str
    run_uri: str
    manifest: ModelManifest
    results: tuple[Result, ...]
    page: Path
    store_uri: str

    def arguments(self, champion: str | None = None, promote: bool = True, name: str = "", run_id: str = "pipeline-1") -> dict:
        reason = "Every benchmark passes." if promote else "held has 30.0 %, less than the required 50.0 %."
        decision = GateDecision(
            promote=promote, reason=reason, model_digest=self.manifest.digest, champion_version=champion, comparisons=()
        )
        return {
            "recipe_json": self.recipe.to_json(),
            "corpus_uri": self.corpus_uri,
            "model_uri": self.model_uri,
            "run_uri": self.run_uri,
            "result_uris": [self._saved(result) for result in self.results],
            "decision_json": decision.to_json(),
            "registered_name": name,
            "run_id": run_id,
            "page": self.page,
        }

    def _saved(self, result: Result) -> str:
        uri = storage.join(
            self.store_uri, "results", self.manifest.digest[:12], f"{result.name}-{result.content_digest()[:12]}"
        )
        storage.write_text(storage.join(uri, RESULT_FILE), result.to_json())
        return uri


def judge(folder: Path, seed: int = 0, score: float = 0.75, store_uri: str | None = None) -> Judged:
    """Export a nano model with random weights of a seed, and say what it scored."""
    # The conftest of all tests imports this file; torch comes with its first use.
    from model.build import build_model
    from model.export import export_model
    from tests.support.tiny import make_base, make_corpus

    store = store_uri or str(folder / "store")
    corpora = sorted((folder / "store" / "corpora").glob("*/manifest.json"))
    corpus_uri = str(corpora[0].parent) if corpora else make_corpus(folder)
    base = make_base(folder / "base")
    model = build_model(variant_named("nano"), base, seed=seed)
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    shapes = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in weights.items()}
    run_digest = digest_of(f"run {seed}")
    described = {
        "variant": "nano",
        "run_digest": run_digest,
        "corpus_digest": read_corpus_manifest(corpus_uri).digest,
        "plan_digest": digest_of("plan"),
        "train_config": {"optimizer": {"learning_rate": 2e-5}, "epochs": 1.0},
        "steps": 20,
        "samples_seen": 640,
        "tokens_seen": 64000,
        "train_seconds": 12.5,
        "licences": {"pictured": "CC-BY-4.0", "texts": "MIT"},
    }
    model_uri = storage.join(store, "models", f"nano-{run_digest[:12]}")
    manifest = export_model(model.config, shapes, weights.items(), base, model_uri, described)
    run_uri = storage.join(store, "runs", run_digest[:12])
    rows = [json.dumps({"step": step, "time": 1.8e9 + step, "loss": 5 / step}) for step in range(1, 21)]
    storage.write_text(storage.join(run_uri, "log.jsonl"), "\n".join(rows) + "\n")
    page = folder / "report.html"
    page.write_text("<!doctype html><title>report</title>")
    return Judged(_recipe(), corpus_uri, model_uri, run_uri, manifest, (result_of(manifest, score),), page, store)


def result_of(manifest: ModelManifest, score: float, seconds: float = 3.0) -> Result:
    return Result(
        name="held", benchmark="pope", metric="accuracy", mode="official", score=score, low=score - 0.05, high=score + 0.05,
        questions=200, chance=0.5, parse_failures=1, benchmark_digest=digest_of("questions"), model_digest=manifest.digest,
        predictions_sha256=digest_of(f"answers {score}"), seconds=seconds, device="CPU", questions_per_second=200 / seconds,
    )  # fmt: skip


def _recipe() -> Recipe:
    return Recipe(
        name="tiny",
        datasets=(
            DatasetSpec(name="pictured", family="llava", root="raw/pictured", licence="CC-BY-4.0", held_out_share=0.1),
            DatasetSpec(name="texts", family="text_dialogue", root="raw/texts", licence="MIT"),
        ),
        benchmarks=(BenchmarkSpec(name="held", benchmark="pope", held_out_of="pictured"),),
    )
