"""evaluate for a member of a family: all benchmarks of one model, one after the other, in one task."""

from typing import List, NamedTuple  # noqa: UP035  kfp reads these names

from kfp import dsl

from components import images


@dsl.component(base_image=images.TRAIN, install_kfp_package=False)
def evaluate_all(
    recipe_json: str,
    member: str,
    model_uri: str,
    store_uri: str,
    mode: str,
    gpus: int,
    metrics: dsl.Output[dsl.Metrics],
) -> NamedTuple("Judged", [("result_uris", List[str]), ("judged_json", str)]):  # type: ignore[valid-type]  # noqa: UP006
    """Ask one model the questions of every benchmark and score its answers; what was done before is not done again.

    The benchmarks share a task because the members already run side by side: a loop within a loop is more than Kubeflow's
    backend is known to do.

    Args:
        recipe_json: The resolved recipe.
        member: Name of the model in the family.
        model_uri: The exported model.
        store_uri: The store; predictions and results go below results/ in it.
        mode: official (the benchmark's own scorer) or sphinx (what the original suite did).
        gpus: GPUs that this task was given; 0 for a CPU.
        metrics: Score by benchmark.

    Returns:
        URIs of the results' folders, and the same with the member's name and model as JSON, for the comparison.
    """
    from components.shared.task import running

    with running("evaluate", member):
        from components.evaluate import logic

        judged = logic.run_all(recipe_json, member, model_uri, store_uri, mode, gpus)  # pyright: ignore[reportArgumentType]
        for _, result in judged:
            metrics.log_metric(result.name, result.score)
        return logic.outputs_of(member, model_uri, judged)
