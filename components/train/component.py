"""train: the corpus and a base become a model; the heart of the DAG."""

from typing import NamedTuple

from kfp import dsl

from components import images


@dsl.component(
    # The launcher needs no torch: it trains on other nodes, whose image their TrainingRuntime names.
    base_image=images.OPS,
    install_kfp_package=False,
    task_config_passthroughs=[
        dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.RESOURCES, apply_to_task=False),
        dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.KUBERNETES_TOLERATIONS, apply_to_task=False),
        dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR, apply_to_task=False),
        dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True),
    ],
)
def train(
    corpus_uri: str,
    base_uri: str,
    base_digest: str,
    store_uri: str,
    train_config_json: str,
    num_nodes: int,
    processes_per_node: int,
    run_id: str,
    task_config: dsl.TaskConfig,
    model: dsl.Output[dsl.Model],
    links: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
    device: str = "gpu",
    member: str = "",
) -> NamedTuple("Trained", [("model_uri", str), ("run_uri", str), ("model_digest", str)]):  # type: ignore[valid-type]
    """Train with DeepSpeed from the last committed checkpoint on, and export a Hugging Face directory.

    A run is recognised by the digest of all that decides its result: a finished one returns at once, an interrupted one goes
    on where it stopped.

    Args:
        corpus_uri: The corpus.
        base_uri: Base directory of the variant.
        base_digest: Digest of its content.
        store_uri: The store; the run goes below runs/ in it, the model below models/.
        train_config_json: The resolved training configuration.
        num_nodes: Machines.
        processes_per_node: Processes (GPUs) on each of them.
        run_id: The pipeline run, for MLflow.
        task_config: Resources, tolerations, node selector and environment of this task, for the nodes; Kubeflow fills it in.
        model: The exported model's manifest; the weights stay in the store.
        links: The training run in MLflow, the TrainJob, the log.
        metrics: Steps, samples, tokens and seconds.
        device: gpu or cpu: what the nodes train on; on a laptop training takes what is there.
        member: Name of the model in a family run.

    Returns:
        URIs of the model and of the run's folder, and the model's digest.
    """
    from components.shared.task import run_id as task_run_id
    from components.shared.task import running

    with running("train", member):
        from components.train import logic

        trained = logic.run(
            corpus_uri, base_uri, base_digest, store_uri, train_config_json, num_nodes, processes_per_node, task_run_id(run_id),
            device, task_config, member,
        )  # fmt: skip
        trained.manifest.write(model.path)
        with open(links.path, "w", encoding="utf-8") as file:
            file.write(trained.links)
        model.metadata = logic.metadata(trained)
        for name, value in logic.figures(trained.manifest).items():
            metrics.log_metric(name, value)
        return trained.outputs
