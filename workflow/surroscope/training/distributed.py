"""Training in several processes, one GPU or one thread each, that torchrun has started: data parallel."""

import atexit
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from surroscope.errors import UserError

FAILED = "surroscope/failed"
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


@dataclass(frozen=True)
class Group:
    """Processes that train one network together.

    rank: number of this one; the first, 0, writes and reports. world: how many; local: its number on its machine
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    def share(self, indices: np.ndarray) -> np.ndarray:
        """This process's part of the indices; the parts are in order and differ in length by one at most."""
        return np.array_split(indices, self.world)[self.rank]

    def total(self, value: float, place: torch.device) -> float:
        """The sum of every process's value, in float64. place: the device of this process"""
        if self.world == 1:
            return value
        summed = torch.tensor(value, dtype=torch.float64, device=place)
        distributed.all_reduce(summed)
        return summed.item()

    def from_first(self, value: Any) -> Any:
        """The first process's value, in every process."""
        values = [value]
        if self.world > 1:
            distributed.broadcast_object_list(values)
        return values[0]

    def replica(self, network: nn.Module) -> nn.Module:
        """The network, with its gradients averaged over the processes in the backward pass.

        Parameters that an output does not depend on are allowed. Then no bucket of gradients is ever rearranged either,
        so the order of sums does not depend on where a run was resumed.
        """
        if self.world == 1:
            return network
        place = next(network.parameters()).device
        return DistributedDataParallel(
            network, device_ids=[place] if place.type == "cuda" else None, find_unused_parameters=True
        )


ALONE = Group()


@contextmanager
def joined() -> Iterator[Group]:
    """The group of the processes that torchrun has started, or ALONE.

    An error of one process ends them all: torchrun ends those that wait for it. The first error is let through; a
    process that fails later, of the same or of a connection that broke by it, exits without a word.
    Raises UserError if this machine has fewer GPUs than processes.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    local, here = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    # A handler in Python would wait for a collective to return, which it may never do.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    gpus = torch.cuda.device_count()
    store, rank, _ = next(distributed.rendezvous("env://"))
    try:
        if 0 < gpus < here:
            raise UserError(
                f"{here} processes on this machine, but {gpus} GPUs are visible to them; "
                "expected a GPU for each: set the resource `processes` to the number of GPUs a machine"
            )
        if gpus:
            torch.cuda.set_device(local)
        distributed.init_process_group("nccl" if gpus else "gloo", store=store, rank=rank, world_size=world)
        yield Group(rank, world, local)
    except Exception:
        # Threads of NCCL may keep a process that fails from ending.
        atexit.register(os._exit, 1)
        if store.add(FAILED, 1) > 1:
            sys.exit(1)
        raise
    distributed.destroy_process_group()
