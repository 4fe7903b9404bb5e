"""Curves, parameters and datasets of training runs in MLflow. The trainer sees only `log` and `close`; it never waits for a server.

One parent run per pipeline run (the one that Kubeflow's MLflow plugin made, or ours, told by the same tag), the training run below
it. A training run is found by its digest: a killed and restarted training goes on in the same run, and no step is there twice.
The run's log.jsonl is the truth: whatever MLflow missed while it did not answer is sent from there as soon as it does.
"""

import json
import logging
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from components.shared.mlflow_client import experiment_id, explained, open_client, without_credentials
from model import storage
from model.contracts.release import Tag
from model.errors import SphinxError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from model.contracts.corpus import CorpusManifest
    from model.train.spec import TrainSpec

KFP_RUN = "kfp.pipeline_run_id"
"""Tag by which Kubeflow's own MLflow plugin marks the parent run of a pipeline run."""
PARENT, NAME = "mlflow.parentRunId", "mlflow.runName"
MARK = "train/loss"
"""The metric that every logged step has: its history says which steps MLflow holds."""
SEND_EVERY_SECONDS = 5.0
CLOSE_WITHIN_SECONDS = 60.0
"""Longest wait at the end of training; the register step sends what is missing then."""
ROWS_KEPT = 2000
"""Steps kept in memory while MLflow does not answer; older ones are in log.jsonl."""
METRICS_PER_REQUEST, PARAMS_PER_REQUEST = 1000, 100
"""MLflow's own bounds of one log-batch request."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """Metrics of one logged step."""

    step: int
    time_ms: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class TrackedDataset:
    """Data that a run read."""

    name: str
    uri: str
    digest: str


@dataclass(frozen=True)
class TrackedRun:
    """A training run as MLflow shall show it."""

    digest: str
    name: str
    pipeline_run: str = ""
    """Kubeflow's id of the pipeline run, or the command line's; empty where training was started by hand."""
    params: dict[str, str] = field(default_factory=dict)
    datasets: Sequence[TrackedDataset] = ()
    log_uri: str | None = None
    """The run's log.jsonl."""


class MlflowTracker:
    """Sends a training run's metrics from a thread of its own, in batches; satisfies `model.train.run.Tracker`. Rank 0 only."""

    def __init__(self, run: TrackedRun):
        # The thread tries again by itself; seven tries inside MLflow's client would hold up the end of training for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        self._run = run
        self._waiting: deque[Row] = deque(maxlen=ROWS_KEPT)
        self._sent: set[int] = set()
        self._run_id: str | None = None
        self._status: Literal["FINISHED", "FAILED"] | None = None
        self._closing = threading.Event()
        self._warned = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="mlflow")
        self._thread.start()

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Metrics of an optimizer step; returns at once."""
        self._waiting.append(Row(step, int(time.time() * 1000), _named(metrics)))

    def close(self, status: Literal["FINISHED", "FAILED"]) -> None:
        """Send what is left and set the run's status; waits a minute at most and never raises."""
        self._status = status
        self._closing.set()
        self._thread.join(CLOSE_WITHIN_SECONDS)
        if self._thread.is_alive():
            self._warn("it does not answer in time")

    def _work(self) -> None:
        while True:
            closing = self._closing.wait(SEND_EVERY_SECONDS)
            try:
                with explained("log the training run"):
                    self._send(closing)
            except SphinxError as error:
                self._warn(str(error))
            if closing:
                return

    def _send(self, closing: bool) -> None:
        client = open_client()
        if self._run_id is None:
            self._run_id = open_run(client, self._run)
            self._sent = sent_steps(client, self._run_id)
            self._send_rows(client, read_log(self._run.log_uri))
        self._send_rows(client, list(self._waiting))
        while self._waiting and self._waiting[0].step in self._sent:
            self._waiting.popleft()
        if closing:
            self._send_rows(client, read_log(self._run.log_uri))
            client.set_terminated(self._run_id, self._status)

    def _send_rows(self, client: "MlflowClient", rows: Iterable[Row]) -> None:
        assert self._run_id is not None
        new = [row for row in rows if row.step not in self._sent]
        for batch in _batches(new):
            send(client, self._run_id, batch)
            self._sent |= {row.step for row in batch}

    def _warn(self, reason: str) -> None:
        if not self._warned:
            logger.warning("Training goes on without MLflow, its curves are kept in log.jsonl: %s", reason)
            self._warned = True


def tracker_for(spec: "TrainSpec", pipeline_run: str = "") -> MlflowTracker | None:
    """The tracker of a training run on its rank 0; None on every other rank."""
    from model.train.spec import LOG_FILE, read_corpus_manifest, run_digest, run_uri

    if int(os.environ.get("RANK", "0")) != 0:
        return None
    return MlflowTracker(
        TrackedRun(
            digest=run_digest(spec),
            name=f"train {spec.config.variant}",
            pipeline_run=pipeline_run,
            params=flat(spec.config.model_dump(mode="json")),
            datasets=datasets_of(read_corpus_manifest(spec.corpus_uri), spec.corpus_uri),
            log_uri=storage.join(run_uri(spec), LOG_FILE),
        )
    )


def datasets_of(corpus: "CorpusManifest", corpus_uri: str) -> list[TrackedDataset]:
    """A corpus and each of its datasets."""
    parts = [TrackedDataset(part.name, part.uri, part.manifest.digest) for part in corpus.datasets]
    return [TrackedDataset(corpus.recipe, corpus_uri, corpus.digest), *parts]


