"""Judge a model on one benchmark and say what came of it."""

from typing import Literal

from components.shared.task import runs_here, tell
from model.contracts.evaluation import Result
from model.errors import FitError
from model.evaluate.runner import evaluate
from model.recipes import recipe_from_json
from model.train.machine import gpu_memories_gb


def run(
    recipe_json: str, benchmark: str, model_uri: str, store_uri: str, mode: Literal["official", "sphinx"], gpus: int = 0
) -> tuple[str, Result]:
    """Returns the result's folder and the result.

    Raises:
        FitError: the task has fewer GPUs than it was given.
        SphinxError: see `model.evaluate.runner.evaluate`.
    """
    if gpus and (found := len(gpu_memories_gb())) < gpus and not runs_here():
        raise FitError(
            f"evaluating {benchmark} needs {gpus} GPUs and this task sees {found}; check the node's driver and its device plugin, or set "
            "train_device to cpu."
        )

    def progress(answered: int, questions: int) -> None:
        tell("evaluate", benchmark, "running", note=f"{answered} of {questions} questions")

    uri, result = evaluate(model_uri, recipe_from_json(recipe_json), benchmark, store_uri, mode, progress)
    note = (
        f"{result.score:.1%} ({result.low:.1%} to {result.high:.1%}; chance {result.chance:.1%}; {result.questions} questions)"
    )
    print(f"{benchmark}: {result.metric} {note}, at {uri}")
    tell("evaluate", benchmark, "running", note=note)
    return uri, result


def metadata(uri: str, result: Result) -> dict[str, str | int | float]:
    """What Kubeflow shows beside the artifact."""
    return {
        "store_uri": uri,
        "benchmark": result.benchmark,
        "metric": result.metric,
        "mode": result.mode,
        "benchmark_digest": result.benchmark_digest,
        "model_digest": result.model_digest,
        **figures(result),
    }


def figures(result: Result) -> dict[str, float]:
    """Scalars for the Metrics table."""
    return {
        "score": result.score,
        "low": result.low,
        "high": result.high,
        "chance": result.chance,
        "questions": float(result.questions),
        "parse_failures": float(result.parse_failures),
    }
