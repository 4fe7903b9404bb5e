"""The DAG: raw datasets in, a judged and registered model out. The same definition runs on Kubeflow and, by kfp.local, on a laptop.

    validate ─ unify × datasets ─ merge ─ prepare ─ (something to train)
               train ─ evaluate × benchmarks ─ report ─ register ─ (gate open) promote
    all inside one exit handler, outermost and last, whose task is finish

What travels between tasks are parameters (URIs, digests, the resolved recipe) and small manifests; shards, checkpoints and weights
stay in the store. Tasks recognise their own finished work there, so Kubeflow's cache, which cannot see whether the store
still has it, is off.
"""

from kfp import dsl

from components.finish.component import finish
from components.prepare.component import prepare
from components.train.component import train
from components.validate.component import validate
from model.variants import VARIANTS
from pipelines.steps import evaluated, one_corpus, release, step

NAME = "sphinx-x-train"

CHOICES: dict[str, tuple[str, ...]] = {
    "data_when_unchanged": ("train", "stop"),
    "eval_mode": ("official", "sphinx"),
    "register_promote": ("when_better", "never"),
    "train_device": ("gpu", "cpu"),
    "train_start_from": ("base", "champion"),
    "train_variant": tuple(VARIANTS),
}
"""Parameters with a closed set of values: Kubeflow shows them as dropdowns and refuses any other value."""


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
    data_store_uri: str = "",
    data_when_unchanged: str = "train",
    train_variant: str = "tiny",
    train_base_uri: str = "",
    train_start_from: str = "base",
    train_overrides: str = "",
    train_device: str = "gpu",
    train_num_nodes: int = 1,
    train_processes_per_node: int = 8,
    eval_mode: str = "official",
    register_promote: str = "when_better",
    register_model_name: str = "",
):
    """Raw datasets in, a judged and registered model out.

    Args:
        data_recipe_uri: YAML file that names datasets, mixture, benchmarks and gate.
        data_store_uri: Root below which everything is written, for example s3://bucket/sphinx-x; empty for the platform's own.
        data_when_unchanged: stop ends the run early if the newest registered version was trained on this very corpus.
        train_variant: Size of the model.
        train_base_uri: Base directory of the variant (python -m model.convert makes one); empty for bases/<variant> in the store.
        train_start_from: base, or champion to go on from the registered champion.
        train_overrides: Training options on top of the variant's preset, as YAML; empty for none.
        train_device: What trains and evaluates: gpu, or cpu (nano).
        train_num_nodes: Machines that train.
        train_processes_per_node: Processes (GPUs) on each machine.
        eval_mode: official scorers, or sphinx for those of the original suite.
        register_promote: when_better moves the champion alias under the gate; never leaves it.
        register_model_name: Name in the registry; empty for the recipe's, or sphinx-x-<variant>.
    """
    run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    ranks = {"num_nodes": train_num_nodes, "processes_per_node": train_processes_per_node}
    finished = step(finish, run_id=run_id)
    with dsl.ExitHandler(finished, name="data to model"):
        checked = step(
            validate,
            recipe_uri=data_recipe_uri,
            store_uri=data_store_uri,
            base_uri=train_base_uri,
            variant=train_variant,
            overrides=train_overrides,
            device=train_device,
            mode=eval_mode,
            model_name=register_model_name,
            **ranks,
        )
        store_uri, registered_name = checked.outputs["store_uri"], checked.outputs["registered_name"]
        corpus_uri = one_corpus(checked)
        prepared = step(
            prepare,
            corpus_uri=corpus_uri,
            variant=train_variant,
            registered_name=registered_name,
            start_from=train_start_from,
            when_unchanged=data_when_unchanged,
            base_uri=checked.outputs["base_uri"],
            base_digest=checked.outputs["base_digest"],
            store_uri=store_uri,
        )
        with dsl.If(prepared.outputs["go_on"] == "yes", name="something to train"):
            trained = step(
                train,
                corpus_uri=corpus_uri,
                base_uri=prepared.outputs["base_uri"],
                base_digest=prepared.outputs["base_digest"],
                store_uri=store_uri,
                train_config_json=checked.outputs["train_config_json"],
                run_id=run_id,
                device=train_device,
                **ranks,
            )
            results = evaluated(checked, trained.outputs["model_uri"], eval_mode)
            recipe_json = checked.outputs["recipe_json"]
            release(recipe_json, registered_name, corpus_uri, trained, results, register_promote, run_id)
