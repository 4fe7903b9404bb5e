"""DeepSpeed's checkpoint files as values in host memory, so that training goes on while they are written.

DeepSpeed writes through a checkpoint engine; this one copies what it is given and keeps it.
"""

from pathlib import PurePath
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine


class HostCheckpointEngine(TorchCheckpointEngine):
    """Collects copies of the states that DeepSpeed saves, by file name; loads as DeepSpeed does."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Any] = {}

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        pass  # nothing is written

    def save(self, state_dict: Any, path: str) -> None:
        self.files[PurePath(path).name] = host_copy(state_dict)

    def take(self) -> dict[str, Any]:
        """The files of the save just made."""
        files, self.files = self.files, {}
        return files


def host_copy(value: Any) -> Any:
    """A value whose tensors are copies in host memory; containers are copied, anything else is shared."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        copied = (
            type(value)()
            if type(value).__module__ in ("builtins", "collections") and not hasattr(value, "default_factory")
            else {}
        )
        copied.update((key, host_copy(one)) for key, one in value.items())
        return copied
    if type(value) in (list, tuple):
        return type(value)(host_copy(one) for one in value)
    return value
