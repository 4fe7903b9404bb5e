"""Bring a TrainJob into being: create it, adopt the one that is there, or say why neither is possible."""

import time
from collections.abc import Callable
from typing import Any

from components.shared import platform
from components.shared.kubernetes_client import Kubernetes, KubernetesError, path_of
from components.train.reasons import condition_of
from components.train.trainjob import TrainJobWish
from model.errors import TrainError

RETRY_SECONDS = 60.0
"""How long a webhook or an API that is not ready is waited for."""
GONE_SECONDS = 600.0
"""How long an earlier TrainJob of the same name may take to go: its nodes may save a last time."""


def submit(
    kube: Kubernetes,
    trainjob: dict[str, Any],
    say: Callable[[str], None] = lambda _: None,
    prepare: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], bool]:
    """Create a TrainJob, or take over the one of the same name where it is ours.

    One that has ended is replaced: the new one goes on from the last checkpoint. Nodes of an earlier try may still save; they are
    waited for, since a run has one writer.

    Args:
        say: Takes a line about what is waited for.
        prepare: Called before the creation, when no node of an earlier try is left.

    Returns:
        The object, and whether it was adopted.

    Raises:
        KubernetesError: it is refused, or the API does not answer for a minute.
        TrainError: the name belongs to something else, or what was there before does not go.
    """
    name, namespace = trainjob["metadata"]["name"], trainjob["metadata"]["namespace"]
    path = path_of("trainjobs", namespace, name)
    deadline, gone_by = time.monotonic() + RETRY_SECONDS, time.monotonic() + GONE_SECONDS
    said = ""
    while True:
        try:
            if (found := find(kube, path)) is not None and (adopted := _adopted(kube, path, found, trainjob)):
                return adopted, True
            if not (earlier := _earlier(kube, found, trainjob)):
                prepare()
                return kube.create(path_of("trainjobs", namespace), trainjob), False
            if time.monotonic() > gone_by:
                raise TrainError(
                    f"{earlier} of an earlier try does not go away; look at it with kubectl describe, then run again."
                )
            if said != (said := earlier):
                say(f"waiting until {earlier} of an earlier try has gone; nodes save before they leave")
        except KubernetesError as error:
            if error.status != 409 and (not _may_pass(error) or time.monotonic() > deadline):
                raise explained(error, trainjob) from error
        time.sleep(2.0)


def _earlier(kube: Kubernetes, found: dict[str, Any] | None, trainjob: dict[str, Any]) -> str:
    """What of an earlier try is still there; empty where the way is free."""
    name, namespace = trainjob["metadata"]["name"], trainjob["metadata"]["namespace"]
    if found is not None:
        return f"TrainJob {namespace}/{name}"
    if find(kube, path_of("jobsets", namespace, name)) is not None:
        return f"JobSet {namespace}/{name}"
    selector = f"{platform.RUN_LABEL}={trainjob['metadata']['labels'][platform.RUN_LABEL]}"
    for pod in kube.get(path_of("pods", namespace), labelSelector=selector).get("items", []):
        if pod.get("status", {}).get("phase") in ("Pending", "Running"):
            return f"pod {namespace}/{pod['metadata']['name']}"
    return ""


def explained(error: KubernetesError, trainjob: dict[str, Any]) -> KubernetesError:
    """A refusal with the remedy that only the launcher knows."""
    runtime = trainjob["spec"]["runtimeRef"]["name"]
    namespace = trainjob["metadata"]["namespace"]
    if "must be created before the TrainJob" in error.said:
        return KubernetesError(
            f"there is no TrainingRuntime {runtime} in namespace {namespace}; install the chart in this namespace, with this variant.",
            error.status,
            error.said,
        )
    if error.status == 400 and "unknown field" in error.said:
        return KubernetesError(
            f"this cluster's Kubeflow Trainer is too old or too new for this TrainJob ({error.said}); versions 2.2 and 2.3 are known to fit.",
            error.status,
            error.said,
        )
    if "denied the request" in error.said or error.status == 422:
        return KubernetesError(f"Kubeflow Trainer refuses the TrainJob: {error.said}.", error.status, error.said)
    if "failed calling webhook" in error.said:
        return KubernetesError(
            f"Kubeflow Trainer's webhook did not answer for {RETRY_SECONDS:.0f} s ({error.said}); see that its controller runs.",
            error.status,
            error.said,
        )
    return error


def refuse_second_writer(kube: Kubernetes, wish: TrainJobWish) -> None:
    """Two pipeline runs that want the same training would wait for each other's lease, with their GPUs.

    Raises:
        TrainError: another pipeline run trains the same already.
    """
    selector = ",".join(f"{name}={wish.labels[name]}" for name in (*platform.MANAGED_BY, platform.RUN_LABEL))
    for other in kube.get(path_of("trainjobs", wish.namespace), labelSelector=selector).get("items", []):
        if other["metadata"]["name"] != wish.name and not is_terminal(other):
            run = other["metadata"]["labels"].get(platform.PIPELINE_RUN_LABEL, "unknown")
            raise TrainError(
                f"pipeline run {run} trains the very same already (TrainJob {wish.namespace}/{other['metadata']['name']}); wait for it, "
                "or stop it, then run again: a finished training is recognised."
            )


def is_terminal(trainjob: dict[str, Any]) -> bool:
    """Whether a TrainJob has ended, either way."""
    return bool(condition_of(trainjob, "Complete") or condition_of(trainjob, "Failed"))


def find(kube: Kubernetes, path: str) -> dict[str, Any] | None:
    try:
        return kube.get(path)
    except KubernetesError as error:
        if error.status == 404:
            return None
        raise


def _adopted(kube: Kubernetes, path: str, found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The TrainJob that is there, if it is ours and runs; None after an ended one has been sent away."""
    theirs = found["metadata"].get("labels", {})
    names = (*platform.MANAGED_BY, platform.PIPELINE_RUN_LABEL, platform.RUN_LABEL, platform.VARIANT_LABEL)
    if any(theirs.get(name) != wanted["metadata"]["labels"][name] for name in names):
        raise TrainError(f"{path.rpartition('/')[2]} is the name of another TrainJob; delete that one and run again.")
    if found["metadata"].get("deletionTimestamp"):
        return None
    if not is_terminal(found):
        return found
    kube.delete(path)
    return None


def _may_pass(error: KubernetesError) -> bool:
    """Whether a failed creation may succeed in a moment."""
    return error.status in (0, 429, 502, 503, 504) or (error.status == 500 and "webhook" in error.said)
