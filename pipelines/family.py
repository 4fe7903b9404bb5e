"""The family run: one corpus, several models side by side, one page that compares them.

    validate ─ unify × datasets ─ merge ─┬─ × members: member ─ train ─ evaluate ─ report ─ register ─ (gate open) promote ─┬─ compare
    all inside one exit handler, outermost and last, whose task is finish

A member's tasks are one row without a loop of their own: a loop within a loop is more than the backend is known to do, so its
benchmarks are asked one after the other in one task. On a cluster the members wait for GPUs independently of each other. One that
fails ends the run without a comparison; what the others have finished is recognised when the family is run again.
"""

from typing import Any

from kfp import dsl

from components.compare.component import compare
from components.evaluate.all_component import evaluate_all
from components.finish.component import finish
from components.train.component import train
from components.validate.family_component import validate_family
from components.validate.member_component import member as member_of
from pipelines.steps import on_gpus, one_corpus, release, step

NAME = "sphinx-x-family"

CHOICES: dict[str, tuple[str, ...]] = {
    "eval_mode": ("official", "sphinx"),
    "register_promote": ("when_better", "never"),
    "train_device": ("gpu", "cpu"),
}
"""Parameters with a closed set of values: Kubeflow shows them as dropdowns and refuses any other value."""

MEMBERS = "members"
"""Name of the loop over the models."""


def one_member(name: Any, checked: Any, corpus_uri: Any, device: Any, mode: Any, promotion: Any, run_id: str) -> dict[str, Any]:
    """All tasks of one member, a row.

    Returns:
        What it leaves for the comparison, by the name of the comparison's input.
    """
    recipe_json, store_uri, family_json = (checked.outputs[key] for key in ("recipe_json", "store_uri", "family_json"))
    member = step(member_of, family_json=family_json, name=name).outputs
    trained = step(
        train,
        corpus_uri=corpus_uri,
        base_uri=member["base_uri"],
        base_digest=member["base_digest"],
        store_uri=store_uri,
        train_config_json=member["train_config_json"],
        num_nodes=member["num_nodes"],
        processes_per_node=member["processes_per_node"],
        run_id=run_id,
        device=device,
        member=name,
    )
    judged = step(
        evaluate_all,
        recipe_json=recipe_json,
        member=name,
        model_uri=trained.outputs["model_uri"],
        store_uri=store_uri,
        mode=mode,
        gpus=member["eval_gpus"],
    )
    on_gpus(judged, member["eval_gpus"])

    def results() -> Any:
        return judged.outputs["result_uris"]

    version = release(recipe_json, member["registered_name"], corpus_uri, trained, results, promotion, run_id, member=name)
    return {"judged": judged.outputs["judged_json"], "run_uris": trained.outputs["run_uri"], "versions": version}


@dsl.pipeline(
    name=NAME,
    display_name="SPHINX-X: a family on one corpus",
    description=(
        "Unifies a recipe's raw datasets once, trains several sizes or settings of SPHINX-X on the same corpus side by side, judges, "
        "registers and, where the recipe's gate opens, promotes each, and compares them on one page: scores with their intervals, "
        "loss curves, size and cost. Finished steps are recognised by their content."
    ),
)
def family_pipeline(
    data_recipe_uri: str,
    data_store_uri: str = "",
    train_family: str = "{tiny: {processes_per_node: 8}, intern2: {processes_per_node: 8}}",
    train_device: str = "gpu",
    eval_mode: str = "official",
    register_promote: str = "when_better",
):
    """Raw datasets in, several judged and registered models and their comparison out.

    Args:
        data_recipe_uri: YAML file that names datasets, mixture, benchmarks and gate.
        data_store_uri: Root below which everything is written, for example s3://bucket/sphinx-x; empty for the platform's own.
        train_family: The members as YAML in one line: names with variant (else the name is the variant), nodes, processes_per_node,
            base_uri, overrides and registered_name, each of which may be left out.
        train_device: What trains and evaluates: gpu, or cpu (nano).
        eval_mode: official scorers, or sphinx for those of the original suite.
        register_promote: when_better moves each member's champion alias under the gate; never leaves it.
    """
    run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    finished = step(finish, run_id=run_id)
    with dsl.ExitHandler(finished, name="data to family"):
        checked = step(
            validate_family,
            recipe_uri=data_recipe_uri,
            store_uri=data_store_uri,
            family=train_family,
            device=train_device,
            mode=eval_mode,
        )
        corpus_uri = one_corpus(checked)

        with dsl.ParallelFor(checked.outputs["member_names"], name=MEMBERS) as name:
            leaves = one_member(name, checked, corpus_uri, train_device, eval_mode, register_promote, run_id)

        step(
            compare,
            recipe_json=checked.outputs["recipe_json"],
            family_json=checked.outputs["family_json"],
            corpus_uri=corpus_uri,
            run_id=run_id,
            **{what: dsl.Collected(output) for what, output in leaves.items()},
        )
