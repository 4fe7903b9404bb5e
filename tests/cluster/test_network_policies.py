"""What the chart's NetworkPolicies let through and what they stop, on clusters whose network enforces them.

A pod with the labels of a training node stands for one: policies go by labels. A network plugin may need seconds to know a new pod,
which meanwhile reaches too much or too little; so `reach` waits first, and calls an address closed only after it stayed so.
"""

import os
from typing import Any

import pytest

from tests.cluster.release import RELEASE, chart_values, helm
from tests.cluster.support import MLFLOW_SERVICE, OPS_IMAGE, apply, get, inside, kubectl, pod, run_pod, wait_for
from tests.helm.rendering import CHART

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PORT = 29500
SERVE = f"import socket, time\nserver = socket.create_server(('', {PORT}))\nprint('ready', flush=True)\ntime.sleep(600)"
REACH = """
import socket, sys, time
time.sleep(6)
for address in sys.argv[1:]:
    host, _, port = address.rpartition(":")
    said, deadline = "closed", time.monotonic() + 12
    while said == "closed" and time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=3).close()
            said = "open"
        except OSError:
            time.sleep(0.5)
    print(said, flush=True)
"""


def reach(namespace: str, name: str, labels: dict[str, str], *addresses: str) -> list[str]:
    """Whether each address is open or closed to a new pod with these labels."""
    made = labelled(pod(name, OPS_IMAGE, ["python", "-c", REACH, *addresses]), labels)
    return run_pod(namespace, made).split()


def labelled(made: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    made["metadata"]["labels"] = labels
    return made


def serve(namespace: str, name: str, labels: dict[str, str]) -> str:
    """Address of a new pod that listens."""
    apply(namespace, labelled(pod(name, OPS_IMAGE, ["python", "-c", SERVE]), labels))
    wait_for(lambda: "ready" in kubectl("-n", namespace, "logs", name, check=False), 90, f"{name} to listen")
    found = get(namespace, "pod", name)
    assert found
    return f"{found['status']['podIP']}:{PORT}"


@pytest.fixture(scope="module")
def training(namespace, s3) -> dict[str, str]:
    """The chart with its policies; gives the labels of a training node."""
    probe = {"sphinx-x-test": "closed"}
    denied = {"podSelector": {"matchLabels": probe}, "policyTypes": ["Ingress"]}
    apply(
        namespace,
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "probe"}, "spec": denied},
    )
    if reach(namespace, "probing", {}, serve(namespace, "probed", probe)) == ["open"]:
        assert os.environ.get("SPHINX_X_TEST_POLICIES") != "enforced", (
            "this cluster's network enforces no NetworkPolicies, and it should"
        )
        pytest.skip("this cluster's network does not enforce NetworkPolicies")
    helm("upgrade", "--install", RELEASE, str(CHART), "--namespace", namespace, values=chart_values(s3, namespace))
    return {"app.kubernetes.io/name": "sphinx-x", "app.kubernetes.io/component": "train-node"}


@pytest.fixture(scope="module")
def node(namespace, training) -> str:
    """Address of a training node."""
    return serve(namespace, "node-0", training)


@pytest.fixture(scope="module")
def stranger(namespace) -> str:
    """Address of a pod that is none of ours."""
    return serve(namespace, "stranger", {})


def test_a_training_node_reaches_its_peers_the_store_and_mlflow_and_nothing_else(namespace, training, node, stranger, s3):
    wanted = [node, s3.endpoint_in_cluster.removeprefix("http://"), inside(MLFLOW_SERVICE).removeprefix("http://")]
    unwanted = [stranger, "kubernetes.default.svc:443"]
    found = reach(namespace, "node-1", training, *wanted, *unwanted)
    assert dict(zip([*wanted, *unwanted], found, strict=True)) == {
        **dict.fromkeys(wanted, "open"),
        **dict.fromkeys(unwanted, "closed"),
    }


def test_only_its_peers_reach_a_training_node(namespace, training, node, stranger):
    assert reach(namespace, "passer-by", {}, stranger, node) == ["open", "closed"]


def test_the_reaper_reaches_the_api_server_and_nothing_else(namespace, training, node, s3):
    labels = {**training, "app.kubernetes.io/component": "reaper", "app.kubernetes.io/instance": RELEASE}
    store = s3.endpoint_in_cluster.removeprefix("http://")
    assert reach(namespace, "reaping", labels, "kubernetes.default.svc:443", store, node) == ["open", "closed", "closed"]
