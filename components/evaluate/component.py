"""evaluate: one benchmark's verdict on the model; the DAG runs it once for each."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.TRAIN, install_kfp_package=False)
def evaluate(
    recipe_json: str,
    benchmark: str,
    model_uri: str,
    store_uri: str,
    mode: str,
    gpus: int,
    result: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Ask the model one benchmark's questions and score its answers; returns at once where that was done before.

    Args:
        recipe_json: The resolved recipe.
        benchmark: Name of the benchmark in it.
        model_uri: The exported model.
        store_uri: The store; predictions and result go below results/ in it.
        mode: official (the benchmark's own scorer) or sphinx (what the original suite did).
        gpus: GPUs that this task was given; 0 for a CPU.
        result: The result with its confidence interval; the predictions stay in the store.
        metrics: Score, interval, chance and number of questions.

    Returns:
        URI of the result's folder.
    """
    from components.shared.task import running

    with running("evaluate", benchmark):
        from components.evaluate import logic

        uri, found = logic.run(recipe_json, benchmark, model_uri, store_uri, mode, gpus)  # pyright: ignore[reportArgumentType]
        found.write(result.path)
        result.metadata = logic.metadata(uri, found)
        for name, value in logic.figures(found).items():
            metrics.log_metric(name, value)
        return uri
