"""What a cluster must have before training is asked of it: Trainer, a runtime of the variant, GPUs enough. One sentence a fault.

The validate step asks before anything expensive starts, `sphinx-x doctor` at any time.
"""

from dataclasses import dataclass
from typing import Any

from components.shared import platform
from components.shared.kubernetes_client import Kubernetes, KubernetesError, path_of

GPU = "nvidia.com/gpu"
MEMORY_LABEL = "nvidia.com/gpu.memory"
"""MiB of one GPU, as NVIDIA's GPU feature discovery labels a node."""


@dataclass(frozen=True)
class GpuNode:
    """A node that offers GPUs."""

    name: str
    gpus: int
    memory_gb: float | None
    """Of one GPU, in 10^9 bytes; None where no label says so."""


def runtime_problem(kube: Kubernetes, namespace: str, variant: str) -> str | None:
    """Why a TrainJob of this variant could not be made here; None where it could."""
    name = platform.runtime_name(variant)
    try:
        kube.get(path_of("trainingruntimes", namespace, name))
    except KubernetesError as error:
        if error.status == 404 and "could not find the requested resource" not in error.said:
            return f"there is no TrainingRuntime {name} in namespace {namespace}; install the chart there with {variant} among its runtimes."
        if error.status == 404:
            return "this cluster has no Kubeflow Trainer 2.2 or later; install Trainer and JobSet, as docs/cluster.md says."
        return str(error)
    return None


def gpu_nodes(kube: Kubernetes) -> list[GpuNode] | None:
    """The schedulable nodes that offer GPUs; None where this account may not look at nodes.

    Raises:
        KubernetesError: the API server does not answer.
    """
    try:
        nodes = kube.get("/api/v1/nodes").get("items", [])
    except KubernetesError as error:
        if error.status == 403:
            return None
        raise
    found = [_gpu_node(node) for node in nodes if not node.get("spec", {}).get("unschedulable")]
    return [node for node in found if node.gpus]


def gpu_problem(nodes: list[GpuNode], num_nodes: int, gpus_per_node: int) -> str | None:
    """Why so many GPUs cannot be had from these nodes; None where they can, busy ones counted as free."""
    if not nodes:
        return (
            f"no node of this cluster offers {GPU}; add GPU nodes and NVIDIA's device plugin, or set gpus.autoscaled in the chart's "
            "values if nodes come when they are asked for."
        )
    able = [node for node in nodes if node.gpus >= gpus_per_node]
    if len(able) >= num_nodes:
        return None
    counts = ", ".join(f"{node.name} {node.gpus}" for node in sorted(nodes, key=lambda node: node.name)[:8])
    return (
        f"{num_nodes} nodes with {gpus_per_node} GPUs each are asked for and {len(able)} have so many ({counts}); lower train_num_nodes "
        "or train_processes_per_node, or add nodes."
    )


def least_memory_gb(nodes: list[GpuNode], gpus_per_node: int) -> float | None:
    """Memory of the smallest GPU that training could be given; None where a node does not say."""
    memories = [node.memory_gb for node in nodes if node.gpus >= gpus_per_node]
    known = [memory for memory in memories if memory is not None]
    return min(known) if known and len(known) == len(memories) else None


def _gpu_node(node: dict[str, Any]) -> GpuNode:
    gpus = int(node.get("status", {}).get("allocatable", {}).get(GPU, 0))
    mebibytes = str(node["metadata"].get("labels", {}).get(MEMORY_LABEL, ""))
    return GpuNode(node["metadata"]["name"], gpus, int(mebibytes) * 2**20 / 1e9 if mebibytes.isdigit() else None)
