"""The processes of a run: who they are, the device of each, and how they agree on things that one of them finds out.

Started by torchrun (or anything that sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT), or alone.
"""

import importlib
import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from model import storage
from model.errors import FitError, SphinxError

COLLECTIVE_TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for the others, who may be reading a base of tens of gigabytes or converting a checkpoint."""

EXIT_PEER_LEFT = 3
_SIGNS_OF_A_LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")

Found = TypeVar("Found")


@dataclass(frozen=True)
class Ranks:
    """This process among all of them."""

    rank: int
    world_size: int
    local_rank: int
    device: torch.device
    host_group: Any
    """A gloo group over all ranks, for small values that must not wait for the device."""

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def leads_node(self) -> bool:
        """Whether this rank does once a machine what its neighbours share."""
        return self.local_rank == 0

    def agree(self, find_out: Callable[[], Found]) -> Found:
        """What rank 0 finds out, on every rank; its failure ends every rank, and rank 0 alone says why.

        Raises:
            SphinxError: on rank 0, what went wrong; the others leave without a word.
        """
        outcome: list[Any] = [None, None]
        if self.is_first:
            try:
                outcome[0] = find_out()
            except SphinxError as error:
                outcome[1] = error
        if self.world_size > 1:
            dist.broadcast_object_list(outcome, src=0, group=self.host_group)
        if outcome[1] is not None:
            if self.is_first:
                raise outcome[1]
            raise SystemExit(2)
        return outcome[0]

    def alike(self, find_out: Callable[[], Found]) -> Found:
        """What every rank finds out for itself, from the same inputs; of an error that all meet, rank 0 alone tells.

        Raises:
            SphinxError: on rank 0; the others leave without a word.
        """
        try:
            return find_out()
        except SphinxError:
            if self.is_first:
                raise
            raise SystemExit(2) from None

    def all_true(self, mine: bool) -> bool:
        """Whether every rank says yes."""
        answer = torch.tensor([int(mine)])
        dist.all_reduce(answer, op=dist.ReduceOp.MIN, group=self.host_group)
        return bool(answer.item())

    def gather(self, mine: Any) -> list[Any]:
        """Every rank's value, by rank."""
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, mine, group=self.host_group)
        return values

    def from_node_leader(self, mine: Found | None) -> Found:
        """The value of this machine's first rank, on all its ranks."""
        values = self.gather(mine if self.leads_node else None)
        return next(value for value in reversed(values[: self.rank + 1]) if value is not None)

    @contextmanager
    def node_folder(self, uri: str) -> Iterator[str]:
        """A local folder with the files of a URI, brought once a machine; on every rank."""
        with ExitStack() as held:
            mine = str(held.enter_context(storage.as_local_folder(uri))) if self.leads_node else None
            yield self.from_node_leader(mine)
            self.barrier()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the errors of torch that a user can mend into sentences, and leave quietly where another rank has ended.

        Raises:
            FitError: the GPU's memory is full.
            SystemExit: another rank ended; it says why itself.
        """
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            raise FitError(
                "the GPU's memory is full; lower packs.tokens_per_pack or packs.views_per_pack, set "
                "engine.activation_checkpointing, or a higher engine.zero_stage."
            ) from error
        except RuntimeError as error:
            if any(sign in str(error) for sign in _SIGNS_OF_A_LOST_PEER):
                raise SystemExit(EXIT_PEER_LEFT) from error
            raise

    def barrier(self) -> None:
        dist.barrier(group=self.host_group)


def join_ranks() -> Ranks:
    """Join the other processes of this run; a process that nobody started with others is a world of its own."""
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    _alone_where_unset()
    on_gpu = torch.cuda.is_available() and os.environ.get("DS_ACCELERATOR") != "cpu"
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    _quiet()
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    import deepspeed

    if not on_gpu:
        _without_compiler()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=COLLECTIVE_TIMEOUT)
    deepspeed.init_distributed("nccl" if on_gpu else "gloo", verbose=False, timeout=COLLECTIVE_TIMEOUT)
    host_group = dist.new_group(backend="gloo", timeout=COLLECTIVE_TIMEOUT)
    return Ranks(rank, world_size, local_rank, device, host_group)


def _alone_where_unset() -> None:
    if "MASTER_PORT" in os.environ and "RANK" in os.environ:
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(alone)


def _quiet() -> None:
    """DeepSpeed says a hundred lines at start, of which a reader needs none."""
    os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "error")
    for name in ("DeepSpeed", "deepspeed", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(deepspeed|torch)\b.*")


def _without_compiler() -> None:
    """On a CPU DeepSpeed compiles a shared-memory collective that only its inference engine calls; training does without."""
    backend = importlib.import_module("deepspeed.comm.torch")
    backend.build_shm_op = lambda: None  # type: ignore[attr-defined]
