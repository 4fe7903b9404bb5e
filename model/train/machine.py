"""What computers a run is given: described, or found here. No torch here."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

H200_GB, BF16_PEAK_TFLOPS = 141.0, 989.0
"""Memory of an H200, and the dense bf16 peak of H100 and H200 (NVIDIA's data sheets)."""
CPU_PEAK_TFLOPS = 0.05
"""Assumed float32 peak of one process on a core."""
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Version 2, version 1."""


@dataclass(frozen=True)
class Machine:
    """Nodes that are all alike; memory in 10^9 bytes."""

    nodes: int = 1
    processes_per_node: int = 8
    """GPUs of a node, or processes where there is none."""
    memory_gb: float = H200_GB
    """Of one GPU; without GPUs, of a whole node, which its processes share."""
    kind: Literal["gpu", "cpu"] = "gpu"
    host_memory_gb: float | None = None
    """Of a node with GPUs, where it is known: what an offloaded optimizer lives in."""

    @property
    def ranks(self) -> int:
        return self.nodes * self.processes_per_node


def this_machine(processes: int) -> Machine:
    """This machine as training sees it: its GPUs if it has enough of them and DS_ACCELERATOR does not say cpu, else its memory."""
    memory_gb = host_memory_gb()
    gpus = [] if os.environ.get("DS_ACCELERATOR") == "cpu" else gpu_memories_gb()
    if len(gpus) < processes:
        return Machine(1, processes, memory_gb, "cpu")
    return Machine(1, processes, min(gpus[:processes]), "gpu", memory_gb)


def host_memory_gb() -> float:
    """Memory of this machine, or of the container this runs in, in 10^9 bytes."""
    limits = [path.read_text().strip() for path in _CGROUP_LIMITS if path.is_file()]
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *(int(limit) for limit in limits if limit.isdigit())]) / 1e9  # "max" is no limit


def gpu_memories_gb() -> list[float]:
    """Memory of each NVIDIA GPU here in 10^9 bytes; none where the driver's program is missing or fails."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [int(line) * 2**20 / 1e9 for line in answer.stdout.split()] if answer.returncode == 0 else []
