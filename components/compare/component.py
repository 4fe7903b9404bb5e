"""compare: the models of a family side by side, on one page."""

from typing import List  # noqa: UP035  kfp reads this name

from kfp import dsl

from components import images


@dsl.component(base_image=images.OPS, install_kfp_package=False)
def compare(
    recipe_json: str,
    family_json: str,
    corpus_uri: str,
    judged: List[str],  # noqa: UP006
    run_uris: List[str],  # noqa: UP006
    versions: List[str],  # noqa: UP006
    run_id: str,
    page: dsl.Output[dsl.HTML],
    links: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Draw one self-contained HTML page that compares what the members scored and what they cost.

    Args:
        recipe_json: The resolved recipe.
        family_json: The family as it was checked.
        corpus_uri: What all members were trained on.
        judged: What the evaluation of each member found, in the family's order.
        run_uris: Folder of each member's training run, in the same order.
        versions: Version of each member in the registry, in the same order.
        run_id: The pipeline run, for links.
        page: The comparison.
        links: The run's pages in Kubeflow and MLflow, and those of every member.
        metrics: Score by member and benchmark.

    Returns:
        What became of each member, as JSON.
    """
    from components.shared.task import run_id as task_run_id
    from components.shared.task import running

    with running("compare"):
        from components.compare import logic

        made = logic.run(recipe_json, family_json, corpus_uri, judged, run_uris, versions, task_run_id(run_id))
        with open(page.path, "w", encoding="utf-8") as file:
            file.write(made.html)
        with open(links.path, "w", encoding="utf-8") as file:
            file.write(made.links)
        for name, value in made.figures.items():
            metrics.log_metric(name, value)
        return made.compared_json
