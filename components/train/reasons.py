"""Why a TrainJob waits, restarts or failed: conditions, ends of containers, events and the nodes' own words as one sentence for a person.

Kubernetes spreads the reason over many objects, most of which are gone a moment later; the launcher collects them as it sees them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.shared.platform import EXIT_FINAL
from components.train.torchrun import EXIT_QUIET, EXIT_STOPPED

KILLED = 137
"""Exit code of a container that got SIGKILL."""
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


@dataclass(frozen=True)
class Ending:
    """How a node's container ended."""

    pod: str
    index: int
    attempt: int
    exit_code: int | None
    """None where the pod went without its container having run."""
    reason: str = ""
    message: str = ""
    time: str = ""

    @property
    def tells(self) -> int:
        """How much this end explains those of the other nodes; the largest is the reason."""
        if self.exit_code == EXIT_FINAL:
            return 4
        if self.reason in ("OOMKilled", "Evicted", "DisruptionTarget"):
            return 3
        if self.exit_code in EXIT_QUIET or self.exit_code == EXIT_STOPPED:
            return 1
        return 2


@dataclass(frozen=True)
class Waiting:
    """Why nodes do not run yet."""

    text: str
    is_hopeless: bool = False
    """Whether only a person can end it."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a TrainJob that failed."""

    name: str
    trainjob: dict[str, Any]
    """Empty where it is gone."""
    max_restarts: int = 0
    endings: Sequence[Ending] = ()
    stored: str = ""
    """The sentence that the failing node left in the store for the last attempt."""


def why_failed(evidence: Evidence) -> str:
    """One sentence: what happened, and what to do."""
    condition = condition_of(evidence.trainjob, "Failed")
    if condition is None:
        return f"the TrainJob {evidence.name} was deleted while it ran; run again to go on from the last checkpoint."
    reason, message = condition.get("reason", ""), " ".join(condition.get("message", "").split())
    last = last_reason(evidence)
    if reason == "DeadlineExceeded":
        hours = evidence.trainjob.get("spec", {}).get("activeDeadlineSeconds", 0) / 3600
        return (
            f"training was stopped at its limit of {hours:.3g} hours; raise SPHINX_X_TRAIN_DEADLINE_HOURS and run again to go on from "
            "the last checkpoint."
        )
    if reason == "FailJobSetFailurePolicyAction" or "FailJobSet" in message:
        return last or f"training failed for good ({message}); the log of its first node says why."
    if reason == "ReachedMaxRestarts":
        why = last or "its nodes did not say why, their log does."
        return f"training was restarted {evidence.max_restarts} times and failed again: {why}"
    return last or f"the TrainJob {evidence.name} failed ({reason}: {message}); correct that and run again."


def last_reason(evidence: Evidence) -> str:
    """Why the last attempt ended, as a sentence; empty if nobody knows."""
    if evidence.stored:
        return evidence.stored
    if not evidence.endings:
        return ""
    attempt = max(ending.attempt for ending in evidence.endings)
    candidates = [ending for ending in evidence.endings if ending.attempt == attempt and ending.exit_code != 0]
    if not candidates:
        return ""
    # Of equals the first: what came after is mostly its consequence.
    return ending_text(max(sorted(candidates, key=lambda ending: ending.time), key=lambda ending: ending.tells))


def ending_text(ending: Ending) -> str:
    """How one node ended, as a sentence."""
    where = f"node {ending.index}"
    lines = ending.message.strip().splitlines() or [""]
    message = " ".join(lines[-1].split())
    if ending.reason == "OOMKilled":
        return f"{where} reached its memory limit and was killed; raise the nodes' memory, or lower loader.workers."
    if ending.reason in ("Evicted", "DisruptionTarget"):
        return f"{where} was moved off its machine ({message or ending.reason})."
    if message and ending.exit_code is not None:
        # Several lines are the end of the log, which Kubernetes takes where a node could not leave its sentence.
        return message if len(lines) == 1 else f"{where} ended with exit code {ending.exit_code}, its last word was: {message}"
    if ending.exit_code is None:
        return f"{where} was deleted before it ran ({ending.reason or 'no reason given'})."
    if ending.exit_code == KILLED:
        return f"{where} was killed (exit code {KILLED}), by the system or by hand."
    if ending.exit_code == EXIT_STOPPED:
        return f"{where} was asked to stop."
    return f"{where} ended with exit code {ending.exit_code}; its log says why."


