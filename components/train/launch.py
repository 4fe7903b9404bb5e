"""Train on a cluster: make the TrainJob or adopt the one that an earlier launcher made, follow it, and leave nothing behind.

Whoever dies, somebody cleans up: this launcher where it can, Kubernetes by the owner reference when the Workflow goes, the reaper
(`reaper.py`) where neither happens.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Literal
from urllib.parse import urlparse

from components.shared import platform
from components.shared.kubernetes_client import Kubernetes, KubernetesError, connect, mounted_namespace, path_of
from components.shared.mlflow_client import without_credentials
from components.shared.pages import training_run_page, trainjob_page
from components.shared.task import tell
from components.train.follow import LOG_MARK, Follower
from components.train.submit import find, is_terminal, refuse_second_writer, submit
from components.train.trainjob import HEARTBEAT, NodeWishes, Owner, TrainJobWish, build_trainjob, mlflow_environment
from components.train.workflow import owning_workflow, why_over
from model import storage
from model.errors import ConfigError, SphinxError, TrainError
from model.train.spec import TrainSpec, run_digest, run_uri

DEADLINE_HOURS = 336.0
"""Two weeks, unless SPHINX_X_TRAIN_DEADLINE_HOURS says otherwise."""
HEARTBEAT_SECONDS = 30.0
JOBS_FOLDER, ERRORS_FOLDER = "jobs", "errors"
"""Below a run's folder: the spec that the nodes of each TrainJob read; why an attempt failed."""


class Stopped(SystemExit):
    """SIGTERM: the pod is taken away."""


def train_on_cluster(
    spec: TrainSpec,
    namespace: str,
    num_nodes: int,
    processes: int,
    device: Literal["gpu", "cpu"],
    pipeline_run: str,
    wishes: NodeWishes,
) -> str:
    """Train to the end on the nodes of a TrainJob.

    Args:
        namespace: Where the TrainJob is made; the chart's TrainingRuntimes are there.
        pipeline_run: Identity of the pipeline run.
        wishes: What was set on the Kubeflow task.

    Returns:
        Where the TrainJob can be looked at.

    Raises:
        TrainError: training failed; says why in one sentence.
        KubernetesError: the cluster does not answer or refuses; says the remedy.
    """
    kube = connect()
    owner = _owner(kube, namespace)
    folder = run_uri(spec)
    wish = TrainJobWish(
        namespace=namespace,
        variant=spec.config.variant,
        pipeline_run=pipeline_run,
        run_digest=run_digest(spec),
        spec_uri="",
        num_nodes=num_nodes,
        processes_per_node=processes,
        device=device,
        deadline_seconds=deadline_seconds(),
        queue=os.environ.get(platform.QUEUE, ""),
        environment=environment_for_nodes(),
        wishes=wishes,
        owner=owner,
        heartbeat=now() if owner is None else "",
    )
    wish = wish.model_copy(update={"spec_uri": storage.join(folder, JOBS_FOLDER, f"{wish.name}.json")})
    refuse_second_writer(kube, wish)
    reasons = storage.join(folder, ERRORS_FOLDER)

    def prepare() -> None:
        storage.write_text(wish.spec_uri, spec.to_json())
        for file in storage.list_files(reasons):
            if file.path.startswith(f"{wish.name}-"):  # of a TrainJob of the same name that failed before
                storage.delete_tree(storage.join(reasons, file.path))

    def stored_reason(attempt: int) -> str:
        try:
            return storage.read_text(storage.join(reasons, f"{wish.name}-{attempt}.txt")).strip()
        except SphinxError:
            return ""  # mostly because no node of that attempt left one

    with asked_to_stop():
        trainjob, adopted = submit(kube, build_trainjob(wish), say, prepare)
        ranks = f"{num_nodes} x {processes} processes on {device}"
        say(f"{'adopted' if adopted else 'made'} TrainJob {namespace}/{wish.name}: {ranks}; its run is {folder}")
        page = trainjob_page(namespace, wish.name)
        say(f"look at it: {page}; its curves: {training_run_page(run_digest(spec)) or 'in the log'}")
        with _cleaned_up(kube, namespace, wish.name, owner):
            beat = Heartbeat(kube, path_of("trainjobs", namespace, wish.name)) if owner is None else None
            Follower(kube, trainjob, stored_reason, say, beat or (lambda: None)).to_the_end()
    return page


def say(line: str) -> None:
    """A line for the task's log, and for the command line where it watches."""
    print(f"train | {line}", flush=True)
    if not line.startswith(LOG_MARK):
        tell("train", "", "running", note=line)


def deadline_seconds() -> int:
    """The longest that a TrainJob may live.

    Raises:
        ConfigError: the environment says no number above zero.
    """
    text = os.environ.get(platform.DEADLINE_HOURS) or str(DEADLINE_HOURS)
    try:
        seconds = int(float(text) * 3600)
    except (ValueError, OverflowError):
        seconds = 0
    if seconds <= 0:
        raise ConfigError(f"{platform.DEADLINE_HOURS} is {text!r}; give a number of hours above zero.")
    return seconds


def environment_for_nodes() -> dict[str, str]:
    """What of the launcher's environment the nodes need too; nothing that is secret or that only this machine can reach."""
    found = mlflow_environment(os.environ)
    uri = found.get("MLFLOW_TRACKING_URI", "")
    address = urlparse(uri)
    if uri and (address.scheme not in ("http", "https") or address.hostname in ("localhost", "127.0.0.1", "::1")):
        return {}  # a laptop's own: its experiment's number means nothing elsewhere
    return found | ({"MLFLOW_TRACKING_URI": without_credentials(uri)} if uri else {})


class Heartbeat:
    """Says on the TrainJob that its launcher lives, for the reaper; called often, speaks twice a minute."""

    def __init__(self, kube: Kubernetes, path: str) -> None:
        self._kube, self._path, self._due = kube, path, 0.0

    def __call__(self) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + HEARTBEAT_SECONDS
        try:
            self._kube.patch(self._path, {"metadata": {"annotations": {HEARTBEAT: now()}}})
        except SphinxError:
            return  # the next one comes; the reaper waits for many


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def asked_to_stop() -> Iterator[None]:
    """Within, SIGTERM raises `Stopped`, so that what is open is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        raise Stopped(143)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _cleaned_up(kube: Kubernetes, namespace: str, name: str, owner: Owner | None) -> Iterator[None]:
    """Delete the TrainJob where its launcher fails or is stopped.

    One that has failed by itself stays to be looked at; its nodes hold nothing any more. A launcher's pod that is merely taken away
    leaves it for the next one to adopt, as long as its Workflow goes on.
    """
    path = path_of("trainjobs", namespace, name)
    try:
        yield
    except BaseException as error:
        if isinstance(error, Stopped) and owner is not None and not _is_over(kube, namespace, owner):
            raise
        try:
            if not isinstance(error, TrainError) or not is_terminal(find(kube, path) or {}):
                kube.delete(path, timeout_seconds=5.0)
        except SphinxError as failure:
            say(f"TrainJob {namespace}/{name} may still run: {failure}")
        raise


def _is_over(kube: Kubernetes, namespace: str, owner: Owner) -> bool:
    try:
        return bool(why_over(kube.get(path_of("workflows", namespace, owner.name))))
    except KubernetesError as error:
        return error.status == 404


def _owner(kube: Kubernetes, namespace: str) -> Owner | None:
    if mounted_namespace() != namespace:
        return None  # an owner in another namespace, or none at all
    try:
        return owning_workflow(kube, namespace)
    except KubernetesError as error:
        say(f"the TrainJob will have no owner: {error}")
        return None
