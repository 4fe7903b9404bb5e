"""A small run to report on, every figure of which a test can calculate by hand."""

import io
from typing import Any

from PIL import Image

from model.contracts.checkpoint import BaseModel, ModelManifest, StoredFile
from model.contracts.corpus import CorpusDataset, CorpusManifest, DatasetManifest
from model.contracts.evaluation import Comparison, GateDecision, Prediction, Result
from model.contracts.recipe import BenchmarkSpec, DatasetSpec, Recipe
from model.evaluate.report import ReportInput, ShownPrediction
from model.train.config import load_train_config


def recipe() -> Recipe:
    return Recipe(
        name="shapes",
        seed=7,
        datasets=(DatasetSpec(name="scenes", family="coco_detection", root="raw/scenes", share=2, held_out_share=0.1),),
        benchmarks=(BenchmarkSpec(name="find", benchmark="refcoco", held_out_of="scenes"),),
    )


def dataset(**fields: Any) -> CorpusDataset:
    manifest = DatasetManifest(
        **{
            "name": "scenes",
            "family": "coco_detection",
            "licence": "CC-BY-4.0",
            "digest": "d" * 64,
            "samples": 1200,
            "turns": 2500,
            "pictures": 1100,
            "held_out_pictures": 130,
            "tasks": {"detection": 1200},
            "rejects": {"picture unreadable": 4, "crowd": 17},
            "padding": "corner",
            "shards": (),
            "index_sha256": "0" * 64,
            **fields,
        }
    )
    return CorpusDataset(name=manifest.name, uri="store/datasets/scenes", share=2.0, manifest=manifest)


def corpus(*datasets: CorpusDataset) -> CorpusManifest:
    return CorpusManifest(
        recipe="shapes",
        digest="c" * 64,
        padding="corner",
        samples=1200,
        left_out_samples=3,
        datasets=datasets or (dataset(),),
        index_sha256="0" * 64,
    )


def model(**fields: Any) -> ModelManifest:
    return ModelManifest(
        **{
            "variant": "nano",
            "digest": "e" * 64,
            "run_digest": "1" * 64,
            "corpus_digest": "c" * 64,
            "plan_digest": "2" * 64,
            "train_config": load_train_config("nano").model_dump(mode="json"),
            "steps": 150,
            "samples_seen": 2400,
            "tokens_seen": 4_800_000,
            "train_seconds": 80.0,
            "bases": (BaseModel(name="nano-base", uri="store/bases/nano", digest="b" * 64, licence="Apache-2.0"),),
            "licences": {"scenes": "CC-BY-4.0"},
            "files": (StoredFile(path="model.safetensors", sha256="f" * 64, bytes=9_000_000),),
            **fields,
        }
    )


def result(name: str = "find", score: float = 0.6, half: float = 0.05, **fields: Any) -> Result:
    return Result(
        **{
            "name": name,
            "benchmark": "refcoco",
            "metric": "accuracy at IoU 0.5",
            "mode": "official",
            "score": score,
            "low": score - half,
            "high": score + half,
            "questions": 400,
            "chance": 0.0,
            "parse_failures": 8,
            "benchmark_digest": f"questions of {name}",
            "model_digest": "e" * 64,
            "predictions_sha256": "3" * 64,
            "seconds": 100.0,
            "device": "CPU",
            "questions_per_second": 4.0,
            **fields,
        }
    )


def decision(
    promote: bool = True, version: str | None = None, reason: str = "Promoted: the one benchmark passes."
) -> GateDecision:
    compared = Comparison(name="find", candidate=0.6, champion=None, minimum=0.5, passed=promote, reason="find has 60.0 %.")
    return GateDecision(
        promote=promote, reason=reason, model_digest="e" * 64, champion_version=version, comparisons=(compared,)
    )


def prediction(number: int = 0, score: float = 1.0, **fields: Any) -> Prediction:
    return Prediction(
        **{
            "question_id": f"find/{number}",
            "picture": f"raw/scenes/{number}.jpg",
            "question": "Where is the cup?",
            "expected": ("[0.10,0.20,0.30,0.40]",),
            "answer": "[0.11,0.20,0.30,0.40]",
            "parsed": "[0.11,0.2,0.3,0.4]",
            "score": score,
            **fields,
        }
    )


def jpeg(width_px: int = 40, height_px: int = 20) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width_px, height_px), (120, 160, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def shown(width_px: int = 40, height_px: int = 20, benchmark: str = "find", **fields: Any) -> ShownPrediction:
    return ShownPrediction(benchmark, jpeg(width_px, height_px), width_px, height_px, prediction(**fields))


def log_rows(steps: int = 50) -> list[dict]:
    """Loss falls from 5 to 1 in a straight line."""
    return [
        {
            "step": step,
            "steps": steps,
            "loss": 5 - 4 * step / steps,
            "loss/dataset/scenes": 5 - 4 * step / steps,
            "learning_rate": 3e-3,
            "gradient_norm": 1.5,
            "samples_per_second": 30.0,
            "data_wait_share": 0.02,
            "pack_fill": 0.9,
            "real_views": 30,
            "skipped_views": 10,
            "memory_gb": 1.25,
        }
        for step in range(1, steps + 1)
    ]


def report_input(**fields: Any) -> ReportInput:
    return ReportInput(
        **{
            "recipe": recipe(),
            "corpus": corpus(),
            "model": model(),
            "results": [result()],
            "champion": None,
            "decision": decision(),
            "log": log_rows(),
            "shown": [shown()],
            "links": {"MLflow run": "https://mlflow.example.org/runs/1"},
            **fields,
        }
    )
