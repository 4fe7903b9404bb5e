"""`/metrics` of a training run, for Prometheus: the newest row of its log, as text, from a thread of rank 0.

Off unless SPHINX_X_METRICS_PORT names a port. It is one more tracker beside MLflow's, so the trainer knows nothing of it, and no
failure here reaches training: a port that is taken is one warning. Format: Prometheus' text exposition format 0.0.4
(prometheus.io/docs/instrumenting/exposition_formats). `FAMILIES` is the whole list of series; dashboards and rules are tested against it.
"""

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Literal

from components.shared.platform import ATTEMPT
from model.errors import SphinxError

if TYPE_CHECKING:
    from model.train.run import Tracker
    from model.train.spec import TrainSpec

PORT = "SPHINX_X_METRICS_PORT"
"""Name in the environment; absent, empty or 0 means off."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LOOK_EVERY_SECONDS = 60.0
"""How often the store is asked for the newest checkpoint: one listing."""
CLIENT_TIMEOUT_SECONDS = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Family:
    """A series and where its value comes from."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    field: str = ""
    """Field of a log row; with `label`, the part before the last slash. Empty where it comes from elsewhere."""
    factor: float = 1.0
    """The row's unit in the series' unit."""
    label: str = ""
    """Label whose value ends the field's name: `loss/dataset/<name>`."""


FAMILIES = (
    Family("sphinx_x_train_done_steps", "gauge", "Optimizer steps done."),
    Family("sphinx_x_train_planned_steps", "gauge", "Optimizer steps of the whole run.", "steps"),
    Family("sphinx_x_train_remaining_seconds", "gauge", "Time left at the present speed.", "seconds_left"),
    Family("sphinx_x_train_loss_nats", "gauge", "Mean cross-entropy of a supervised token since the row before.", "loss"),
    Family("sphinx_x_train_dataset_loss_nats", "gauge", "The same, by dataset.", "loss/dataset", label="dataset"),
    Family("sphinx_x_train_task_loss_nats", "gauge", "The same, by task.", "loss/task", label="task"),
    Family("sphinx_x_train_learning_rate", "gauge", "Learning rate of the last step.", "learning_rate"),
    Family("sphinx_x_train_gradient_norm", "gauge", "Mean norm of the gradient before clipping.", "gradient_norm"),
    Family("sphinx_x_train_samples_per_second", "gauge", "Samples trained on, whole job.", "samples_per_second"),
    Family("sphinx_x_train_tokens_per_second", "gauge", "Language tokens trained on, whole job.", "tokens_per_second"),
    Family("sphinx_x_train_mfu_ratio", "gauge", "Model FLOPs over the GPUs' dense bf16 peak; absent elsewhere.", "mfu"),
    Family("sphinx_x_train_data_wait_ratio", "gauge", "Share of the time in which ranks waited for data.", "data_wait_share"),
    Family("sphinx_x_train_straggler_ratio", "gauge", "Work time of the slowest rank over the mean.", "straggler_ratio"),
    Family("sphinx_x_train_pack_fill_ratio", "gauge", "Share of the packs' places that hold a token.", "pack_fill"),
    Family("sphinx_x_train_memory_peak_bytes", "gauge", "Most memory that rank 0 held so far.", "memory_gb", 1e9),
    Family(
        "sphinx_x_train_seen_samples", "gauge", "Samples trained on since the run began, restarts included.", "samples_seen"
    ),
    Family("sphinx_x_train_seen_tokens", "gauge", "Tokens trained on since the run began, restarts included.", "tokens_seen"),
    Family("sphinx_x_train_real_views_total", "counter", "Views encoded since this process began.", "real_views"),
    Family("sphinx_x_train_skipped_views_total", "counter", "Wholly padded views not encoded.", "skipped_views"),
    Family("sphinx_x_train_skipped_updates_total", "counter", "Updates left out because the loss spiked.", "skipped_updates"),
    Family("sphinx_x_train_last_row_timestamp_seconds", "gauge", "When the newest row of the log was written."),
    Family("sphinx_x_train_start_timestamp_seconds", "gauge", "When this process began."),
    Family("sphinx_x_train_checkpoint_steps", "gauge", "Step of the newest committed checkpoint; absent before the first."),
    Family(
        "sphinx_x_train_saved_timestamp_seconds",
        "gauge",
        f"From when on a kill loses work: when the newest checkpoint was first seen (looked for every {LOOK_EVERY_SECONDS:g} s),"
        " or when this process began.",
    ),
    Family("sphinx_x_train_restarts", "gauge", "How often the nodes were restarted."),
)
"""Every series, each with the labels run and variant."""

_BY_NAME = {family.name: family for family in FAMILIES}


