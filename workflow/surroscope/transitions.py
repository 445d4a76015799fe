"""Transitions (s_t, s_{t+1}) of stored trajectories, for training and for probe batches."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surroscope import store


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

    part: "train", "validation", "test" or "probe"; snapshots: how many leading ones, None for all.
    """
    return np.concatenate(list(by_class(stores, split, part, snapshots).values()))


def by_class(stores: list[Path], split: Path, part: str, snapshots: int | None = None) -> dict[str, np.ndarray]:
    """The same, class by class, in the order of the split: {class: (n, snapshots, F, Y, X)}.

    Only the chunks that are needed are read, each checked by its CRC-32C. Raises DamagedStoreError.
    """
    chosen = json.loads(split.read_text())
    paths = {path.stem: path for path in stores}
    read = {}
    for name, parts in chosen.items():
        state = store.read(paths[name], contents=False)["state"]
        rows = np.asarray(parts[part])
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
    """Probe batches: batch (part, b) is trajectory b of that part of every class, its first `snapshots` snapshots."""
    numbers = json.loads(split.read_text())
    states = {part: by_class(stores, split, part, snapshots) for part in dict.fromkeys(part for part, _ in batches)}
    return [
        Probe(
            np.stack([block[b] for block in states[part].values()]),
            tuple(states[part]),
            tuple(numbers[name][part][b] for name in states[part]),
            every,
        )
        for part, b in batches
    ]
