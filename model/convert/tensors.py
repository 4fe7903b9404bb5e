"""Read and write large state dicts tensor by tensor, so that no conversion ever holds a whole model.

Readers understand safetensors (single or with an index) and torch files; a torch file is opened with `weights_only=True`,
which refuses every pickle that is more than tensors.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from model.errors import DataError

MAX_SHARD_BYTES = 5 * 10**9


def read_tensors(source: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """All (name, tensor) of a file, or of every weight file in a folder.

    Raises:
        DataError: there are no weights, or a file is not what its name says.
    """
    files = [source] if source.is_file() else _weight_files(source)
    for file in files:
        try:
            if file.suffix == ".safetensors":
                with safe_open(str(file), framework="pt") as opened:
                    for name in opened.keys():  # noqa: SIM118 (not a dict)
                        yield name, opened.get_tensor(name)
            else:
                state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
                yield from (state.get("model", state) if isinstance(state, dict) else {}).items()
        except Exception as error:
            raise DataError(
                f"{file} cannot be read as weights ({type(error).__name__}: {str(error)[:120]}); download it again."
            ) from error


def write_tensors(tensors: Iterable[tuple[str, torch.Tensor]], folder: Path, max_shard_bytes: int = MAX_SHARD_BYTES) -> int:
    """Write Hugging Face shards `model-00001-of-0000N.safetensors` with their index; returns the bytes of all tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[list[str]] = []
    pending: dict[str, torch.Tensor] = {}
    pending_bytes = total_bytes = 0

    def flush() -> None:
        nonlocal pending, pending_bytes
        if pending:
            save_file(pending, str(folder / f".shard-{len(shards) + 1}"), metadata={"format": "pt"})
            shards.append(list(pending))
            pending, pending_bytes = {}, 0

    for name, tensor in tensors:
        num_bytes = tensor.numel() * tensor.element_size()
        if pending_bytes + num_bytes > max_shard_bytes:
            flush()
        pending[name] = tensor.contiguous().clone()
        pending_bytes += num_bytes
        total_bytes += num_bytes
    flush()
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        (folder / f".shard-{number}").rename(folder / file)
        weight_map.update(dict.fromkeys(names, file))
    if len(shards) > 1:
        index = {"metadata": {"total_size": total_bytes}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return total_bytes


def _weight_files(folder: Path) -> list[Path]:
    for pattern in ("*.safetensors", "pytorch_model*.bin", "*.pth"):
        files = sorted(folder.glob(pattern))
        if files:
            return files
    raise DataError(
        f"{folder} holds no weights (*.safetensors, pytorch_model*.bin or *.pth); download the model's files into it."
    )
