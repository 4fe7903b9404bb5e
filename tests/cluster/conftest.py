"""Fixtures of the tests that need a real Kubernetes: `make test-cluster`, or KUBECONFIG=… for any other cluster.

def test_x(namespace, s3, settings): run_pod(namespace, pod("x", OPS_IMAGE, [...], envFrom=s3.env_from))
"""

import base64
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.shared.kubernetes_client import Kubernetes, connect
from tests.cluster import support
from tests.cluster.train_runtime import train_runtime


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a cluster every test that is marked as needing one is skipped, for one and the same reason."""
    reason = support.why_no_cluster()
    if reason is None:
        return
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def kube() -> Any:
    """The Kubernetes client's ApiClient; `CoreV1Api(kube)`."""
    from kubernetes import client, config

    config.load_kube_config()
    return client.ApiClient()


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A namespace for this test module, under the restricted profile; SPHINX_X_TEST_KEEP=1 leaves it for a look."""
    name = f"sphinx-x-test-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    support.kubectl(
        "create", "-f", "-", stdin={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    yield name
    if not os.environ.get("SPHINX_X_TEST_KEEP"):
        support.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def runtime(namespace: str) -> str:
    """Variant whose TrainingRuntime is in the test's namespace."""
    support.apply(namespace, train_runtime("nano", support.OPS_IMAGE, grace_seconds=5))
    return "nano"


@pytest.fixture(scope="session")
def api() -> Kubernetes:
    """The client that the launcher and the reaper use."""
    return connect()


@dataclass(frozen=True)
class S3:
    """A fresh prefix of the cluster's bucket."""

    client: Any
    """boto3's, from this process."""
    bucket: str
    prefix: str
    endpoint: str
    """For this process."""
    endpoint_in_cluster: str
    credentials: dict[str, str]

    env_from = [{"configMapRef": {"name": "sphinx-x-settings", "optional": True}}, {"secretRef": {"name": "sphinx-x-s3"}}]
    """`envFrom` of a container that reaches it (the ConfigMap is made by the fixture `settings`)."""

    def uri(self, *parts: str) -> str:
        return "/".join((f"s3://{self.bucket}/{self.prefix}", *parts))

    @property
    def environment(self) -> dict[str, str]:
        """For `model.storage`, boto3 and s3fs in this process."""
        return {**self.credentials, "AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def s3(namespace: str) -> Iterator[S3]:
    """The cluster's S3; the Secret `sphinx-x-s3` is made in the test's namespace."""
    import boto3

    owner, _, name = support.S3_SECRET.partition("/")
    found = support.get(owner, "secret", name)
    assert found, f"the cluster has no Secret {support.S3_SECRET}; infra/devcluster/README.md says what tests need"
    credentials = {key: base64.b64decode(found["data"][key]).decode() for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sphinx-x-s3"}, "stringData": credentials}
    support.apply(namespace, secret)
    endpoint = support.reach(support.S3_SERVICE)
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
    )
    place = S3(
        client, support.S3_BUCKET, f"tests/{secrets.token_hex(6)}", endpoint, support.inside(support.S3_SERVICE), credentials
    )
    yield place
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.prefix + "/"):
        for item in page.get("Contents", []):
            client.delete_object(Bucket=place.bucket, Key=item["Key"])


@pytest.fixture(scope="module")
def settings(namespace: str, s3: S3) -> dict[str, str]:
    """The ConfigMap `sphinx-x-settings` in the test's namespace, as the chart would make it; returns its content."""
    data = {
        "AWS_ENDPOINT_URL": s3.endpoint_in_cluster,
        "AWS_REGION": "us-east-1",
        "MLFLOW_TRACKING_URI": support.inside(support.MLFLOW_SERVICE),
        "MLFLOW_EXPERIMENT_NAME": namespace,
        "SPHINX_X_STORE": s3.uri(),
        "SPHINX_X_QUEUE": "",
        "SPHINX_X_TRAIN_DEADLINE_HOURS": "1",
        "SPHINX_X_MLFLOW_UI": "https://mlflow.example.org",
        "SPHINX_X_KUBEFLOW_UI": "",
        "SPHINX_X_TRAINJOB_UI": "",
    }
    support.apply(namespace, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sphinx-x-settings"}, "data": data})
    return data


@pytest.fixture(scope="session")
def mlflow_url() -> str:
    """Address of the cluster's MLflow for this process; `settings` has the one for pods."""
    return support.reach(support.MLFLOW_SERVICE)
