"""The whole DAG through Kubeflow's API: the chart beside Kubeflow, a run from the shell, training on two nodes, a registered model.

Needs KFP_ENDPOINT (tests/cluster/test_kubeflow.py says why) and both images; the chart is installed into KFP_NAMESPACE meanwhile.
"""

import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from components.shared import platform
from components.shared.kubernetes_client import connect
from model import storage
from pipelines.cluster.connection import Connection
from pipelines.cluster.kubeflow import Kubeflow
from pipelines.cluster.schedules import existing_of
from pipelines.cluster.tasks import ENDED, state_of, tasks_of
from pipelines.cluster.workflow import workflow_nodes
from tests.cluster.support import MLFLOW_SERVICE, OPS_IMAGE, TRAIN_IMAGE, apply, inside, kubectl, wait_for
from tests.helm.rendering import CHART, helm_binary
from tests.support.small_world import OVERRIDES, write_world

ENDPOINT = os.environ.get("KFP_ENDPOINT", "")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(not ENDPOINT, reason="KFP_ENDPOINT names no Kubeflow Pipelines; its backend is in no package registry"),
]
NAMESPACE = os.environ.get("KFP_NAMESPACE", "kubeflow")
ROOT = Path(__file__).parents[2]
RELEASE = "sphinx-x"
CHART_SECONDS, RUN_SECONDS = 300, 2400
"""A run is some forty pods, most of which import much, and a training on two nodes; on two busy cores."""


