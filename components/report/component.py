"""report: what the model is worth, for people as a page and for the DAG as an open or closed gate."""

from typing import List, NamedTuple  # noqa: UP035  kfp reads these names

from kfp import dsl

from components import images


@dsl.component(base_image=images.OPS, install_kfp_package=False)
def report(
    recipe_json: str,
    corpus_uri: str,
    model_uri: str,
    run_uri: str,
    result_uris: List[str],  # noqa: UP006
    registered_name: str,
    promote: str,
    run_id: str,
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    member: str = "",
) -> NamedTuple("Reported", [("gate", str), ("decision_json", str)]):  # type: ignore[valid-type]
    """Compare the model with chance and with the champion, decide the gate, and write one self-contained HTML page.

    Args:
        recipe_json: The resolved recipe with the gate's policy.
        corpus_uri: What the model was trained on.
        model_uri: The exported model.
        run_uri: The training run's folder, for the curves.
        result_uris: Results of all benchmarks.
        registered_name: Name in the registry, whose champion is compared.
        promote: when_better, or never (the gate stays closed).
        run_id: The pipeline run, for links.
        page: The report.
        metrics: Score by benchmark.
        member: Name of the model in a family run.

    Returns:
        open or closed, and the decision with its reasons as JSON.
    """
    from components.shared.task import run_id as task_run_id
    from components.shared.task import running

    with running("report", member):
        from components.report import logic

        made = logic.run(
            recipe_json, corpus_uri, model_uri, run_uri, result_uris, registered_name, promote, task_run_id(run_id), member
        )
        with open(page.path, "w", encoding="utf-8") as file:
            file.write(made.html)
        for name, value in made.figures.items():
            metrics.log_metric(name, value)
        return made.outputs