class Exporter:
    """Serves a run's newest figures; satisfies `model.train.run.Tracker`.

    Args:
        port: TCP port on all addresses; 0 takes a free one (`port` tells which).
        labels: On every series.
        restarts: How often the nodes were restarted.
        saved_step: Looks up the step of the newest committed checkpoint.

    Raises:
        OSError: the port cannot be listened on.
    """

    def __init__(
        self,
        port: int,
        labels: Mapping[str, str],
        restarts: int = 0,
        saved_step: Callable[[], int | None] = lambda: None,
        look_every_seconds: float = LOOK_EVERY_SECONDS,
    ):
        self._labels, self._saved_step, self._look_every_seconds = dict(labels), saved_step, look_every_seconds
        now = time.time()
        self._values: dict[tuple[str, str], float] = {}
        self._put("start_timestamp_seconds", now)
        self._put("saved_timestamp_seconds", now)
        self._put("restarts", restarts)
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._server = _Server(port, self.text)
        self.port: int = self._server.server_address[1]
        for work in (self._server.serve_forever, self._look):
            threading.Thread(target=work, daemon=True, name="metrics").start()

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Note a row of the log; returns at once."""
        with self._lock:
            self._put("done_steps", step)
            self._put("last_row_timestamp_seconds", time.time())
            for family in FAMILIES:
                if family.kind == "counter":
                    key = (family.name, "")
                    self._values[key] = self._values.get(key, 0.0) + metrics.get(family.field, 0.0)
                elif family.label:
                    start = f"{family.field}/"
                    new = {name.removeprefix(start): value for name, value in metrics.items() if name.startswith(start)}
                    self._values.update({(family.name, one): value for one, value in new.items()})
                elif family.field in metrics:
                    self._values[(family.name, "")] = metrics[family.field] * family.factor

    def close(self, status: Literal["FINISHED", "FAILED"]) -> None:
        """Stop serving."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def text(self) -> str:
        """All series that have a value, in Prometheus' text format."""
        with self._lock:
            values = dict(self._values)
        lines = []
        for family in FAMILIES:
            own = {label: value for (name, label), value in values.items() if name == family.name}
            if own:
                lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
            for label, value in own.items():
                labels = {**self._labels, **({family.label: label} if family.label else {})}
                pairs = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
                lines.append(f"{family.name}{{{pairs}}} {_number(value)}")
        return "\n".join([*lines, ""])

    def _put(self, short_name: str, value: float) -> None:
        family = _BY_NAME[f"sphinx_x_train_{short_name}"]
        self._values[(family.name, "")] = float(value)

    def _look(self) -> None:
        last: int | None = None
        while True:
            try:
                step = self._saved_step()
            except SphinxError:
                step = last  # the store does not answer; asked again soon, and the trainer says it louder
            if step is not None and step != last:
                with self._lock:
                    self._put("checkpoint_steps", step)
                    self._put("saved_timestamp_seconds", time.time())
                last = step
            if self._closing.wait(self._look_every_seconds):
                return


class Both:
    """Two trackers as one."""

    def __init__(self, first: "Tracker", second: "Tracker"):
        self._first, self._second = first, second

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self._first.log(step, metrics)
        self._second.log(step, metrics)

    def close(self, status: Literal["FINISHED", "FAILED"]) -> None:
        try:
            self._first.close(status)
        finally:
            self._second.close(status)


def exported(spec: "TrainSpec", tracker: "Tracker | None", environment: Mapping[str, str] = os.environ) -> "Tracker | None":
    """The tracker, and on rank 0 an exporter beside it where the environment asks for one. Never fails for the exporter's sake."""
    asked = environment.get(PORT, "").strip()
    if asked in ("", "0") or environment.get("RANK", "0") != "0":
        return tracker
    try:
        exporter = _exporter_of(spec, int(asked), environment)
    except (ValueError, OverflowError, OSError) as error:
        logger.warning("Training goes on without /metrics: %s=%s cannot be listened on (%s).", PORT, asked, error)
        return tracker
    return exporter if tracker is None else Both(tracker, exporter)


def _exporter_of(spec: "TrainSpec", port: int, environment: Mapping[str, str]) -> Exporter:
    from model.train.checkpoint import committed_steps
    from model.train.spec import run_digest, run_uri

    run = run_uri(spec)
    attempt = environment.get(ATTEMPT, "")
    return Exporter(
        port,
        {"run": run_digest(spec)[:12], "variant": spec.config.variant},
        restarts=int(attempt) if attempt.isdigit() else 0,
        saved_step=lambda: next(iter(committed_steps(run)), None),
    )


class _Server(ThreadingHTTPServer):
    """Answers `GET /metrics` and nothing else, over IPv4 and, where the machine has it, IPv6."""

    daemon_threads = True

    def __init__(self, port: int, text: Callable[[], str]):
        self.text = text
        if socket.has_dualstack_ipv6():
            self.address_family = socket.AF_INET6
        super().__init__(("", port), _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = CLIENT_TIMEOUT_SECONDS

    def do_GET(self) -> None:  # the name that http.server calls
        if self.path.split("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, "only /metrics is here")
            return
        body = self.server.text().encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A scrape every few seconds is no news."""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, repr(value))
