"""What a cluster offers against what a run asks for, as sentences; tests/cluster asks a real API server."""

import pytest

from components.shared import cluster_checks
from components.shared.cluster_checks import GpuNode, gpu_problem, least_memory_gb
from components.validate.cluster import stated_memory_gb
from model.errors import ConfigError

NODES = [GpuNode("a", 8, 141.0), GpuNode("b", 8, 80.0), GpuNode("c", 4, 24.0)]


def test_nodes_enough_are_no_problem():
    assert gpu_problem(NODES, 2, 8) is None
    assert gpu_problem(NODES, 3, 4) is None


@pytest.mark.parametrize(
    ("nodes", "num_nodes", "per_node", "words"),
    [
        ([], 1, 1, "no node of this cluster offers nvidia.com/gpu"),
        (NODES, 3, 8, r"3 nodes with 8 GPUs each are asked for and 2 have so many \(a 8, b 8, c 4\); lower train_num_nodes"),
        (NODES, 1, 16, "and 0 have so many"),
    ],
)
def test_what_cannot_be_had_is_named_with_what_there_is(nodes, num_nodes, per_node, words):
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(gpu_problem(nodes, num_nodes, per_node))


def test_the_smallest_gpu_that_could_be_given_decides():
    assert least_memory_gb(NODES, 8) == 80.0
    assert least_memory_gb(NODES, 1) == 24.0
    assert least_memory_gb([*NODES, GpuNode("d", 8, None)], 8) is None  # one that does not say could be smaller


def test_a_nodes_label_is_in_mebibytes():
    node = {
        "metadata": {"name": "n", "labels": {cluster_checks.MEMORY_LABEL: "143771"}},
        "status": {"allocatable": {"nvidia.com/gpu": "8"}},
    }
    assert cluster_checks._gpu_node(node) == GpuNode("n", 8, pytest.approx(150.75, abs=0.01))


@pytest.mark.parametrize("text", ["many", "-1", "0"])
def test_a_stated_memory_that_is_none(monkeypatch, text):
    monkeypatch.setenv("SPHINX_X_GPU_MEMORY_GB", text)
    with pytest.raises(ConfigError, match="SPHINX_X_GPU_MEMORY_GB is"):
        stated_memory_gb()
