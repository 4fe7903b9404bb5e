"""A run's nodes as its workflow has them, for where the API's list of tasks stands still.

Argo compresses the nodes of a large workflow (1 MiB; ours with many datasets), and Kubeflow Pipelines 2.17 cannot read those: its list
of tasks keeps the state of that moment for ever, while the run's own state stays true. The Kubernetes API gives the nodes.
"""

import base64
import gzip
import json
from datetime import datetime
from typing import Any, NamedTuple

from components.shared.kubernetes_client import Kubernetes, KubernetesError, path_of
from pipelines.cluster.logs import RUN_LABEL

STATES = {
    "Pending": "PENDING",
    "Running": "RUNNING",
    "Succeeded": "SUCCEEDED",
    "Failed": "FAILED",
    "Error": "FAILED",
    "Skipped": "SKIPPED",
    "Omitted": "SKIPPED",
}


class Child(NamedTuple):
    pod_name: str


class Node(NamedTuple):
    """With the names of the API's task details."""

    display_name: str
    state: str
    start_time: datetime | None
    end_time: datetime | None
    child_tasks: tuple[Child, ...]


def nodes_of(workflow: dict[str, Any]) -> list[Node]:
    """The nodes of a workflow, compressed or not."""
    status = workflow.get("status", {})
    nodes = status.get("nodes") or {}
    if compressed := status.get("compressedNodes"):
        nodes = json.loads(gzip.decompress(base64.b64decode(compressed)))
    return [
        Node(
            node.get("displayName", ""),
            STATES.get(node.get("phase", ""), "PENDING"),
            _time(node.get("startedAt")),
            _time(node.get("finishedAt")),
            tuple(Child(child) for child in node.get("children") or ()),
        )
        for node in nodes.values()
    ]


def workflow_nodes(kube: Kubernetes | None, namespace: str, run_id: str) -> list[Node] | None:
    """The nodes of a run's workflow; None where Kubernetes cannot be asked, or the workflow is gone.

    Args:
        kube: None where no cluster is known.
    """
    if kube is None:
        return None
    try:
        found = kube.get(path_of("workflows", namespace), labelSelector=f"{RUN_LABEL}={run_id}")["items"]
    except KubernetesError:
        return None
    return nodes_of(found[0]) if found else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
