"""The trajectories that a split trains and validates on as arrays to be mapped into memory, built once per split.

For data larger than memory: no chunk of a store is decompressed again in every epoch. In float32, uncompressed.
"""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from surroscope import store, transitions
from surroscope.stages import progress

PARTS = ("train", "validation")


def built(cache: Path, stores: list[Path], split: Path, snapshots: int) -> Path:
    """The cache of a split, which is built unless it is there. One process builds it while others wait for it."""
    made = {"source": transitions.source(stores, split), "snapshots": snapshots}
    cache.parent.mkdir(parents=True, exist_ok=True)
    with cache.with_name(f"{cache.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = store.manifest(cache) if (cache / store.MANIFEST).exists() else {}
        if {key: there.get(key) for key in made} != made:
            build(cache, {part: transitions.Stack(stores, split, part, snapshots) for part in PARTS}, made)
    return cache


def build(cache: Path, stacks: dict[str, transitions.Stack], made: dict) -> None:
    """Write the stacks to a folder, whole or not at all."""
    with store.writing(cache, made) as temporary:
        needed = sum(stack.nbytes for stack in stacks.values())
        store.require_space("the trajectories of a split (or train from memory)", needed, cache.parent)
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
