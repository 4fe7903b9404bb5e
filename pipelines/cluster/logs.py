"""What a run's tasks print: the logs of their pods, found by the label that Kubeflow puts on them, without the machinery's own lines."""

import queue
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from components.shared.kubernetes_client import Kubernetes, KubernetesError, path_of

RUN_LABEL = "pipeline/runid"
NODE_NAME = "workflows.argoproj.io/node-name"
_TASK = re.compile(r"\.([^.()]+)(?:\([^)]*\))*\.executor(?:\(\d+\))?$")
_MACHINERY = re.compile(
    r"time=\S+ level=\w+ .*argo=true|[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \w+\.go:\d+\]|\[KFP Executor |Error: exit status \d+$"
)
LOOK_SECONDS = 2.0
SILENCE_SECONDS = 60.0
"""A log that says nothing for so long is asked for again from where it was."""


@dataclass(frozen=True)
class TaskPod:
    """A pod that ran, runs or will run a task."""

    task: str
    name: str
    phase: str
    created: str

    @property
    def has_log(self) -> bool:
        return self.phase in ("Running", "Succeeded", "Failed")


def pods_of_run(kube: Kubernetes, namespace: str, run_id: str, task: str = "") -> list[TaskPod]:
    """Pods of a run's tasks, oldest first.

    Args:
        task: Only this task's; its repetitions are unify, unify-2 and so on.

    Raises:
        KubernetesError: the API does not answer, or this user may not list pods.
    """
    listed = kube.get(path_of("pods", namespace), labelSelector=f"{RUN_LABEL}={run_id}")
    pods = []
    for item in listed["items"]:
        found = _TASK.search(item["metadata"].get("annotations", {}).get(NODE_NAME, ""))
        if found and (not task or re.sub(r"-\d+$", "", found[1]) == task or found[1] == task):
            meta = item["metadata"]
            pods.append(TaskPod(found[1], meta["name"], item["status"].get("phase", ""), meta["creationTimestamp"]))
    return sorted(pods, key=lambda pod: (pod.created, pod.name))


def own_lines(lines: Iterable[str]) -> Iterator[str]:
    """What the component printed, without the lines of Argo, launcher and executor around it."""
    in_block = False
    for line in lines:
        if in_block:
            in_block = line != "}"
            continue
        # These two announce a JSON object over many lines.
        if line.endswith(("Got executor_input:", "ExecutorOutput: {")):
            in_block = True
        elif not _MACHINERY.match(line):
            yield line


def log_lines(kube: Kubernetes, namespace: str, pod: str, **query: Any) -> Iterator[str]:
    """Lines of a pod's main container as they are.

    Args:
        query: Of the API: follow, sinceTime, timestamps.

    Raises:
        KubernetesError: there is no such log (any more).
    """
    with kube.lines(f"{path_of('pods', namespace, pod)}/log", SILENCE_SECONDS, container="main", **query) as lines:
        yield from lines


def why_failed(kube: Kubernetes, namespace: str, run_id: str) -> tuple[str, str] | None:
    """Task and last sentence of the first pod of a run that failed; None where no pod tells."""
    for pod in pods_of_run(kube, namespace, run_id):
        if pod.phase == "Failed":
            said = [line for line in own_lines(log_lines(kube, namespace, pod.name)) if line.strip()]
            return pod.task, said[-1] if said else "it printed nothing"
    return None


class Following:
    """All logs of a run as they grow, a line at a time with the task's name in front.

    Args:
        raw: With the machinery's lines.
    """

    def __init__(self, kube: Kubernetes, namespace: str, run_id: str, task: str = "", raw: bool = False) -> None:
        self._kube, self._namespace, self._run_id, self._task, self._raw = kube, namespace, run_id, task, raw
        self._lines: queue.Queue[tuple[str, str]] = queue.Queue()
        self._threads: dict[str, threading.Thread] = {}

    def lines(self, has_ended: Any) -> Iterator[tuple[str, str]]:
        """Task and line, until the run has ended and every log is read.

        Args:
            has_ended: Asked every few seconds: whether the run has.

        Raises:
            KubernetesError: the API refuses to list pods.
        """
        ended = False
        while True:
            looked_after_end = ended
            ended = ended or has_ended()
            for pod in pods_of_run(self._kube, self._namespace, self._run_id, self._task):
                if pod.has_log and pod.name not in self._threads:
                    thread = threading.Thread(target=self._read, args=(pod,), daemon=True, name=pod.name)
                    self._threads[pod.name] = thread
                    thread.start()
            yield from self._waiting()
            if looked_after_end and not any(thread.is_alive() for thread in self._threads.values()):
                yield from self._waiting()
                return
            time.sleep(LOOK_SECONDS)

    def _waiting(self) -> Iterator[tuple[str, str]]:
        while not self._lines.empty():
            yield self._lines.get()

    def _read(self, pod: TaskPod) -> None:
        """One pod's log to its end; a connection that breaks is taken up where it was."""
        lines = self._stamped_off(pod)
        for line in lines if self._raw else own_lines(lines):
            self._lines.put((pod.task, line))

    def _stamped_off(self, pod: TaskPod) -> Iterator[str]:
        last = ""
        while True:
            query = {"follow": True, "timestamps": True, **({"sinceTime": last} if last else {})}
            try:
                for line in log_lines(self._kube, self._namespace, pod.name, **query):
                    stamp, _, text = line.partition(" ")
                    if stamp > last:  # sinceTime counts whole seconds, so the first lines may be known
                        last = stamp
                        yield text
                return
            except KubernetesError as error:
                if error.status:
                    yield f"(no more of this log: {error})"
                    return
            time.sleep(LOOK_SECONDS)
