"""The machine's metrics in MLflow: by node, from one process of each, and nothing where nobody asked or nobody answers."""

import os
import subprocess
import sys

import pytest

from components.shared import mlflow_client
from components.shared.tracking import TrackedRun, open_run

CODE = (
    "import sys, time; from components.shared.machine_metrics import machine_metrics\n"
    "with machine_metrics(sys.argv[1]): time.sleep(float(sys.argv[2]))"
)


def measure(uri: str, digest: str, seconds: float, **environment: str) -> subprocess.Popen:
    env = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1", **environment}
    return subprocess.Popen([sys.executable, "-c", CODE, digest, str(seconds)], env=env, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def run(mlflow_server, monkeypatch):
    """A training run that rank 0 has opened; its digest and its id."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    client, digest = mlflow_client.open_client(), os.urandom(8).hex()
    return client, digest, open_run(client, TrackedRun(digest=digest, name="train nano"))


def test_each_node_is_measured_once_under_its_own_name(mlflow_server, run):
    client, digest, run_id = run
    ranks = [(str(node), str(local)) for node in range(2) for local in range(2)]
    started = [measure(mlflow_server, digest, 12, GROUP_RANK=node, LOCAL_RANK=local) for node, local in ranks]
    for process in started:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    names = set(client.get_run(run_id).data.metrics)
    assert {f"system/node-{node}/cpu_utilization_percentage" for node in range(2)} <= names
    assert {name.split("/")[1] for name in names} == {"node-0", "node-1"}


def test_a_server_that_does_not_answer_costs_training_nothing_but_a_warning():
    process = measure("http://127.0.0.1:9", "0" * 16, 1, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Traceback" not in said


def test_a_laptops_database_is_left_alone(tmp_path, monkeypatch):
    process = measure(f"sqlite:///{tmp_path / 'mlflow.db'}", "0" * 16, 1)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert not (tmp_path / "mlflow.db").exists()
