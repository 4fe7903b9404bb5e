"""The doctor over a real API server: what a namespace lacks is said in one line each, and what is put right is not said again."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.cluster.checks import RIGHTS
from pipelines.cluster.doctor import Finding, Patient, examine
from tests.cluster.support import TRAIN_IMAGE, apply, kubectl
from tests.cluster.train_runtime import train_runtime
from tests.pipelines.cluster.deployments import OPS, TRAIN, deployment

pytestmark = pytest.mark.cluster

SECRETS = {"s3": {"name": "team-s3", "keys": {"AWS_ACCESS_KEY_ID": "user", "AWS_SECRET_ACCESS_KEY": "password"}}}
NOBODY = {"endpoint": "http://127.0.0.1:9"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "MLFLOW_TRACKING_URI", "SPHINX_X_STORE", "KFP_ENDPOINT", "KFP_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


def findings(namespace: str, **changes) -> dict[str, Finding]:
    config = deployment(**{"namespace": namespace, "secrets": SECRETS, "kubeflow": NOBODY} | changes)
    return {one.what: one for one in examine(Patient.of(config, "", "", False))}


def test_an_empty_namespace_lacks_everything_of_ours_and_each_line_says_what_to_do(namespace):
    found = findings(namespace)
    for what in ("Kubernetes", "Kubeflow Trainer", "JobSet"):
        assert found[what].verdict == "ok", found[what].says
    for what, words in (
        ("settings", f"there is no ConfigMap sphinx-x-settings in {namespace}; install the chart"),
        ("runtimes", "install the chart there with nano among its runtimes"),
        ("rights", f"system:serviceaccount:{namespace}:pipeline-runner may not: create get list watch patch delete trainjobs"),
        ("secrets", f"there is no Secret team-s3 in {namespace}; create it with the keys user, password."),
        ("store", "no store is set"),
        ("MLflow", "no MLflow is set"),
        ("Kubeflow Pipelines", "does not answer at http://127.0.0.1:9"),
    ):
        assert found[what].verdict == "missing", what
        assert words in found[what].says


def test_what_is_put_right_is_not_said_again(namespace):
    settings = {"SPHINX_X_STORE": "s3://bucket/x", "MLFLOW_TRACKING_URI": "http://mlflow:5000", "SPHINX_X_QUEUE": "gpu-queue"}
    apply(
        namespace,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sphinx-x-settings"}, "data": settings},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "team-s3"}, "stringData": {"user": "u", "word": "w"}},
        train_runtime("nano", TRAIN_IMAGE),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "pipelines"},
            "rules": [{"apiGroups": [group], "resources": [kind], "verbs": list(verbs)} for group, kind, verbs in RIGHTS[:-1]],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "pipelines"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pipelines"},
            "subjects": [{"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": namespace}],
        },
    )
    found = findings(namespace)
    assert (found["settings"].verdict, found["runtimes"].verdict) == ("ok", "ok")
    assert "of nano in" in found["runtimes"].says
    # Only the last right is still denied, and only one key is absent: nothing else is complained about.
    assert found["rights"].says.startswith(f"system:serviceaccount:{namespace}:pipeline-runner may not: get workflows;")
    assert found["secrets"].says.startswith("Secret team-s3 has no key password;")
    # Their names are told, with the way to ask them; this process has no credentials to try.
    assert found["store"].verdict == found["MLflow"].verdict == "unknown"
    assert "the cluster has no Kueue" in found["Kueue"].says or "there is no LocalQueue gpu-queue" in found["Kueue"].says


def test_the_store_is_written_read_and_cleared(namespace, s3, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SPHINX_X_STORE", s3.uri("store"))
    assert findings(namespace)["store"] == Finding("store", "ok", f"{s3.uri('store')} can be written, read, listed and cleared")
    assert s3.client.list_objects_v2(Bucket=s3.bucket, Prefix=f"{s3.prefix}/store").get("KeyCount") == 0
    monkeypatch.setenv("SPHINX_X_STORE", f"s3://no-such-bucket-{namespace}/x")
    assert findings(namespace)["store"].verdict == "missing"


def test_a_user_without_rights_is_told_what_is_unknown(namespace, tmp_path):
    kubectl("-n", namespace, "create", "serviceaccount", "looker")
    token = kubectl("-n", namespace, "create", "token", "looker").strip()
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--flatten"))
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    # A process of its own: the Kubernetes client looks for KUBECONFIG when it is imported.
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")}
    command = [sys.executable, "-m", "pipelines.cli", "doctor", "--namespace", namespace, "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=Path(__file__).parents[2])
    found = {one["what"]: one["verdict"] for one in json.loads(ended.stdout)}
    # What every user may ask is known; what needs rights is unknown, not missing.
    assert found["Kubeflow Trainer"] == found["JobSet"] == "ok"
    assert {found[what] for what in ("settings", "secrets", "GPUs", "rights")} == {"unknown"}


def test_the_command_ends_with_one_where_something_is_missing(namespace, tmp_path):
    fields = {"release": "sphinx-x", "namespace": namespace, "images": {"ops": OPS, "train": TRAIN}, "kubeflow": NOBODY}
    (tmp_path / "sync.yaml").write_text(yaml.safe_dump(fields))
    ended = CliRunner().invoke(
        app, ["doctor", "--config", str(tmp_path / "sync.yaml"), "--json"], env={**os.environ, "COLUMNS": "200"}
    )
    assert ended.exit_code == 1, ended.output
    told = json.loads(ended.output)
    assert {one["what"] for one in told} >= {"Kubernetes", "rights", "store", "MLflow", "Kubeflow Pipelines"}
    ended = CliRunner().invoke(app, ["doctor", "--config", str(tmp_path / "sync.yaml")])
    assert "missing" in ended.output.splitlines()[-1]


@pytest.fixture
def gpu_node():
    """A node of two small GPUs: an object that no machine stands behind, and that no pod may be put on."""
    name = f"sphinx-x-test-{secrets.token_hex(3)}"
    labels = {"nvidia.com/gpu.memory": "15360"}
    taints = [{"key": "sphinx-x/test", "effect": "NoSchedule"}]
    kubectl(
        "create",
        "-f",
        "-",
        stdin={"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}},
    )
    status = {"status": {"capacity": {"nvidia.com/gpu": "2"}, "allocatable": {"nvidia.com/gpu": "2"}}}
    kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
    yield name
    kubectl("delete", "node", name)


def test_gpus_are_held_against_what_the_installed_sizes_need(namespace, gpu_node):
    for variant in ("nano", "tiny", "moe"):
        apply(namespace, train_runtime(variant, TRAIN_IMAGE))
    patient = Patient.of(deployment(namespace=namespace), "", "", False)
    told = [one for one in examine(patient) if one.what == "GPUs"]
    assert told[0].verdict == "ok"
    assert "2 on 1 nodes, 2 each on 1 of 16 GB" in told[0].says
    assert [one.verdict for one in told[1:]] == ["advice", "advice"]
    assert told[1].says.startswith("tiny needs about")
    assert told[2].says.startswith("moe ")
