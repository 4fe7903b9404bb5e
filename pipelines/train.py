"""The DAG: raw datasets in, a judged and registered model out. The same definition runs on Kubeflow and, by kfp.local, on a laptop.

    validate ─ unify × datasets ─ merge ─ train ─ evaluate × benchmarks ─ report ─ register ─ (gate open) promote
    all inside one exit handler, outermost and last, whose task is finish

What travels between tasks are parameters (URIs, digests, the resolved recipe) and small manifests; shards, checkpoints and weights
stay in the store. Tasks recognise their own finished work there, so Kubeflow's cache, which cannot see whether the store
still has it, is off.
"""

# A decorated component takes its inputs alone: kfp fills outputs and the final status, which a type checker cannot know.
# pyright: reportCallIssue=false, reportArgumentType=false

from kfp import dsl

from components.evaluate.component import evaluate
from components.finish.component import finish
from components.merge.component import merge
from components.promote.component import promote
from components.register.component import register
from components.report.component import report
from components.train.component import train
from components.unify.component import unify
from components.validate.component import validate
from model.variants import VARIANTS

NAME = "sphinx-x-train"

CHOICES: dict[str, tuple[str, ...]] = {
    "train_variant": tuple(VARIANTS),
    "eval_mode": ("official", "sphinx"),
    "register_promote": ("when_better", "never"),
}
"""Parameters with a closed set of values: Kubeflow shows them as dropdowns and refuses any other value."""


def _uncached(task: dsl.PipelineTask, display_name: str) -> dsl.PipelineTask:
    """A task's name in the Kubeflow graph; it is always asked, since only the store knows what is finished."""
    return task.set_caching_options(False).set_display_name(display_name)


@dsl.pipeline(
    name=NAME,
    display_name="SPHINX-X: data to registered model",
    description=(
        "Unifies a recipe's raw datasets, trains one size of SPHINX-X in a single stage, judges it on the recipe's benchmarks, "
        "registers it in MLflow as candidate, and makes it champion if it passes the recipe's gate. Finished steps are "
        "recognised by their content; an interrupted training goes on from its last checkpoint."
    ),
)
def train_pipeline(
    data_recipe_uri: str,
    data_store_uri: str,
    train_base_uri: str,
    train_variant: str = "tiny",
    train_overrides: str = "",
    train_num_nodes: int = 1,
    train_processes_per_node: int = 8,
    eval_mode: str = "official",
    register_promote: str = "when_better",
    register_model_name: str = "",
):
    """Raw datasets in, a judged and registered model out.

    Args:
        data_recipe_uri: YAML file that names datasets, mixture, benchmarks and gate.
        data_store_uri: Root below which everything is written, for example s3://bucket/sphinx-x.
        train_base_uri: Base directory of the variant (python -m model.convert makes one).
        train_variant: Size of the model.
        train_overrides: Training options on top of the variant's preset, as YAML; empty for none.
        train_num_nodes: Machines that train.
        train_processes_per_node: Processes (GPUs) on each machine.
        eval_mode: official scorers, or sphinx for those of the original suite.
        register_promote: when_better moves the champion alias under the gate; never leaves it.
        register_model_name: Name in the registry; empty for the recipe's, or sphinx-x-<variant>.
    """
    run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    finished = _uncached(finish(run_id=run_id), "record how it ended")
    with dsl.ExitHandler(finished, name="data to model"):
        checked = validate(
            recipe_uri=data_recipe_uri,
            store_uri=data_store_uri,
            base_uri=train_base_uri,
            variant=train_variant,
            overrides=train_overrides,
            num_nodes=train_num_nodes,
            processes_per_node=train_processes_per_node,
            mode=eval_mode,
            model_name=register_model_name,
        )
        _uncached(checked, "validate: check everything first")
        recipe_json, registered_name = checked.outputs["recipe_json"], checked.outputs["registered_name"]

        with dsl.ParallelFor(checked.outputs["dataset_names"], name="datasets") as dataset:
            unified = unify(recipe_json=recipe_json, dataset=dataset, store_uri=data_store_uri)
            _uncached(unified, "unify: raw files to shards")
        merged = merge(recipe_json=recipe_json, dataset_uris=dsl.Collected(unified.outputs["Output"]), store_uri=data_store_uri)
        _uncached(merged, "merge: one corpus")

        trained = train(
            corpus_uri=merged.outputs["Output"],
            base_uri=train_base_uri,
            base_digest=checked.outputs["base_digest"],
            store_uri=data_store_uri,
            train_config_json=checked.outputs["train_config_json"],
            num_nodes=train_num_nodes,
            processes_per_node=train_processes_per_node,
            run_id=run_id,
        )
        _uncached(trained, "train: corpus and base to model")
        model_uri = trained.outputs["model_uri"]

        with dsl.ParallelFor(checked.outputs["benchmark_names"], name="benchmarks") as benchmark:
            judged = evaluate(
                recipe_json=recipe_json, benchmark=benchmark, model_uri=model_uri, store_uri=data_store_uri, mode=eval_mode
            )
            _uncached(judged, "evaluate: questions to scores")
        reported = report(
            recipe_json=recipe_json,
            corpus_uri=merged.outputs["Output"],
            model_uri=model_uri,
            run_uri=trained.outputs["run_uri"],
            result_uris=dsl.Collected(judged.outputs["Output"]),
            registered_name=registered_name,
            promote=register_promote,
            run_id=run_id,
        )
        _uncached(reported, "report: page and gate")

        registered = register(
            recipe_json=recipe_json,
            corpus_uri=merged.outputs["Output"],
            model_uri=model_uri,
            run_uri=trained.outputs["run_uri"],
            result_uris=dsl.Collected(judged.outputs["Output"]),
            decision_json=reported.outputs["decision_json"],
            registered_name=registered_name,
            run_id=run_id,
            page=reported.outputs["page"],
        )
        _uncached(registered, "register: candidate in MLflow")
        with dsl.If(reported.outputs["gate"] == "open", name="gate open"):
            _uncached(promote(registered_name=registered_name, version=registered.outputs["Output"]), "promote: champion")
