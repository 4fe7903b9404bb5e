"""Judge a model on one benchmark, or on all of them, and say what came of it."""

from collections.abc import Callable
from typing import NamedTuple

from components.shared.task import runs_here, tell
from model.contracts.evaluation import Result
from model.contracts.family import JudgedMember
from model.contracts.recipe import Recipe
from model.errors import FitError
from model.evaluate.runner import Mode, evaluate
from model.recipes import recipe_from_json
from model.train.machine import gpu_memories_gb


def run(recipe_json: str, benchmark: str, model_uri: str, store_uri: str, mode: Mode, gpus: int = 0) -> tuple[str, Result]:
    """Returns the result's folder and the result.

    Raises:
        FitError: the task has fewer GPUs than it was given.
        SphinxError: see `model.evaluate.runner.evaluate`.
    """
    check_gpus(benchmark, gpus)

    def said(note: str) -> None:
        tell("evaluate", benchmark, "running", note=note)

    return _judge(recipe_from_json(recipe_json), benchmark, model_uri, store_uri, mode, said)


def run_all(
    recipe_json: str, member: str, model_uri: str, store_uri: str, mode: Mode, gpus: int = 0
) -> list[tuple[str, Result]]:
    """All benchmarks of the recipe, one after the other; returns what `run` does for each, in the recipe's order.

    Args:
        member: Name of the model in the family.
    """
    check_gpus(member, gpus)
    recipe = recipe_from_json(recipe_json)
    found = []
    for place, benchmark in enumerate(recipe.benchmarks):
        before = f"{place + 1} of {len(recipe.benchmarks)}, {benchmark.name}"

        def said(note: str, before: str = before) -> None:
            tell("evaluate", member, "running", note=f"{before}: {note}")

        found.append(_judge(recipe, benchmark.name, model_uri, store_uri, mode, said))
    scores = ", ".join(f"{result.name} {result.score:.1%}" for _, result in found)
    tell("evaluate", member, "running", note=scores)
    return found


class JudgedOutputs(NamedTuple):
    """Parameters for the tasks that follow the evaluation of a family's member."""

    result_uris: list[str]
    judged_json: str
    """`model.contracts.family.JudgedMember`."""


def outputs_of(member: str, model_uri: str, judged: list[tuple[str, Result]]) -> JudgedOutputs:
    """What `run_all` found, as the task's outputs."""
    uris = [uri for uri, _ in judged]
    return JudgedOutputs(uris, JudgedMember(name=member, model_uri=model_uri, result_uris=tuple(uris)).to_json())


def check_gpus(what: str, gpus: int) -> None:
    """Whether the task sees the GPUs that it was given.

    Raises:
        FitError: it does not.
    """
    if gpus and (found := len(gpu_memories_gb())) < gpus and not runs_here():
        raise FitError(
            f"evaluating {what} needs {gpus} GPUs and this task sees {found}; check the node's driver and its device plugin, or set "
            "train_device to cpu."
        )


def _judge(
    recipe: Recipe, benchmark: str, model_uri: str, store_uri: str, mode: Mode, said: Callable[[str], None]
) -> tuple[str, Result]:
    def progress(answered: int, questions: int) -> None:
        said(f"{answered} of {questions} questions")

    uri, result = evaluate(model_uri, recipe, benchmark, store_uri, mode, progress)
    note = (
        f"{result.score:.1%} ({result.low:.1%} to {result.high:.1%}; chance {result.chance:.1%}; {result.questions} questions)"
    )
    print(f"{benchmark}: {result.metric} {note}, at {uri}")
    said(note)
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