def endings_of(pods: Sequence[dict[str, Any]]) -> list[Ending]:
    """The ends that pods show, also those of pods that are gone."""
    found = []
    for pod in pods:
        status = pod.get("status", {})
        labels = pod["metadata"].get("labels", {})
        common = {
            "pod": pod["metadata"]["name"],
            "index": int(labels.get("batch.kubernetes.io/job-completion-index", 0)),
            "attempt": int(labels.get("jobset.sigs.k8s.io/restart-attempt", 0)),
        }
        ended = [
            one["state"]["terminated"] for one in status.get("containerStatuses", []) if "terminated" in one.get("state", {})
        ]
        disrupted = next(
            (one for one in status.get("conditions", []) if one["type"] == "DisruptionTarget" and one["status"] == "True"), None
        )
        if ended:
            one = ended[0]
            reason, message = one.get("reason", ""), one.get("message", "")
            if reason != "OOMKilled" and disrupted is not None and one.get("exitCode") != EXIT_FINAL:
                reason, message = "DisruptionTarget", disrupted.get("message", "")
            found.append(
                Ending(
                    **common, exit_code=one.get("exitCode"), reason=reason, message=message, time=one.get("finishedAt") or ""
                )
            )
        elif status.get("phase") == "Failed":
            found.append(Ending(**common, exit_code=None, reason=status.get("reason", ""), message=status.get("message", "")))
    return found


def why_waiting(pods: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]] = ()) -> Waiting | None:
    """What keeps nodes from running; None while nothing is known to.

    Args:
        pods: Of the present attempt.
        events: Of the job and its pods.
    """
    for pod in pods:
        status = pod.get("status", {})
        if status.get("phase") not in (None, "Pending"):
            continue
        for container in status.get("containerStatuses", []):
            waiting = container.get("state", {}).get("waiting", {})
            reason, message = waiting.get("reason", ""), " ".join(waiting.get("message", "").split())
            if reason in _IMAGE:
                return Waiting(f"the image {container.get('image')} cannot be pulled{_pull_text(message)}", is_hopeless=True)
            if reason in _CONFIG:
                return Waiting(f"the container cannot be made ({message or reason})", is_hopeless=True)
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return Waiting(_scheduler_text(condition))
    return _event_reason(events)


def _scheduler_text(condition: dict[str, Any]) -> str:
    message = " ".join(condition.get("message", "").split())
    # The scheduler adds what preemption and resource claims would bring, in as many words again.
    return re.split(r"\.? (?:preemption:|no new claims)", message)[0].rstrip(".,; ") or condition.get("reason", "not scheduled")


def _pull_text(message: str) -> str:
    """The cause of a failed pull, the same for the failure and for the waiting after it."""
    _, _, cause = message.rpartition("ErrImagePull: ")
    steps = [step for step in (cause or message).split(": ") if not step.startswith("Back-off")]
    return f" ({': '.join(steps[-2:])})" if steps else ""


def _event_reason(events: Sequence[dict[str, Any]]) -> Waiting | None:
    newest = sorted(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""), reverse=True)
    for event in newest:
        if event.get("type") != "Warning":
            continue
        message = " ".join(event.get("message", "").split())
        if event.get("reason") == "FailedCreate":
            if "exceeded quota" in message:
                return Waiting(f"the namespace's quota is used up ({message})")
            if "violates PodSecurity" in message or "forbidden" in message:
                return Waiting(f"the cluster refuses the pods ({message})", is_hopeless=True)
            return Waiting(f"the pods cannot be created ({message})")
        if event.get("reason") in ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"):
            return Waiting(f"a pod cannot start ({message})")
    return None


def condition_of(one: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """A condition of an object that is true."""
    for condition in one.get("status", {}).get("conditions", []):
        if condition["type"] == kind and condition["status"] == "True":
            return condition
    return None