def complete_run(client: "MlflowClient", run: TrackedRun) -> str:
    """A finished training's run with every step of its log, whatever MLflow missed while it ran.

    Returns:
        The run's id in MLflow.
    """
    found = find_run(client, run.digest)
    run_id = found or open_run(client, run)
    sent = sent_steps(client, run_id)
    missing = [row for row in read_log(run.log_uri) if row.step not in sent]
    for batch in _batches(missing):
        send(client, run_id, batch)
    if found is None or missing or client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, "FINISHED")
    return run_id


def open_run(client: "MlflowClient", run: TrackedRun) -> str:
    """The training run of a digest, made or gone on with, below its pipeline run's parent."""
    from mlflow.entities import Param

    tags = {NAME: run.name, Tag.RUN_DIGEST: run.digest}
    if run.pipeline_run:
        tags |= {PARENT: parent_run(client, run.pipeline_run), Tag.PIPELINE_RUN: run.pipeline_run}
    run_id = find_run(client, run.digest)
    if run_id is None:
        run_id = client.create_run(experiment_id(client), tags=tags).info.run_id
    else:
        # Another pipeline run may go on with it: it is shown below the one that worked on it last.
        client.update_run(run_id, status="RUNNING")
        for name, value in tags.items():
            client.set_tag(run_id, name, value)
    params = [Param(name, value) for name, value in sorted(run.params.items())]
    for start in range(0, len(params), PARAMS_PER_REQUEST):
        client.log_batch(run_id, params=params[start : start + PARAMS_PER_REQUEST])
    client.log_inputs(run_id, datasets=[_dataset_input(dataset) for dataset in run.datasets])
    return run_id


def find_run(client: "MlflowClient", run_digest: str) -> str | None:
    """Id of the training run with this digest."""
    found = client.search_runs([experiment_id(client)], f"tags.`{Tag.RUN_DIGEST}` = '{run_digest}'", max_results=1)
    return found[0].info.run_id if found else None


def parent_run(client: "MlflowClient", pipeline_run: str, name: str = "") -> str:
    """Id of a pipeline run's parent run: the plugin's where Kubeflow has one, else ours, made at its first use."""
    experiment = experiment_id(client)
    found = client.search_runs([experiment], f"tags.`{KFP_RUN}` = '{pipeline_run}'", order_by=["attributes.start_time ASC"])
    for run in found:
        if PARENT not in run.data.tags:
            return run.info.run_id
    tags = {KFP_RUN: pipeline_run, NAME: name or f"pipeline {pipeline_run[:8]}"}
    return client.create_run(experiment, tags=tags).info.run_id


def sent_steps(client: "MlflowClient", run_id: str) -> set[int]:
    """Steps that MLflow holds. A step is sent in one request, so it is there as a whole or not at all."""
    if MARK not in client.get_run(run_id).data.metrics:
        return set()
    return {metric.step for metric in client.get_metric_history(run_id, MARK)}


def send(client: "MlflowClient", run_id: str, rows: Iterable[Row]) -> None:
    """Log the steps' metrics in one request."""
    from mlflow.entities import Metric

    client.log_batch(
        run_id, [Metric(name, value, row.time_ms, row.step) for row in rows for name, value in row.metrics.items()]
    )


def read_log(log_uri: str | None) -> list[Row]:
    """Rows of a run's log.jsonl, one a step: the last, where a resumed run wrote a step again."""
    if log_uri is None or not storage.exists(log_uri):
        return []
    rows = {}
    for line in storage.read_text(log_uri).splitlines():
        try:
            fields = json.loads(line)
            step, seconds = int(fields.pop("step")), float(fields.pop("time"))
        except (ValueError, KeyError):
            continue  # the last line may be half-written
        rows[step] = Row(step, int(seconds * 1000), _named(fields))
    return [rows[step] for step in sorted(rows)]


def flat(config: dict[str, Any], prefix: str = "train") -> dict[str, str]:
    """Nested configuration as MLflow parameters: {"train/optimizer/learning_rate": "2e-05", ...}."""
    params = {}
    for key, value in config.items():
        name = f"{prefix}/{key}"
        params |= flat(value, name) if isinstance(value, dict) and value else {name: str(value)}
    return params


def _named(metrics: dict[str, Any]) -> dict[str, float]:
    return {f"train/{name}": float(value) for name, value in metrics.items() if isinstance(value, int | float)}


def _batches(rows: Sequence[Row]) -> Iterable[list[Row]]:
    """Whole steps, as many as one request may hold."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        if batch and size + len(row.metrics) > METRICS_PER_REQUEST:
            yield batch
            batch, size = [], 0
        batch, size = [*batch, row], size + len(row.metrics)
    if batch:
        yield batch


def _dataset_input(dataset: TrackedDataset) -> Any:
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import DatasetInput, InputTag

    with warnings.catch_warnings():  # a local path is a source of two equal kinds
        warnings.simplefilter("ignore")
        source: Any = resolve_dataset_source(without_credentials(dataset.uri))
    # MLflow holds 36 characters of a digest.
    known = MetaDataset(source, name=dataset.name, digest=dataset.digest[:36])
    return DatasetInput(known._to_mlflow_entity(), [InputTag("mlflow.data.context", "training")])
