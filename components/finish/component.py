"""finish: the exit handler's task; runs whether the others succeeded or not."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.OPS, install_kfp_package=False)
def finish(run_id: str, status: dsl.PipelineTaskFinalStatus) -> str:
    """Close the pipeline run's record in MLflow with its final status.

    Nothing that must happen hangs on this task alone: Kubeflow does not run it after Terminate on a stock install.

    Args:
        run_id: The pipeline run.
        status: How the DAG ended.

    Returns:
        FINISHED or FAILED.
    """
    from components.shared.task import run_id as task_run_id
    from components.shared.task import running

    with running("finish"):
        from components.finish import logic

        return logic.run(task_run_id(run_id), status.state)
