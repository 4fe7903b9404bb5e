"""One deployment brought in line with Kubeflow: its pipelines uploaded as versions, its schedules reconciled. Repeating it changes nothing."""

import os
from collections.abc import Callable
from typing import Any

from model.errors import ConfigError
from pipelines.cluster.config import Schedule, SyncConfig
from pipelines.cluster.connection import ENDPOINT, Connection
from pipelines.cluster.kubeflow import Kubeflow, open_kubeflow
from pipelines.cluster.render import RenderedPipeline, problem_with, render_all
from pipelines.cluster.schedules import Wanted, existing_of, plan, reconcile


def owner_of(config: SyncConfig) -> str:
    """Whose schedules a deployment's are."""
    return f"{config.namespace}/{config.release}"


def open_for(config: SyncConfig) -> Kubeflow:
    """The deployment's Kubeflow, waited for.

    Raises:
        KubeflowError: it does not answer, or is too old.
    """
    return open_kubeflow(connection_for(config), config.kubeflow.ui_url, config.kubeflow.wait_seconds)


def connection_for(config: SyncConfig, endpoint: str = "") -> Connection:
    """The way to the deployment's Kubeflow; without an address of its own, the Service of its namespace.

    Args:
        endpoint: Asked instead of the configuration's.

    Raises:
        KubeflowError: the address or the token's file is wrong.
    """
    found = endpoint or config.kubeflow.endpoint or os.environ.get(ENDPOINT, "")
    return Connection.open(found or f"http://ml-pipeline.{config.namespace}.svc:8888", config.namespace, config.kubeflow)


def check_schedules(config: SyncConfig, pipelines: list[RenderedPipeline]) -> None:
    """Whether every schedule names a pipeline and gives its parameters.

    Raises:
        ConfigError: the first one that does not.
    """
    known = {pipeline.name: pipeline for pipeline in pipelines}
    for number, schedule in enumerate(config.schedules):
        if (pipeline := known.get(schedule.pipeline)) is None:
            raise ConfigError(
                f"schedules.{number} ({schedule.name}): there is no pipeline {schedule.pipeline}; there are {', '.join(known)}."
            )
        check_parameters(f"schedules.{number} ({schedule.name})", pipeline.parameters, schedule.parameters)


def check_parameters(where: str, parameters: dict[str, dict[str, Any]], given: dict[str, Any]) -> None:
    """Whether values fit a pipeline's parameters, before Kubeflow is asked.

    Args:
        where: Beginning of the sentence.
        parameters: As the pipeline's specification has them.

    Raises:
        ConfigError: one is unknown, missing, or of another type; names the parameter.
    """
    for name, value in given.items():
        if name not in parameters:
            raise ConfigError(f"{where}: the pipeline has no parameter {name}; it has {', '.join(sorted(parameters))}.")
        if problem := problem_with(parameters[name], value):
            raise ConfigError(f"{where}: parameter {name} {problem}.")
    for name, parameter in parameters.items():
        if name not in given and not parameter.get("isOptional") and "defaultValue" not in parameter:
            raise ConfigError(f"{where}: parameter {name} is missing; give it.")


def wanted_schedules(config: SyncConfig, kubeflow: Kubeflow, pipeline_ids: dict[str, str]) -> list[Wanted]:
    """The configuration's schedules with Kubeflow's ids.

    Args:
        pipeline_ids: Id by name of the pipelines that are there.

    Raises:
        ConfigError: a pipeline is not there.
        KubeflowError: Kubeflow refuses.
    """
    if not config.schedules:
        return []
    experiment = kubeflow.experiment(config.experiment)
    return [
        Wanted(owner_of(config), schedule, _pipeline_id(schedule, kubeflow, pipeline_ids), experiment, config.service_account)
        for schedule in config.schedules
    ]


def _pipeline_id(schedule: Schedule, kubeflow: Kubeflow, known: dict[str, str]) -> str:
    if schedule.pipeline not in known:
        if (found := kubeflow.pipeline(schedule.pipeline)) is None:
            raise ConfigError(
                f"schedule {schedule.name}: Kubeflow has no pipeline {schedule.pipeline} yet; let sync upload it (upload: true)."
            )
        known[schedule.pipeline] = str(found.pipeline_id)
    return known[schedule.pipeline]


def sync(config: SyncConfig, tell: Callable[[str], None]) -> int:
    """Upload what is new and reconcile the schedules.

    Args:
        tell: Told every step in a sentence.

    Returns:
        Number of steps taken; 0 where everything was in place.

    Raises:
        ConfigError: the configuration does not fit the pipelines.
        KubeflowError: Kubeflow does not answer, or refuses.
    """
    pipelines = render_all(config)
    check_schedules(config, pipelines)
    kubeflow = open_for(config)
    steps, ids = 0, dict[str, str]()
    for pipeline in pipelines if config.upload else ():
        ids[pipeline.name], _, is_new = kubeflow.publish(pipeline)
        steps += is_new
        tell(f"pipeline {pipeline.name}: {'uploaded' if is_new else 'is at'} version {pipeline.version}")
    wanted = wanted_schedules(config, kubeflow, ids)
    return steps + reconcile(kubeflow, owner_of(config), wanted, config.wait_for_runs_seconds, tell)


def remove(config: SyncConfig, tell: Callable[[str], None]) -> int:
    """Remove the deployment's schedules. Pipelines stay: records of runs point to them.

    Returns:
        Number of steps taken.

    Raises:
        KubeflowError: Kubeflow does not answer, or refuses.
    """
    return reconcile(open_for(config), owner_of(config), [], config.wait_for_runs_seconds, tell)


def check(config: SyncConfig, tell: Callable[[str], None]) -> int:
    """What `sync` would do; nothing is changed.

    Returns:
        Number of steps it would take.

    Raises:
        ConfigError, KubeflowError: as `sync` does.
    """
    pipelines = render_all(config)
    check_schedules(config, pipelines)
    kubeflow = open_for(config)
    steps, ids = 0, dict[str, str]()
    for pipeline in pipelines:
        found = kubeflow.pipeline(pipeline.name)
        ids[pipeline.name] = str(found.pipeline_id) if found else ""
        newest = next(kubeflow.versions(found.pipeline_id), None) if found else None
        if config.upload and (newest is None or not str(newest.display_name).startswith(pipeline.version)):
            steps += 1
            tell(f"pipeline {pipeline.name}: version {pipeline.version} would be uploaded")
    for action in plan(wanted_schedules(config, kubeflow, ids), existing_of(kubeflow, owner_of(config))):
        steps += 1
        tell(f"schedule {action.name}: would {action.kind} ({action.why})")
    return steps
