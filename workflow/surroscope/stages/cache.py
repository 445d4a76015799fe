"""Write the trajectories that one split trains on, and those that it validates on, as arrays to be mapped into memory.

For data larger than memory: no chunk of a store is decompressed again in every epoch. In float32, uncompressed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surroscope import store, transitions
from surroscope.stages import cli, progress

PARTS = ("train", "validation")


@dataclass(frozen=True)
class Settings:
    system: str
    seed: int
    snapshots: int


def stage(settings: Settings, *, stores: list[Path], split: Path, cache: Path) -> None:
    stacks = {part: transitions.Stack(stores, split, part, settings.snapshots) for part in PARTS}
    made = cli.provenance("cache", settings) | {"source": transitions.source(stores, split)}
    with store.writing(cache, made) as temporary:
        needed = sum(stack.nbytes for stack in stacks.values())
        store.require_space("the trajectories of a split (or train from memory)", needed, cache.parent)
        temporary.mkdir()
        total = sum(stack.shape[0] * stack.shape[1] for stack in stacks.values())
        with progress.bar(f"cache {settings.system} seed {settings.seed}", total, "snapshot") as bar:
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


if __name__ == "__main__":
    cli.run(stage, Settings, paths=("split", "cache"), lists=("stores",))
