"""What the solvers share: trajectories that each keep their own time, and the solution they hand back."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surroscope.physics.errors import SolverError


@dataclass(frozen=True)
class Solution:
    """States (B, T, F, Y, X) at the output times, and the cell-updates (B,) int64 that fell back to first order.

    Y and X are the solver's, or what its `record` makes of them.
    """

    states: Tensor
    fallbacks: Tensor


def unchanged(frames: Tensor) -> Tensor:
    """Record output frames (b, F, Y, X) as they are solved."""
    return frames


class Clock:
    """The physical time of each trajectory (float64), and the output time that it heads for.

    times: increasing, starting at 0; raises ValueError otherwise
    """

    def __init__(self, times: Sequence[float], batch: int) -> None:
        self.times = np.asarray(times, dtype=np.float64)
        if self.times.ndim != 1 or self.times.size == 0 or self.times[0] != 0 or not np.all(np.diff(self.times) > 0):
            raise ValueError(f"output times must increase from 0, found {self.times.tolist()}")
        self.now = np.zeros(batch)
        self.frame = np.zeros(batch, dtype=np.int64)
        self.rows = np.arange(batch if self.times.size > 1 else 0)

    def frames(self, first: Tensor) -> Tensor:
        """Room for the frames (B, T, ...) at all output times, with `first` (B, ...) in it."""
        room = torch.empty((len(first), self.times.size, *first.shape[1:]), dtype=first.dtype, device=first.device)
        room[:, 0] = first
        return room

    def step(self, limit: np.ndarray) -> np.ndarray:
        """Equal steps (active,) that reach the next output time and stay within `limit` (active,).

        Raises SolverError where the limit is not a number, or too small to ever arrive.
        """
        target = self.times[self.frame[self.rows] + 1]
        collapsed = ~(limit > 1e-10 * self.times[-1])
        if collapsed.any():
            row = self.rows[collapsed][0]
            raise SolverError(int(row), float(self.now[row]), "the stable time step collapsed")
        remaining = target - self.now[self.rows]
        steps = np.maximum(np.ceil(remaining / limit), 1.0)
        self._lands = steps == 1
        self._step = remaining / steps
        return self._step

    def advance(self) -> tuple[np.ndarray, np.ndarray]:
        """Take the step; say which active trajectories landed on an output time, and which of them still go on."""
        landed = self.rows[self._lands]
        self.now[self.rows] += self._step
        self.frame[landed] += 1
        self.now[landed] = self.times[self.frame[landed]]
        lands, going = self._lands, self.frame[self.rows] < self.times.size - 1
        self.rows = self.rows[going]
        return lands, going

    @property
    def fraction(self) -> float:
        """Part of the output frames that has been reached, over all trajectories."""
        return float(self.frame.mean()) / max(self.times.size - 1, 1)
