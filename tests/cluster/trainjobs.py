"""TrainJobs whose nodes run a few lines of Python, so that every way to end comes on demand, and the story a follower tells of them."""

import secrets
import threading
from datetime import UTC, datetime

from components.shared.kubernetes_client import Kubernetes, KubernetesError
from components.train.follow import Follower
from components.train.trainjob import Owner, TrainJobWish, build_trainjob
from model.errors import TrainError
from tests.cluster.support import apply, get, kubectl, wait_for

SECONDS = 120
"""Longest time for a handful of pods to come and go on a busy machine."""

PRELUDE = """
import os, signal, sys, time
rank, attempt = int(os.environ["PET_NODE_RANK"]), int(os.environ["SPHINX_X_ATTEMPT"])
def leave(code, sentence=""):
    if sentence: open("/dev/termination-log", "w").write(sentence)
    sys.exit(code)
def stopped(*_): leave(143, "asked to stop")
signal.signal(signal.SIGTERM, stopped)
print("begin", attempt, rank, flush=True)
"""


def wish(namespace: str, **changes) -> TrainJobWish:
    fields = {
        "namespace": namespace,
        "variant": "nano",
        "pipeline_run": secrets.token_hex(4),
        "run_digest": secrets.token_hex(32),
        "spec_uri": "s3://bucket/runs/x/jobs/x.json",
        "num_nodes": 2,
        "processes_per_node": 1,
        "device": "cpu",
        "deadline_seconds": 600,
        "heartbeat": datetime.now(UTC).isoformat(),
    }
    return TrainJobWish(**{**fields, **changes})


def trainjob(asked: TrainJobWish, script: str) -> dict:
    """What the launcher would make, but with a few lines of Python on every node."""
    made = build_trainjob(asked)
    trainer = made["spec"]["trainer"]
    trainer["command"] = ["python3", "-c", PRELUDE + script]
    del trainer["args"]
    return made


class Story:
    """A follower in the background: the lines it says, and how it ends."""

    def __init__(self, api: Kubernetes, made: dict, stored: str = "") -> None:
        self.lines: list[str] = []
        self.failure: Exception | None = None
        self.is_over = False
        self._follower = Follower(api, made, lambda _attempt: stored, self.lines.append)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            self._follower.to_the_end()
        except Exception as error:
            self.failure = error
        self.is_over = True

    def says(self, words: str, seconds: float = SECONDS) -> str:
        def said() -> str:
            assert not (self.is_over and self.failure and words not in "\n".join(self.lines)), (self.failure, self.lines)
            return next((line for line in self.lines if words in line), "")

        try:
            return wait_for(said, seconds, f"the line {words!r}", every=0.1)
        except TimeoutError as error:
            raise AssertionError(self.lines) from error

    def end(self, seconds: float = SECONDS) -> str:
        """Waits for the end; the failure's sentence, empty after success."""
        try:
            wait_for(lambda: self.is_over, seconds, "the end of the story", every=0.1)
        except TimeoutError as error:
            raise AssertionError(self.lines) from error
        assert self.failure is None or isinstance(self.failure, TrainError | KubernetesError), repr(self.failure)
        return str(self.failure or "")


def pods_of(namespace: str, name: str) -> list[str]:
    selector = f"jobset.sigs.k8s.io/jobset-name={name}"
    return kubectl("-n", namespace, "get", "pods", "-l", selector, "-o", "name").split()


def delete(namespace: str, name: str) -> None:
    """Nothing of it may be left, and nothing of it may slow down the next test."""
    kubectl("-n", namespace, "delete", "trainjob", name, "--wait=true", "--ignore-not-found")
    wait_for(lambda: not pods_of(namespace, name), SECONDS, f"the pods of {name} to go")


def workflow(namespace: str, name: str, **spec) -> Owner:
    body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec}
    apply(namespace, body)
    return Owner(name=name, uid=get(namespace, "workflow", name)["metadata"]["uid"])
