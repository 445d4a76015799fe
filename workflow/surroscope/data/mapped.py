"""The trajectories that a split trains and validates on as arrays to be mapped into memory, built once per split.

For data larger than memory: no chunk of a store is decompressed again in every epoch. In float32, uncompressed.
"""

import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from surroscope.data import transitions
from surroscope.errors import UserError
from surroscope.runtime import claims, disk, progress, store

PARTS = ("train", "validation")
POLL = 5.0


def built(cache: Path, stores: list[Path], split: Path, snapshots: int) -> Path:
    """The cache of a split, built unless it is there and whole. One process builds it while others wait for it.

    Raises UserError if the file system has no locks.
    """
    origin = {"source": transitions.source(stores, split), "snapshots": snapshots}

    def there() -> bool:
        if not (cache / store.MANIFEST).exists():
            return False
        try:
            return origin.items() <= store.verify(cache).items()
        except store.DamagedStoreError as error:
            print(f"{error}: it is built again", flush=True)
            return False

    cache.parent.mkdir(parents=True, exist_ok=True)
    with cache.with_name(f"{cache.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise UserError(
                f"{cache.parent}: files cannot be locked ({error.strerror}); mount it with locks, or set "
                "data.reader to memory"
            ) from None
        if not there():
            try:
                build(cache, {part: transitions.Stack(stores, split, part, snapshots) for part in PARTS}, origin)
            except claims.StaleWriterError:
                # Where locks do not reach from node to node another one builds it too, and began later.
                while not there():
                    time.sleep(POLL)
    return cache


def build(cache: Path, stacks: dict[str, transitions.Stack], origin: dict) -> None:
    """Write the stacks to a folder, whole or not at all."""
    with store.writing(cache, origin) as temporary:
        needed = sum(stack.nbytes for stack in stacks.values())
        disk.require_space("the trajectories of a split (or train from memory)", needed, cache.parent)
        temporary.mkdir()
        total = sum(stack.shape[0] * stack.shape[1] for stack in stacks.values())
        with progress.bar(f"build {cache.name}", total, "snapshot") as bar:
            for part, stack in stacks.items():
                for snapshots in write(temporary / f"{part}.npy", stack):
                    bar.update(snapshots)


def write(path: Path, stack: transitions.Stack) -> Iterator[int]:
    """Write a stack as .npy, yielding the number of snapshots in each block.

    It is written and not mapped: pages of a mapping count as memory, and a full disk kills who touches them.
    """
    states = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=stack.shape)
    first, (trajectory, snapshot) = states.offset, states.strides[:2]
    with path.open("r+b") as file:
        for place, times, block in stack.blocks():
            file.seek(first + place * trajectory + times.start * snapshot)
            file.write(block.data)
            yield len(block)
