"""Transitions (s_t, s_{t+1}) of stored trajectories, for training and for probe batches."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surroscope import store
from surroscope.errors import UserError


@dataclass(frozen=True)
class Probe:
    """One trajectory of each class: N = classes x times transitions, class-major.

    states: (classes, snapshots, F, Y, X) float32
    trajectories: the number of each class's trajectory in its store
    every: only each so many'th transition is taken, from the first on
    """

    states: np.ndarray
    classes: tuple[str, ...]
    trajectories: tuple[int, ...]
    every: int = 1

    @property
    def times(self) -> range:
        """Snapshot that each transition of a trajectory starts from."""
        return range(0, self.states.shape[1] - 1, self.every)

    @property
    def inputs(self) -> np.ndarray:
        """(N, F, Y, X)"""
        return self.states[:, self.times].reshape(-1, *self.states.shape[2:])

    @property
    def targets(self) -> np.ndarray:
        """(N, F, Y, X)"""
        return self.states[:, [time + 1 for time in self.times]].reshape(-1, *self.states.shape[2:])


def trajectories(stores: list[Path], split: Path, part: str, snapshots: int | None = None) -> np.ndarray:
    """All trajectories of one part of the split, classes stacked: (classes x n, snapshots, F, Y, X) float32.

    part: "train", "validation" or "test"; snapshots: how many leading ones, None for all.
    """
    return np.concatenate(list(by_class(stores, split, part, snapshots).values()))


def by_class(
    stores: list[Path], split: Path, part: str, snapshots: int | None = None, chosen: slice = slice(None)
) -> dict[str, np.ndarray]:
    """The same, class by class, in the order of the split: {class: (n, snapshots, F, Y, X)}.

    chosen: of each class's part, these trajectories
    Only the chunks that are needed are read, each checked by its CRC-32C. Raises DamagedStoreError.
    """
    numbers = json.loads(split.read_text())
    paths = {path.stem: path for path in stores}
    read = {}
    for name, parts in numbers.items():
        state = store.read(paths[name], contents=False)["state"]
        rows = np.asarray(parts[part][chosen])
        order = np.argsort(rows)
        try:
            block = state.isel(trajectory=rows[order], time=slice(snapshots)).values
        except ValueError as error:
            raise store.DamagedStoreError(
                f"{paths[name]}: a chunk is damaged ({error}); delete it and run again"
            ) from None
        read[name] = block[np.argsort(order)]
    return read


def probes(
    stores: list[Path], split: Path, batches: list[tuple[str, int]], snapshots: int, every: int = 1
) -> list[Probe]:
    """Probe batches: batch (part, b) is trajectory b of that part of every class, its first `snapshots` snapshots.

    Raises UserError if there is no such trajectory.
    """
    numbers = json.loads(split.read_text())
    found = []
    for part, b in batches:
        for name, parts in numbers.items():
            if b >= len(parts[part]):
                raise UserError(
                    f"{split}: {name} has {len(parts[part])} trajectories to {part}, expected {b + 1} or more; ask for "
                    "fewer batches or add trajectories"
                )
        states = by_class(stores, split, part, snapshots, slice(b, b + 1))
        own = tuple(numbers[name][part][b] for name in states)
        found.append(Probe(np.concatenate(list(states.values())), tuple(states), own, every))
    return found
