"""Follow a TrainJob to its end: phases, restarts, progress and the first node's log, a line each; its failure as one sentence."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from threading import Event
from typing import Any

from components.shared.kubernetes_client import Kubernetes, KubernetesError, path_of
from components.train.logs import LogTail
from components.train.reasons import Evidence, Waiting, condition_of, endings_of, last_reason, why_failed, why_waiting
from components.train.watch import Watched
from model.errors import SphinxError, TrainError

LOOK_SECONDS = 1.0
EVENTS_SECONDS = 10.0
"""How often events are asked for while nodes do not run."""
HOPELESS_SECONDS = 600.0
"""How long a state that only a person can end (no such image, no such Secret) is waited for."""
SILENCE_SECONDS = 30.0
"""How long the API may fail before that is said; training goes on without it."""
LOG_MARK = "node 0 | "
"""Before every line of the first node's log."""
ATTEMPT_LABEL = "jobset.sigs.k8s.io/restart-attempt"


class Follower:
    """One TrainJob's story.

    Args:
        kube: The API.
        trainjob: The object as created or adopted.
        stored_reason: Gives the sentence that the nodes of an attempt left in the store, or nothing.
        say: Takes a line for the log.
        beat: Called at every look.
    """

    def __init__(
        self,
        kube: Kubernetes,
        trainjob: dict[str, Any],
        stored_reason: Callable[[int], str],
        say: Callable[[str], None],
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._kube, self._stored_reason, self._say, self._beat = kube, stored_reason, say, beat
        metadata = trainjob["metadata"]
        self._namespace, self._name, self._uid = metadata["namespace"], metadata["name"], metadata["uid"]
        self._trainjob = trainjob
        self._told: dict[str, str] = {}
        self._restarts: int | None = None
        self._waiting: Waiting | None = None
        self._waiting_since = self._events_at = 0.0
        self._events: list[dict[str, Any]] = []

    def to_the_end(self) -> None:
        """Return when the TrainJob is complete.

        Raises:
            TrainError: it failed or was deleted; says why.
            KubernetesError: the API refuses to tell.
        """
        changed = Event()
        name, namespace = self._name, self._namespace
        of_jobset = {"labelSelector": f"jobset.sigs.k8s.io/jobset-name={name}"}
        of_name = {"fieldSelector": f"metadata.name={name}"}
        with ExitStack() as held:
            self._trainjobs, self._jobsets, self._pods = (
                held.enter_context(Watched(self._kube, path_of(kind, namespace), changed.set, **selector))
                for kind, selector in (("trainjobs", of_name), ("jobsets", of_name), ("pods", of_jobset))
            )
            held.enter_context(LogTail(self._kube, namespace, self._pods.objects, lambda line: self._say(f"{LOG_MARK}{line}")))
            while not self._look():
                changed.wait(LOOK_SECONDS)
                changed.clear()
                self._beat()

    def _look(self) -> bool:
        """Tell what is new; True when the TrainJob is complete."""
        self._mention_failures()
        if not self._trainjobs.is_listed.is_set():
            return False
        mine = [one for one in self._trainjobs.objects() if one["metadata"]["uid"] == self._uid]
        if not mine:
            raise TrainError(why_failed(Evidence(name=self._name, trainjob={})))
        self._trainjob = mine[0]
        if condition_of(self._trainjob, "Complete"):
            self._tell("phase", "done")
            return True
        if condition_of(self._trainjob, "Failed"):
            raise TrainError(self._why())
        self._tell_restarts()
        self._tell("phase", self._phase())
        self._tell("progress", progress_text(self._trainjob.get("status", {}).get("trainerStatus") or {}))
        return False

    def _phase(self) -> str:
        if condition_of(self._trainjob, "Suspended") or self._trainjob["spec"].get("suspend"):
            queue = self._trainjob["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name")
            return f"queued in {queue}" if queue else "suspended"
        wanted = self._trainjob["spec"].get("trainer", {}).get("numNodes", 1)
        pods = self._present_pods()
        running = sum(pod.get("status", {}).get("phase") == "Running" for pod in pods)
        if running + sum(pod.get("status", {}).get("phase") == "Succeeded" for pod in pods) >= wanted:
            self._waiting = None
            return f"running on {wanted} {'node' if wanted == 1 else 'nodes'}"
        waiting = why_waiting(pods, self._asked_events(pods))
        self._give_up_where_hopeless(waiting)
        return f"waiting for nodes, {running} of {wanted} run" + (f": {waiting.text}" if waiting else "")

    def _give_up_where_hopeless(self, waiting: Waiting | None) -> None:
        if waiting is None or not waiting.is_hopeless:
            self._waiting = None
        elif self._waiting is None:
            self._waiting, self._waiting_since = waiting, time.monotonic()
        elif time.monotonic() - self._waiting_since > HOPELESS_SECONDS:
            raise TrainError(
                f"training did not start within {HOPELESS_SECONDS / 60:.0f} minutes: {waiting.text}; correct that and run again."
            )

    def _tell_restarts(self) -> None:
        jobset = self._jobset()
        if jobset is None:
            return
        restarts = jobset.get("status", {}).get("restarts", 0)
        if self._restarts is not None and restarts > self._restarts:
            counted = jobset["status"].get("restartsCountTowardsMax", 0)
            budget = jobset["spec"].get("failurePolicy", {}).get("maxRestarts", 0)
            why = last_reason(self._evidence(restarts - 1)) or "a node ended, its log says why"
            self._say(f"restart {restarts} (counted {counted} of {budget}): {why}")
        self._restarts = restarts

    def _why(self) -> str:
        # The last pods' ends and the store's sentence may come a moment after the condition.
        deadline = time.monotonic() + 5.0
        attempt = self._restarts or 0
        while time.monotonic() < deadline and not last_reason(self._evidence(attempt)):
            time.sleep(0.5)
        return why_failed(self._evidence(attempt))

    def _evidence(self, attempt: int) -> Evidence:
        jobset = self._jobset() or {}
        endings = endings_of([*self._pods.gone(), *self._pods.objects()])
        return Evidence(
            name=self._name,
            trainjob=self._trainjob,
            max_restarts=jobset.get("spec", {}).get("failurePolicy", {}).get("maxRestarts", 0),
            endings=[ending for ending in endings if ending.attempt == attempt],
            stored=self._stored_reason(attempt),
        )

    def _jobset(self) -> dict[str, Any] | None:
        known = self._jobsets.objects() or self._jobsets.gone()[-1:]
        return known[-1] if known else None

    def _present_pods(self) -> list[dict[str, Any]]:
        attempt = str(self._restarts or 0)
        return [pod for pod in self._pods.objects() if pod["metadata"].get("labels", {}).get(ATTEMPT_LABEL, "0") == attempt]

    def _asked_events(self, pods: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        if time.monotonic() - self._events_at < EVENTS_SECONDS:
            return self._events
        self._events_at = time.monotonic()
        names = [f"{self._name}-node-0", *(pod["metadata"]["name"] for pod in pods[:2])]
        found = []
        for name in names:
            try:
                selector = f"involvedObject.name={name},type=Warning"
                found += self._kube.get(path_of("events", self._namespace), fieldSelector=selector).get("items", [])
            except SphinxError:
                continue  # they only explain
        self._events = found
        return found

    def _mention_failures(self) -> None:
        """An API that does not answer is waited for; one that refuses the TrainJob itself ends the following."""
        failure = self._trainjobs.failure
        if isinstance(failure, KubernetesError) and failure.status in (401, 403, 404):
            if failure.status != 401 or time.monotonic() - self._trainjobs.failing_since > 2 * SILENCE_SECONDS:
                raise failure
        elif failure is not None and time.monotonic() - self._trainjobs.failing_since > SILENCE_SECONDS:
            self._tell("api", f"{failure} Training goes on meanwhile.")
        elif failure is None:
            self._told.pop("api", None)
        for kind, watched in (("jobsets", self._jobsets), ("pods", self._pods)):
            if isinstance(watched.failure, KubernetesError) and watched.failure.status == 403:
                self._tell(kind, f"not everything can be shown: {watched.failure}")

    def _tell(self, about: str, line: str) -> None:
        if line and self._told.get(about) != line:
            self._told[about] = line
            self._say(line)


def progress_text(status: dict[str, Any]) -> str:
    """`status.trainerStatus` as a line; empty where the trainer has not said anything."""
    if status.get("progressPercentage") is None:
        return ""
    parts = [f"{status['progressPercentage']} %"]
    metrics = {one["name"]: one["value"] for one in status.get("metrics") or []}
    if "loss" in metrics:
        parts.append(f"loss {metrics['loss']}")
    if (seconds := status.get("estimatedRemainingSeconds")) is not None:
        parts.append(f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d} h left")
    return ", ".join(parts)
