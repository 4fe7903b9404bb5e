"""The log of the first node, passed on as it comes: over restarts, lost connections and pods that are not there yet, no line twice."""

import threading
from collections.abc import Callable
from typing import Any

from components.shared.kubernetes_client import Kubernetes, path_of
from model.errors import SphinxError

SILENCE_SECONDS = 120.0
"""After so long without a line the connection is made anew; a dead one says nothing either."""
AGAIN_SECONDS = 1.0
LAST_ROUND_SECONDS = 10.0


class LogTail:
    """Passes on what the newest pod of node 0 prints; use it in a `with` block.

    Args:
        kube: The API.
        namespace: Of the pods.
        pods: Gives the run's pods as they are known now.
        write: Takes a line without its end.
    """

    def __init__(
        self, kube: Kubernetes, namespace: str, pods: Callable[[], list[dict[str, Any]]], write: Callable[[str], None]
    ) -> None:
        self._kube, self._namespace, self._pods, self._write = kube, namespace, pods, write
        self._seen: dict[str, Position] = {}
        self._is_last_round = threading.Event()
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)

    def __enter__(self) -> "LogTail":
        self._thread.start()
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        self._is_last_round.set()
        # What the pod printed at its very end is still there to be read, where there is time for it.
        if failure is None or issubclass(failure, SphinxError):
            self._thread.join(LAST_ROUND_SECONDS)

    def _work(self) -> None:
        while True:
            is_last_round = self._is_last_round.is_set()
            pod = first_node(self._pods())
            if pod is not None and has_begun(pod):
                self._read(pod["metadata"]["name"], self._seen.setdefault(pod["metadata"]["uid"], Position()), is_last_round)
            if is_last_round:
                return
            self._is_last_round.wait(AGAIN_SECONDS)

    def _read(self, name: str, position: "Position", is_last_round: bool) -> None:
        query: dict[str, Any] = {"container": "node", "timestamps": True, "follow": not is_last_round}
        if position.time:
            query["sinceTime"] = position.time
        try:
            with self._kube.lines(f"{path_of('pods', self._namespace, name)}/log", SILENCE_SECONDS, **query) as lines:
                for line in lines:
                    if (text := position.advance(line)) is not None:
                        self._write(text)
        except SphinxError:
            return  # the pod went away or the connection did; the next round sees which


class Position:
    """How far a pod's log has been passed on.

    Lines carry nanoseconds, but a log is asked for from a whole second on, so some come again.
    """

    def __init__(self) -> None:
        self.time = ""
        self._at_time: set[str] = set()

    def advance(self, line: str) -> str | None:
        """The text of a line that has not been passed on; None for one that has."""
        time, _, text = line.partition(" ")
        if not time[:4].isdigit():
            return line  # without a time: the kubelet's own word
        if _order(time) < _order(self.time) or (time == self.time and text in self._at_time):
            return None
        if time != self.time:
            self.time, self._at_time = time, set()
        self._at_time.add(text)
        return text


def _order(time: str) -> tuple[str, str]:
    """RFC 3339 in UTC with any number of digits, in order: '...:05Z' lies before '...:05.1Z'."""
    whole, _, fraction = time.rstrip("Z").partition(".")
    return whole, fraction.ljust(9, "0")


def first_node(pods: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The newest pod of node 0."""
    mine = [
        pod
        for pod in pods
        if pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-completion-index") == "0"
        or pod["metadata"].get("annotations", {}).get("batch.kubernetes.io/job-completion-index") == "0"
    ]
    return max(mine, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)


def has_begun(pod: dict[str, Any]) -> bool:
    """Whether a pod's container runs or ran, so that it has a log."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return any({"running", "terminated"} & set(status.get("state", {})) for status in statuses)
