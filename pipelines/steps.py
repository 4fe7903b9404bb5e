"""Parts that pipelines are made of: a task with the platform's settings, the way to one corpus, the benchmarks of a model, its release."""

from collections.abc import Callable
from typing import Any

from kfp import dsl, kubernetes

from components.evaluate.component import evaluate
from components.merge.component import merge
from components.promote.component import promote
from components.register.component import register
from components.report.component import report
from components.shared import platform
from components.unify.component import unify


def step(component: Any, **inputs: Any) -> Any:
    """A task with the platform's settings, by its component's name: Kubeflow's graph cuts names of more than some 18 letters.

    It is always asked, since only the store knows what is finished. None of the secrets must be there: credentials may come from
    elsewhere, such as a role of the service account.
    """
    task = component(**inputs).set_caching_options(False)
    kubernetes.use_config_map_as_env(task, platform.SETTINGS_CONFIG_MAP, _same(platform.SETTINGS), optional=True)
    kubernetes.use_secret_as_env(task, platform.S3_SECRET, _same(platform.S3_CREDENTIALS), optional=True)
    kubernetes.use_secret_as_env(task, platform.MLFLOW_SECRET, _same(platform.MLFLOW_CREDENTIALS), optional=True)
    return task


def one_corpus(checked: Any) -> Any:
    """All datasets unified, side by side, and merged.

    Args:
        checked: The validate task.

    Returns:
        The corpus's URI, as a task's output.
    """
    data = {name: checked.outputs[name] for name in ("recipe_json", "store_uri")}
    with dsl.ParallelFor(checked.outputs["dataset_names"], name="datasets") as dataset:
        unified = step(unify, dataset=dataset, **data)
    return step(merge, dataset_uris=dsl.Collected(unified.outputs["Output"]), **data).outputs["Output"]


def evaluated(checked: Any, model_uri: Any, mode: Any) -> Callable[[], Any]:
    """A model judged on all benchmarks, side by side, each on the GPUs that its variant needs.

    Returns:
        Gives the results' URIs. The compiler takes a Collected apart: each task that reads them needs one of its own.
    """
    data = {name: checked.outputs[name] for name in ("recipe_json", "store_uri")}
    gpus = checked.outputs["eval_gpus"]
    with dsl.ParallelFor(checked.outputs["benchmark_names"], name="benchmarks") as benchmark:
        judged = step(evaluate, benchmark=benchmark, model_uri=model_uri, mode=mode, gpus=gpus, **data)
        on_gpus(judged, gpus)
    return lambda: dsl.Collected(judged.outputs["Output"])


def release(
    recipe_json: Any,
    registered_name: Any,
    corpus_uri: Any,
    trained: Any,
    results: Callable[[], Any],
    promotion: Any,
    run_id: str,
    **member: Any,
) -> Any:
    """Report, registration as candidate, and promotion where the gate is open.

    Args:
        results: Gives the results of all benchmarks, anew for each task that reads them.
        member: In a family run, `member`, the model's name in it.

    Returns:
        The version's number, as a task's output.
    """
    candidate = {
        "recipe_json": recipe_json,
        "corpus_uri": corpus_uri,
        "model_uri": trained.outputs["model_uri"],
        "run_uri": trained.outputs["run_uri"],
        "registered_name": registered_name,
        "run_id": run_id,
        **member,
    }
    reported = step(report, promote=promotion, result_uris=results(), **candidate)
    decided = {"decision_json": reported.outputs["decision_json"], "page": reported.outputs["page"]}
    registered = step(register, result_uris=results(), **candidate, **decided)
    version = registered.outputs["Output"]
    with dsl.If(reported.outputs["gate"] == "open", name="gate open"):
        step(promote, registered_name=registered_name, version=version, **member)
    return version


def on_gpus(task: Any, gpus: Any) -> None:
    """Ask for so many GPUs, and for the shared memory that torch's workers use.

    The compiler finds a value for a limit inside a loop only where the task has it as an input, too.
    """
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="8Gi")  # noqa: S108


def _same(names: tuple[str, ...]) -> dict[str, str]:
    """Keys of a ConfigMap or Secret to the variables that they become."""
    return {name: name for name in names}