def helm(*words: str) -> str:
    done = subprocess.run([helm_binary(), *words, "-n", NAMESPACE], capture_output=True, text=True, timeout=CHART_SECONDS + 60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def deployment(s3) -> Iterator[None]:
    """The chart beside Kubeflow: its hook uploads the pipelines. SPHINX_X_TEST_DEPLOYED=1 where it is there already."""
    if os.environ.get("SPHINX_X_TEST_DEPLOYED"):
        yield
        return
    registry, _, ops = OPS_IMAGE.rpartition("/")
    train = TRAIN_IMAGE.rpartition("/")[2]
    images = {
        name: dict(zip(("repository", "tag"), one.split(":"), strict=True)) for name, one in (("ops", ops), ("train", train))
    }
    values = {
        "images": {"registry": registry, **images},
        "store": {"uri": s3.uri("store")},
        "s3": {"endpointUrl": s3.endpoint_in_cluster, "region": "us-east-1", "existingSecret": {"name": "sphinx-x-s3"}},
        "mlflow": {
            "trackingUri": inside(MLFLOW_SERVICE),
            "experimentName": f"whole-{secrets.token_hex(3)}",
            "uiUrl": "https://mlflow.example.org",
        },
        "kfp": {"endpoint": ENDPOINT, "uiUrl": "https://kubeflow.example.org"},
        "training": {"variants": {"nano": {"resources": {"requests": {"cpu": "50m", "memory": "512Mi"}}}}},
    }
    apply(
        NAMESPACE,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sphinx-x-s3"}, "stringData": s3.credentials},
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "values.yaml")
        file.write_text(yaml.safe_dump(values))
        helm("upgrade", "--install", RELEASE, str(CHART), "--values", str(file), "--wait", "--timeout", f"{CHART_SECONDS}s")
    yield
    if not os.environ.get("SPHINX_X_TEST_KEEP"):
        helm("uninstall", RELEASE, "--wait")
        kubectl("-n", NAMESPACE, "delete", "secret", "sphinx-x-s3")


@pytest.fixture(scope="module")
def recipe(s3, tmp_path_factory) -> Iterator[str]:
    """Raw data, recipe and base in the cluster's S3; this process reaches it."""
    folder = tmp_path_factory.mktemp("world")
    file, base = write_world(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        storage.upload_tree(folder / "raw", s3.uri("data", "raw"))
        storage.write_text(s3.uri("data", "recipe.yaml"), file.read_text())
        storage.upload_tree(Path(base), s3.uri("store", "bases", "nano"))
        yield s3.uri("data", "recipe.yaml")


def command(*words: str) -> tuple[int, str]:
    """Exit code and output of `sphinx-x`."""
    environment = {**os.environ, "KFP_NAMESPACE": NAMESPACE, "COLUMNS": "200"}
    line = [sys.executable, "-m", "pipelines.cli", *words]
    ended = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=RUN_SECONDS)
    return ended.returncode, ended.stdout + ended.stderr


def test_helm_test_finds_nothing_missing(deployment, recipe):
    said = helm("test", RELEASE, "--timeout", f"{CHART_SECONDS}s")
    assert "nothing is missing" in said, said


MODEL = os.environ.get("SPHINX_X_TEST_MODEL") or f"whole-{secrets.token_hex(4)}"
NODES = ("--variant", "nano", "--device", "cpu", "--nodes", "2", "--processes", "1", "--name", MODEL)


def with_training(**changes) -> tuple[str, str]:
    """Options for a training of a few steps, with changes."""
    return "-p", f"train_overrides={yaml.safe_dump(yaml.safe_dump(OVERRIDES | changes))}"


def test_raw_data_becomes_a_registered_model_by_one_command(deployment, recipe, s3):
    code, said = command("run", recipe, "--cluster", *NODES, *with_training(), "--store", s3.uri("store"), "--wait")
    print(said)
    assert code == 0, said
    found = re.search(r"is run ([0-9a-f-]{36})", said)
    assert found
    run_id = found[1]
    for task in ("validate", "unify", "merge", "train", "evaluate", "report", "register", "promote", "finish"):
        assert re.search(rf"^{task}: done", said, re.MULTILINE), f"{task}\n{said}"
    trainjobs = kubectl("-n", NAMESPACE, "get", "trainjobs", "-l", f"{platform.PIPELINE_RUN_LABEL}={run_id}", "-o", "name")
    assert len(trainjobs.split()) == 1
    code, log = command("logs", "--cluster", run_id, "--task", "train")
    assert code == 0, log
    assert "node 0 | nano: " in log
    assert "its curves: https://mlflow.example.org/#/experiments/" in log
    for secret in s3.credentials.values():
        assert secret not in log + said
    code, listed = command("runs", "--cluster", "--limit", "5")
    assert re.search(rf"{run_id[:8]} .* done ", listed), listed


def test_a_schedule_over_unchanged_data_ends_early_and_says_so(deployment, recipe, s3):
    name = f"often-{secrets.token_hex(3)}"
    words = ("schedule", "add", name, recipe, "--cron", "*/10 * * * * *", "--variant", "nano")
    places = ("-p", "train_device=cpu", "-p", f"register_model_name={MODEL}", "-p", "train_processes_per_node=1")
    code, said = command(*words, *places, *with_training(), "--store", s3.uri("store"))
    assert code == 0, said
    kubeflow = Kubeflow(Connection.open(ENDPOINT, NAMESPACE))
    try:
        (there,) = (one for one in existing_of(kubeflow) if one.mark.name == name)
        run = wait_for(lambda: next(iter(kubeflow.runs(recurring_run=there.id)), None), 120, "its first run", every=2)
        assert command("schedule", "pause", name)[0] == 0
        wait_for(lambda: kubeflow.run(run.run_id).state in ENDED, 600, "its end", every=3)
        ended = kubeflow.run(run.run_id)
        tasks = {task.name: task.state for task in tasks_of(ended, nodes=workflow_nodes(connect(), NAMESPACE, run.run_id))}
        assert state_of(ended) == "done"
        assert "train" not in {name for name, state in tasks.items() if state == "done"}, tasks
        code, log = command("logs", "--cluster", run.run_id)
        assert f"of {MODEL} was trained on this very corpus" in log, log
    finally:
        command("schedule", "rm", name)


def test_a_stopped_run_leaves_no_trainjob_and_no_pod_of_it_after_a_minute(deployment, recipe, s3):
    code, said = command("run", recipe, "--cluster", *NODES, *with_training(epochs=3000), "--store", s3.uri("store"))
    assert code == 0, said
    run_id = re.search(r"is run ([0-9a-f-]{36})", said)[1]  # pyright: ignore[reportOptionalSubscript]
    mine = f"{platform.PIPELINE_RUN_LABEL}={run_id}"

    def trainjob() -> str:
        return kubectl("-n", NAMESPACE, "get", "trainjobs", "-l", mine, "-o", "jsonpath={.items[*].metadata.name}")

    name = wait_for(trainjob, 900, "its TrainJob", every=2)
    nodes = ("-n", NAMESPACE, "get", "pods", "-l", f"jobset.sigs.k8s.io/jobset-name={name}", "-o", "name")
    running = (*nodes, "--field-selector=status.phase=Running")
    wait_for(lambda: len(kubectl(*running).split()) == 2, 300, "both nodes", every=2)
    code, said = command("stop", "--cluster", run_id)
    assert (code, "freed within a minute" in said) == (0, True), said
    wait_for(lambda: not trainjob(), 60, "the reaper", every=1)
    wait_for(lambda: not kubectl(*nodes).strip(), 60, "the end of its pods", every=1)
