"""Whether a cluster can take a training run: asked before anything expensive starts."""

import os

from components.shared import platform
from components.shared.cluster_checks import gpu_nodes, gpu_problem, least_memory_gb, runtime_problem
from components.shared.kubernetes_client import connect
from model.errors import ConfigError, FitError
from model.train.config import TrainConfig
from model.train.estimate import fits
from model.train.machine import Machine
from model.variants import Variant


def check_cluster(
    namespace: str, variant: Variant, config: TrainConfig, num_nodes: int, processes_per_node: int, device: str
) -> None:
    """Hold a run against the cluster's runtime, nodes and GPUs.

    Args:
        namespace: Where its TrainJob will be made.

    Raises:
        ConfigError: Trainer or the variant's runtime is missing.
        FitError: there are not enough GPUs, or a GPU's memory is too small for the variant.
        KubernetesError: the API server does not answer.
    """
    kube = connect()
    if (problem := runtime_problem(kube, namespace, variant.name)) is not None:
        raise ConfigError(problem)
    if device == "cpu":
        return
    is_autoscaled = os.environ.get(platform.GPUS_AUTOSCALED) == "true"
    nodes = None if is_autoscaled else gpu_nodes(kube)
    memory_gb = stated_memory_gb()
    if nodes is None:
        why = "nodes come when they are asked for" if is_autoscaled else "this account may not list nodes"
        print(f"the cluster's GPUs are not counted: {why}")
    elif (problem := gpu_problem(nodes, num_nodes, processes_per_node)) is not None:
        raise FitError(problem)
    else:
        memory_gb = least_memory_gb(nodes, processes_per_node) or memory_gb
    if memory_gb is None:
        print(f"memory is not checked: no node has the label of its GPUs' memory, and {platform.GPU_MEMORY_GB} is not set")
    elif (problem := fits(variant, config, Machine(num_nodes, processes_per_node, memory_gb))) is not None:
        raise FitError(problem)


def stated_memory_gb() -> float | None:
    """Memory of one GPU as the chart's values state it.

    Raises:
        ConfigError: it is no number above zero.
    """
    text = os.environ.get(platform.GPU_MEMORY_GB, "")
    if not text:
        return None
    try:
        memory_gb = float(text)
    except ValueError:
        memory_gb = 0.0
    if memory_gb <= 0:
        raise ConfigError(f"{platform.GPU_MEMORY_GB} is {text!r}; give the memory of one GPU in GB, or leave it out.")
    return memory_gb
