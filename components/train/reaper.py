"""Delete TrainJobs that nobody wants any more, whatever happened to their launcher.

Kubeflow's Terminate leaves a TrainJob running, and a launcher that is killed cannot clean up. The chart runs this for ever in a pod of
its own (`sphinx-x reap --watch`); it needs to list, watch and delete trainjobs and to get workflows, nothing else.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components.shared import platform
from components.shared.kubernetes_client import Kubernetes, KubernetesError, path_of
from components.train.reasons import condition_of
from components.train.trainjob import HEARTBEAT, WORKFLOW_LABEL
from components.train.workflow import why_over
from model.errors import SphinxError

HEARTBEAT_EXPIRY = timedelta(minutes=15)
"""A launcher outside of the cluster beats twice a minute; a laptop may sleep for a while."""
FINISHED_EXPIRY = timedelta(days=1)
"""How long an ended TrainJob stays to be looked at."""
LIVENESS_FILE = Path("/tmp/reaper-alive")  # noqa: S108  a pod's own
"""Touched after every round that the API answered."""


@dataclass(frozen=True)
class Reaped:
    """A TrainJob that was deleted, and why."""

    name: str
    reason: str


class Reaper:
    """Rounds over one namespace.

    Args:
        kube: The API.
        namespace: Where the TrainJobs are.
    """

    def __init__(self, kube: Kubernetes, namespace: str) -> None:
        self._kube, self._namespace = kube, namespace

    def round(self) -> list[Reaped]:
        """Delete what nobody wants, once.

        Raises:
            KubernetesError: the TrainJobs cannot be listed, or one cannot be deleted; those before it are.
        """
        selector = ",".join(f"{name}={value}" for name, value in platform.MANAGED_BY.items())
        reaped, failure = [], None
        for trainjob in self._kube.get(path_of("trainjobs", self._namespace), labelSelector=selector).get("items", []):
            name = trainjob["metadata"]["name"]
            if trainjob["metadata"].get("deletionTimestamp"):
                continue
            try:
                if reason := self._why(trainjob):
                    self._kube.delete(path_of("trainjobs", self._namespace, name))
                    reaped.append(Reaped(name, reason))
            except SphinxError as error:
                failure = error  # the others are not held up by one
        if failure is not None and not reaped:
            raise failure
        return reaped

    def _why(self, trainjob: dict[str, Any]) -> str:
        owner = workflow_of(trainjob)
        workflow: dict[str, Any] | None = None
        if owner is not None:
            name, uid = owner
            try:
                workflow = self._kube.get(path_of("workflows", self._namespace, name))
            except KubernetesError as error:
                if error.status != 404 or "could not find the requested resource" in error.said:
                    raise
            if workflow is not None and uid and workflow["metadata"]["uid"] != uid:
                workflow = None  # another of the same name
        return why_unwanted(trainjob, owner is not None, workflow, datetime.now(UTC))


def why_unwanted(trainjob: dict[str, Any], has_owner: bool, workflow: dict[str, Any] | None, now: datetime) -> str:
    """Why a TrainJob should go; empty while it should stay.

    Args:
        has_owner: Whether a Workflow made it.
        workflow: That Workflow; None where it is gone.
        now: The present time.
    """
    ended = condition_of(trainjob, "Complete") or condition_of(trainjob, "Failed")
    if ended:
        since = time_of(ended.get("lastTransitionTime"))
        return "it ended more than a day ago" if since and now - since > FINISHED_EXPIRY else ""
    if has_owner:
        return "its Workflow is gone" if workflow is None else why_over(workflow)
    beat = time_of(trainjob["metadata"].get("annotations", {}).get(HEARTBEAT)) or time_of(
        trainjob["metadata"].get("creationTimestamp")
    )
    if beat and now - beat > HEARTBEAT_EXPIRY:
        return f"its launcher has not been heard of since {beat:%Y-%m-%d %H:%M} UTC"
    return ""


def workflow_of(trainjob: dict[str, Any]) -> tuple[str, str] | None:
    """Name and uid (empty where only the label tells) of the Workflow that made a TrainJob."""
    for reference in trainjob["metadata"].get("ownerReferences", []):
        if reference["kind"] == "Workflow":
            return reference["name"], reference["uid"]
    name = trainjob["metadata"].get("labels", {}).get(WORKFLOW_LABEL)
    return (name, "") if name else None


def time_of(text: str | None) -> datetime | None:
    """A time as Kubernetes writes it; None for anything else."""
    try:
        found = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def reap_for_ever(
    reaper: Reaper,
    say: Callable[[str], None],
    every_seconds: float,
    alive: Path = LIVENESS_FILE,
    goes_on: Callable[[], bool] = lambda: True,
) -> None:
    """Round after round; an API that fails is asked again, and what it says is told once.

    Args:
        say: Takes a line for the log.
        alive: File for the liveness probe.
        goes_on: Asked after every round.
    """
    told = ""
    while True:
        try:
            for one in reaper.round():
                say(f"deleted TrainJob {one.name}: {one.reason}")
            told = ""
            alive.touch()
        except SphinxError as error:
            if str(error) != told:
                say(str(error))
            told = str(error)
        if not goes_on():
            return
        time.sleep(every_seconds)
