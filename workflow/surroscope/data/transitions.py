"""Transitions (s_t, s_{t+1}) of stored trajectories, for training and for probe batches."""

import hashlib
import json
import math
import mmap
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from surroscope.errors import UserError
from surroscope.runtime import store

# Of what is read of a trajectory at once; while it is read, three times as much is in memory.
BLOCK_BYTES = 2**26
# The kernel grants a private mapping that is larger than its memory only if told to reserve nothing for it.
UNRESERVED = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


@dataclass(frozen=True)
class Probe:
    """One trajectory of each class: N = classes x times transitions, class-major.

    states: (classes, snapshots, C, Y, X) float32
    trajectories: the number of each class's trajectory in its store
    every: only each so many'th transition is taken, from the first on
    history: T snapshots are given to a network, so that the first transition starts from snapshot T - 1
    constants: how many channels, the last ones, are given and not predicted: F = C - constants
    lead: how many snapshots later the target is
    """

    states: np.ndarray
    classes: tuple[str, ...]
    trajectories: tuple[int, ...]
    every: int = 1
    history: int = 1
    constants: int = 0
    lead: int = 1

    @property
    def times(self) -> range:
        """Snapshot that each transition of a trajectory starts from."""
        return range(self.history - 1, self.states.shape[1] - self.lead, self.every)

    @property
    def snapshots(self) -> np.ndarray:
        """(N, T, C, Y, X)"""
        given = [range(time + 1 - self.history, time + 1) for time in self.times]
        return self.states[:, given].reshape(-1, self.history, *self.states.shape[2:])

    @property
    def inputs(self) -> np.ndarray:
        """States (N, F, Y, X)."""
        return self._at([*self.times])

    @property
    def targets(self) -> np.ndarray:
        """(N, F, Y, X)"""
        return self._at([time + self.lead for time in self.times])

    def _at(self, times: list[int]) -> np.ndarray:
        fields = self.states.shape[2] - self.constants
        return self.states[:, times, :fields].reshape(-1, fields, *self.states.shape[3:])

    def at_leads(self, leads: list[int]) -> list["Probe"]:
        """The same starts, as many as the longest lead leaves, with each of these leads."""
        last = self.states.shape[1] - max(leads)
        return [replace(self, states=self.states[:, : last + lead], lead=lead) for lead in leads]

    @property
    def labels(self) -> np.ndarray:
        """Index of the class and of the time of each sample, (N, 2)."""
        classes, times = np.meshgrid(np.arange(len(self.classes)), self.times, indexing="ij")
        return np.stack([classes.ravel(), times.ravel()], axis=1)


