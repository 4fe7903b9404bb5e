"""What a node's machine does while it trains (processor, memory, disk, network, GPUs), as MLflow's own system metrics in the run.

One process a node measures, under the node's name: system/node-0/cpu_utilization_percentage, and so on. Training never waits for it.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from components.shared.mlflow_client import explained, open_client, tracking_uri
from components.shared.tracking import find_run
from model.errors import SphinxError

LOOK_EVERY_SECONDS = 5.0
"""Time between two looks for the run, which rank 0 opens."""
SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
"""MLflow's own variable; without it a tracking server is told and a laptop's database is not."""

logger = logging.getLogger(__name__)


@contextmanager
def machine_metrics(run_digest: str) -> Iterator[None]:
    """Measure while the body runs, in the first process of each node."""
    if os.environ.get("LOCAL_RANK", "0") != "0" or not _is_wanted():
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_measure, args=(run_digest, ended), daemon=True, name="machine-metrics")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LOOK_EVERY_SECONDS)


def _is_wanted() -> bool:
    switch = os.environ.get(SWITCH, "").lower()
    return switch in ("true", "1") if switch else tracking_uri().startswith("http")


def _measure(run_digest: str, ended: threading.Event) -> None:
    monitor: Any = None
    try:
        with explained("log the machine's metrics"):
            client = open_client()
            while (run_id := find_run(client, run_digest)) is None or client.get_run(run_id).info.status != "RUNNING":
                if ended.wait(LOOK_EVERY_SECONDS):
                    return
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            logging.getLogger("mlflow.system_metrics").setLevel(
                logging.WARNING
            )  # its start and end are no news in a training's log
            node = os.environ.get("GROUP_RANK", "0")
            monitor = SystemMetricsMonitor(run_id, resume_logging=True, node_id=f"node-{node}")
            monitor.start()
        ended.wait()
    except SphinxError as error:
        logger.warning("Training goes on without the machine's metrics: %s", error)
    finally:
        if monitor is not None:
            monitor.finish()
