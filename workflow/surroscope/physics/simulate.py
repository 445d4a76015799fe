"""Trajectories of one class of initial conditions: draw, solve on a finer grid, average down."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surroscope.physics import advection_diffusion, euler, navier_stokes
from surroscope.physics.errors import SolverError
from surroscope.physics.initial_conditions import sample, start_time

# Raise it whenever the solvers make something else of an initial state: stored data says which version made it.
SOLVER_VERSION = 1

SOLVERS = {"CE": euler, "NS": navier_stokes, "AD": advection_diffusion}

# Cells solved at once: enough to hide the cost of a call, few enough to stay in a processor's cache.
BATCH_CELLS = 65_536


@dataclass(frozen=True)
class Simulated:
    """States (n, T, C, N, N) float32, and the cell-updates (n,) int64 that fell back to first order."""

    states: np.ndarray
    fallbacks: np.ndarray


def simulate(
    class_name: str,
    *,
    preset: str,
    seed: int,
    indices: Sequence[int],
    size: int,
    factor: int,
    snapshots: int = 21,
    final_time: float = 1.0,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Iterator[Simulated]:
    """Trajectories `indices` of a class at `snapshots` equally spaced times 0..final_time, on a size x size grid.

    They come in parts, in order: a part is solved when it is asked for, and only its frames are in memory. Solved in
    `dtype` with `factor` times the cells along each axis; conserved variables, or the velocity, are averaged over
    blocks of factor x factor cells. A trajectory depends neither on `indices` nor on the parts.

    progress: called with the fraction done

    Raises SolverError, naming class, trajectory and time, where the solver fails; ValueError for a wrong argument.
    """
    if not len(indices) or size < 4 or factor < 1 or snapshots < 2 or not final_time > 0:
        raise ValueError(
            "expected indices, size >= 4, factor >= 1, snapshots >= 2 and final_time > 0, found "
            f"{len(indices)} indices, size {size}, factor {factor}, snapshots {snapshots}, final_time {final_time}"
        )
    start = start_time(class_name)
    times = [final_time * frame / (snapshots - 1) - start for frame in range(snapshots)]
    if start < 0:
        times.insert(0, 0.0)

    def part(first: int, batch: Sequence[int]) -> Simulated:
        initial = np.stack([sample(class_name, preset, seed, index, size * factor) for index in batch])
        try:
            solution = SOLVERS[class_name.partition("-")[0]].solve(
                torch.from_numpy(initial).to(dtype),
                times,
                record=lambda frames: _average(frames, factor),
                progress=lambda fraction: progress((first + fraction * len(batch)) / len(indices)),
            )
        except SolverError as error:
            side = size * factor
            raise SolverError(
                first + error.row,
                error.time + start,
                error.reason,
                f"trajectory {batch[error.row]} of {class_name} ({preset}, seed {seed}, {side} x {side} cells)",
            ) from error
        return Simulated(solution.states[:, -snapshots:].numpy(), solution.fallbacks.numpy())

    count = max(1, BATCH_CELLS // (size * factor) ** 2)
    return (part(first, indices[first : first + count]) for first in range(0, len(indices), count))


def _average(frames: Tensor, factor: int) -> Tensor:
    """Means over blocks of factor x factor cells, (..., N·factor, N·factor) -> (..., N, N) float32."""
    corner = frames[..., ::factor, ::factor]
    total = torch.zeros(corner.shape, dtype=torch.float64, device=frames.device)
    for row in range(factor):
        for column in range(factor):
            total += frames[..., row::factor, column::factor]
    return total.div_(factor**2).float()