class Stack:
    """Trajectories of one part of the split, classes stacked in its order, to be read a block at a time.

    part: "train", "validation" or "test"; snapshots: how many leading ones, None for all
    subset: of each class's part, these trajectories
    shape: (n over all classes, snapshots, F, Y, X)
    rows: {class: its trajectories' numbers in its store}
    """

    def __init__(
        self, stores: list[Path], split: Path, part: str, snapshots: int | None = None, subset: slice = slice(None)
    ) -> None:
        numbers = json.loads(split.read_text())
        paths = {path.stem: path for path in stores}
        self.rows = {name: np.asarray(parts[part][subset], dtype=int) for name, parts in numbers.items()}
        self._paths = [paths[name] for name in self.rows]
        self._states = [store.read(path, contents=False)["state"].isel(time=slice(snapshots)) for path in self._paths]
        self.shape = (sum(map(len, self.rows.values())), *self._states[0].shape[1:])

    @property
    def nbytes(self) -> int:
        return 4 * math.prod(self.shape)

    def blocks(self) -> Iterator[tuple[int, slice, np.ndarray]]:
        """Place in the stack, snapshots, and the states there (snapshots, F, Y, X) float32, as they lie in the stores.

        Only the chunks that are needed are read, each once and checked by its CRC-32C. Raises DamagedStoreError.
        """
        snapshots = self.shape[1]
        size = max(1, BLOCK_BYTES // (4 * math.prod(self.shape[2:])))
        first = 0
        for path, state, rows in zip(self._paths, self._states, self.rows.values(), strict=True):
            # One at a time: Zarr takes many times the time and the memory of a list of rows of a shard.
            for row in np.argsort(rows):
                for start in range(0, snapshots, size):
                    times = slice(start, min(start + size, snapshots))
                    try:
                        block = state.isel(trajectory=int(rows[row]), time=times).values
                    except ValueError as error:
                        raise store.DamagedStoreError(
                            f"{path}: a chunk is damaged ({error}); delete it and run again"
                        ) from None
                    yield first + int(row), times, block
            first += len(rows)

    def read(self) -> np.ndarray:
        """All of it, in memory: (n, snapshots, F, Y, X) float32."""
        states = np.empty(self.shape, dtype=np.float32)
        for place, times, block in self.blocks():
            states[place, times] = block
        return states


def trajectories(stores: list[Path], split: Path, part: str, snapshots: int | None = None) -> np.ndarray:
    """All trajectories of one part of the split, in memory: (n over all classes, snapshots, F, Y, X) float32."""
    return Stack(stores, split, part, snapshots).read()


def mapped(cache: Path, part: str) -> np.ndarray:
    """The same, to train or to validate on, from a folder that the stage `cache` wrote: read where it is used.

    What is written to the array stays in this process. Only names and sizes of the files are checked.
    Raises DamagedStoreError, and UserError where the system maps nothing that large.
    """
    store.verify(cache, contents=False)
    path = cache / f"{part}.npy"
    try:
        header = np.load(path, mmap_mode="r")
    except ValueError as error:
        raise store.DamagedStoreError(f"{path}: not an array ({error}); delete {cache} and run again") from None
    with path.open("rb") as file:
        try:
            buffer = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE | UNRESERVED)
        except OSError as error:
            raise UserError(f"{path}: cannot be mapped ({error.strerror}); train from memory") from None
    return np.ndarray(header.shape, header.dtype, buffer, header.offset)


def source(stores: list[Path], split: Path) -> dict[str, Any]:
    """What trajectories are from: the digests of the stores and of the split."""
    return {
        "data": {path.stem: store.manifest(path)["digest"] for path in stores},
        "split": hashlib.sha256(json.dumps(json.loads(split.read_text())).encode()).hexdigest(),
    }


def by_class(
    stores: list[Path], split: Path, part: str, snapshots: int | None = None, subset: slice = slice(None)
) -> dict[str, np.ndarray]:
    """The trajectories class by class, in the order of the split: {class: (n, snapshots, F, Y, X)}.

    subset: of each class's part, these trajectories
    """
    stack = Stack(stores, split, part, snapshots, subset)
    ends = np.cumsum([len(rows) for rows in stack.rows.values()])
    return dict(zip(stack.rows, np.split(stack.read(), ends[:-1]), strict=True))


def probes(
    stores: list[Path], split: Path, batches: list[tuple[str, int]], snapshots: int, every: int = 1, **given: int
) -> list[Probe]:
    """Probe batches: batch (part, b) is trajectory b of that part of every class, its first `snapshots` snapshots.

    given: history and constants, see `Probe`

    Raises UserError if there is no such trajectory.
    """
    numbers = json.loads(split.read_text())
    batch = []
    for part, b in batches:
        for name, parts in numbers.items():
            if b >= len(parts[part]):
                raise UserError(
                    f"{split}: {name} has {len(parts[part])} trajectories to {part}, expected {b + 1} or more; ask for "
                    "fewer batches or add trajectories"
                )
        states = by_class(stores, split, part, snapshots, slice(b, b + 1))
        trajectories = tuple(numbers[name][part][b] for name in states)
        batch.append(Probe(np.concatenate(list(states.values())), tuple(states), trajectories, every, **given))
    return batch
