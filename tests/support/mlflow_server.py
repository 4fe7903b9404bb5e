"""A real `mlflow server` process on loopback: sqlite, artifacts through its proxy; and a line to it that can be cut.

def test_x(mlflow_server, monkeypatch): monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
with cuttable(mlflow_server) as (uri, faults): faults.every(1, status=0)      # from now on every connection is closed
"""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.s3 import Faults, _proxy, free_port

START_SECONDS = 90
"""A cold import of the server's packages and the first migration of its database, on a busy machine."""


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of one server for the whole session: its start takes long."""
    folder, port = tmp_path_factory.mktemp("mlflow-server"), free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "files"),
    ]  # fmt: skip
    # MLflow's own client writes where it was pointed last into the environment, for processes like this one.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "_MLFLOW_"))}
    env |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # Webhooks to receivers on this machine, known at once.
    env |= {
        "MLFLOW_WEBHOOK_CACHE_TTL": "0",
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    }
    with open(folder / "server.log", "wb") as log:
        # A session of its own: the server's workers must end with it.
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)
    try:
        _await(f"http://127.0.0.1:{port}", process, folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def cuttable(server: str) -> Iterator[tuple[str, Faults]]:
    """Another address of the same server, and the means to make it fail."""
    faults = Faults()
    with _proxy(server, faults) as uri:
        yield uri, faults


def _await(uri: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.2)
    raise TimeoutError(log.read_text()[-2000:])
