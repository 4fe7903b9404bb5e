"""register: every judged model becomes a version in the registry, whatever the gate says."""

from typing import List  # noqa: UP035  kfp reads this name

from kfp import dsl

from components import images


@dsl.component(base_image=images.OPS, install_kfp_package=False)
def register(
    recipe_json: str,
    corpus_uri: str,
    model_uri: str,
    run_uri: str,
    result_uris: List[str],  # noqa: UP006
    decision_json: str,
    registered_name: str,
    run_id: str,
    page: dsl.Input[dsl.HTML],
    release: dsl.Output[dsl.Artifact],
    links: dsl.Output[dsl.Markdown],
    member: str = "",
) -> str:
    """Make the model a registered version with the alias candidate, its scores and the gate's decision as tags.

    The same model with the same results is found again, not registered twice.

    Args:
        recipe_json: The resolved recipe.
        corpus_uri: What the model was trained on.
        model_uri: The exported model.
        run_uri: The training run's folder, whose curves MLflow may have missed.
        result_uris: Results of all benchmarks.
        decision_json: The gate's decision.
        registered_name: Name in the registry.
        run_id: The pipeline run.
        page: The report, which travels with the model.
        release: Name, version and tags; the files stay in MLflow.
        links: The version, its training run and its files in MLflow.
        member: Name of the model in a family run.

    Returns:
        The version's number.
    """
    from components.shared.task import run_id as task_run_id
    from components.shared.task import running

    with running("register", member):
        from pathlib import Path

        from components.register import logic
        from components.shared.pages import as_markdown, version_pages

        made = logic.run(
            recipe_json, corpus_uri, model_uri, run_uri, result_uris, decision_json, registered_name, task_run_id(run_id),
            Path(page.path),
        )  # fmt: skip
        made.write(release.path)
        with open(links.path, "w", encoding="utf-8") as file:
            file.write(as_markdown("Registered", {"model": made.uri} | version_pages(made.name, made.version)))
        release.metadata = {
            "uri": made.uri,
            "version": made.version,
            "model_digest": made.model_digest,
            "gate": made.tags["sphinx_x.gate"],
        }
        print(f"{made.uri} is registered as {', '.join(made.aliases)}")
        return made.version
