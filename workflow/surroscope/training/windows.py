"""The windows of snapshots in trajectories: their numbers, which of them may be trained on, and their batches."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Class, by its place, and the first and the last time of transitions that are not trained on.
Without = Sequence[tuple[int, int, int]]


def count(trajectories: Tensor, length: int = 2) -> int:
    """Windows of so many snapshots in trajectories (n, S, ...)."""
    return len(trajectories) * (trajectories.shape[1] - length + 1)


def gather(trajectories: Tensor, numbers: np.ndarray, length: int = 2) -> Tensor:
    """Windows (N, length, C, Y, X) of trajectories (n, S, C, Y, X), numbered trajectory by trajectory."""
    trajectory, step = np.divmod(numbers, trajectories.shape[1] - length + 1)
    frames = trajectories.flatten(0, 1)
    first = torch.from_numpy(trajectory * trajectories.shape[1] + step).to(frames.device)
    # Copies whole frames, where indexing by two tensors goes number by number.
    return torch.stack([frames.index_select(0, first + place) for place in range(length)], dim=1)


def labels(trajectories: Tensor, numbers: np.ndarray, classes: int, history: int = 1, length: int = 2) -> np.ndarray:
    """Indices of class and time (N, 2) of windows; the time is that of the last snapshot that a network is given.

    classes: in the trajectories, stacked class by class, as many of each; history: how many a network is given
    """
    trajectory, step = np.divmod(numbers, trajectories.shape[1] - length + 1)
    return np.stack([trajectory * classes // len(trajectories), step + history - 1], axis=1)


def allowed(
    trajectories: Tensor, classes: int, without: Without = (), history: int = 1, following: int = 1
) -> np.ndarray:
    """Numbers of the windows that hold no transition of `without`; a transition is of the time that it starts from."""
    length = history + following
    numbers = np.arange(count(trajectories, length))
    kept = np.ones(len(numbers), dtype=bool)
    of = labels(trajectories, numbers, classes, history, length)
    for ic, first, last in without:
        # Nor any that is given snapshots in the midst of them.
        kept &= (of[:, 0] != ic) | (of[:, 1] + following - 1 < first) | (of[:, 1] - history + 1 > last)
    return numbers[kept]


def states_of(trajectories: Tensor, numbers: np.ndarray, length: int = 2) -> Tensor:
    """The snapshots that some windows hold, each once: (m, 1, C, Y, X)."""
    trajectory, step = np.divmod(numbers, trajectories.shape[1] - length + 1)
    held = np.zeros(trajectories.shape[:2], dtype=bool)
    for place in range(length):
        held[trajectory, step + place] = True
    return trajectories[torch.from_numpy(held)][:, None]


def placed(without: Sequence[tuple[str, int, int]], classes: list[str]) -> list[tuple[int, int, int]]:
    """Transitions that are named by their class, by its place among the classes."""
    return [(classes.index(ic), first, last) for ic, first, last in without]
