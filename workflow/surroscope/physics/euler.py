"""Compressible Euler equations of an ideal gas on a periodic rectangle, second-order finite volumes.

    ∂ρ/∂t + ∇·(ρu) = 0,   ∂(ρu)/∂t + ∇·(ρu⊗u + pI) = 0,   ∂E/∂t + ∇·(u(E + p)) = 0,
    p = (γ - 1)(E - ρ|u|²/2),  γ = 1.4

Every trajectory of a batch has its own time step and clock. The arithmetic is single operations, element by element,
and maxima: so a trajectory comes out bit for bit the same alone and in any batch.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surroscope.physics.clock import Clock, Solution, unchanged
from surroscope.physics.errors import SolverError
from surroscope.physics.riemann import GAMMA, Scratch, faces, hllc, rusanov

GHOSTS = 2
SIDES = ((1, 2), (2, 1))


@dataclass(frozen=True)
class _Grid:
    """Geometry of states stored with ghost cells as (4, batch, cells), `cells` running over padded rows."""

    rows: int
    columns: int
    spacing: tuple[float, float]

    @property
    def width(self) -> int:
        return self.columns + 2 * GHOSTS

    def square(self, padded: Tensor) -> Tensor:
        return padded.unflatten(-1, (self.rows + 2 * GHOSTS, self.width))

    def interior(self, padded: Tensor) -> Tensor:
        return self.square(padded)[..., GHOSTS:-GHOSTS, GHOSTS:-GHOSTS]

    def wrap(self, padded: Tensor) -> None:
        """Fill the ghost cells from the opposite sides of the periodic domain, corners included."""
        cells = self.square(padded)
        cells[..., :GHOSTS] = cells[..., -2 * GHOSTS : -GHOSTS]
        cells[..., -GHOSTS:] = cells[..., GHOSTS : 2 * GHOSTS]
        cells[..., :GHOSTS, :] = cells[..., -2 * GHOSTS : -GHOSTS, :]
        cells[..., -GHOSTS:, :] = cells[..., GHOSTS : 2 * GHOSTS, :]

    def strides(self) -> tuple[int, int]:
        """Distance in memory to the neighbour along x and along y."""
        return 1, self.width


def primitive(conserved: Tensor) -> Tensor:
    """(ρ, ρu, ρv, E) -> (ρ, u, v, p), shapes (..., 4, Y, X)."""
    state = conserved.movedim(-3, 0)
    return _primitive(state, torch.empty_like(state), torch.empty_like(state[0])).movedim(0, -3)


def conserved(primitive: Tensor) -> Tensor:
    """(ρ, u, v, p) -> (ρ, ρu, ρv, E), shapes (..., 4, Y, X)."""
    density, u, v, pressure = primitive.unbind(-3)
    energy = pressure / (GAMMA - 1) + 0.5 * density * (u * u + v * v)
    return torch.stack([density, density * u, density * v, energy], dim=-3)


def _primitive(state: Tensor, out: Tensor, spare: Tensor) -> Tensor:
    out[0] = state[0]
    torch.div(state[1:3], state[0], out=out[1:3])
    torch.mul(state[1], out[1], out=out[3])
    out[3].add_(torch.mul(state[2], out[2], out=spare)).mul_(0.5)
    torch.sub(state[3], out[3], out=out[3]).mul_(GAMMA - 1)
    return out


class _Scheme:
    """Runge-Kutta stages for a fixed number of trajectories; states and primitive variables are (4, batch, cells)."""

    def __init__(self, grid: _Grid, like: Tensor) -> None:
        self.grid = grid
        self.scratch = Scratch(like)
        self.change = torch.zeros_like(like)
        self.buffers = [torch.empty_like(like) for _ in range(3)]
        self.spares = [torch.empty_like(like) for _ in range(2)]
        self.line = torch.empty_like(like[0])

    def flux(self, variables: Tensor, axis: int) -> Tensor:
        left, right = faces(variables.flatten(1), self.grid.strides()[axis], self.scratch)
        return hllc(left, right, *SIDES[axis], self.scratch)

    def apply(
        self, state: Tensor, fluxes: Iterable[Tensor], scales: list[Tensor], first: Tensor | None, out: Tensor
    ) -> Tensor:
        """Forward Euler from face fluxes, averaged with `first` where given (Shu & Osher 1988)."""
        for axis, (flux, stride) in enumerate(zip(fluxes, self.grid.strides(), strict=True)):
            change = self.change if axis else out
            torch.sub(flux[:, stride:], flux[:, :-stride], out=change.flatten(1)[:, 2 * stride : -2 * stride])
            change.mul_(scales[axis])
        torch.sub(state, out.add_(self.change), out=out)
        if first is not None:
            out.add_(first).mul_(0.5)
        self.grid.wrap(out)
        return out

    def stage(
        self, state: Tensor, variables: Tensor, scales: list[Tensor], first: Tensor | None, out: Tensor, spare: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The next state (in `out`), its primitive variables (in `spare`), the cells (batch,) that fell back."""
        new = self.apply(state, (self.flux(variables, axis) for axis in (0, 1)), scales, first, out)
        fresh = _primitive(new, spare, self.line)
        fallbacks = torch.zeros(state.shape[1], dtype=torch.int64)
        failed = torch.nonzero(_unphysical(fresh)).flatten()
        if failed.numel():
            part = _Scheme(self.grid, state[:, failed])
            base = None if first is None else first[:, failed]
            repaired = part.repair(state[:, failed], variables[:, failed], [x[failed] for x in scales], base)
            new[:, failed], fresh[:, failed] = repaired[0], repaired[1]
            fallbacks[failed.cpu()] = repaired[2].cpu()
        return new, fresh, fallbacks

    def repair(
        self, state: Tensor, variables: Tensor, scales: list[Tensor], first: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The stage again, with Rusanov fluxes on every face of a cell that would lose positivity.

        A face is shared, so that the scheme stays conservative; a neighbour that loses positivity by it is marked in
        turn.
        """
        strides, out = self.grid.strides(), torch.empty_like(state)
        high = [self.flux(variables, axis).clone() for axis in (0, 1)]
        low = [rusanov(variables.flatten(1), strides[axis], SIDES[axis][0]) for axis in (0, 1)]
        new = self.apply(state, high, scales, first, out)
        fresh = _primitive(new, torch.empty_like(state), self.line)
        marked = torch.zeros_like(fresh[0], dtype=torch.bool)
        while bool((newly := ~((fresh[0] > 0) & (fresh[3] > 0)) & ~marked).any()):
            marked |= newly
            line = marked.flatten()
            fluxes = [
                torch.where(line[stride : -2 * stride] | line[2 * stride : -stride], cheap, sharp)
                for stride, cheap, sharp in zip(strides, low, high, strict=True)
            ]
            new = self.apply(state, fluxes, scales, first, out)
            fresh = _primitive(new, fresh, self.line)
        return new, fresh, self.grid.interior(marked).sum(dim=(-2, -1))


def _unphysical(variables: Tensor) -> Tensor:
    """The trajectories (batch,) with a density or pressure that is not positive, or not a number."""
    return ~(torch.minimum(variables[0].amin(1), variables[3].amin(1)) > 0)


def _check(variables: Tensor, rows: np.ndarray, times: np.ndarray) -> None:
    failed = _unphysical(variables).cpu().numpy()
    if failed.any():
        index = int(np.flatnonzero(failed)[0])
        raise SolverError(int(rows[index]), float(times[index]), "density or pressure is not positive")


def _crossing_time(variables: Tensor, grid: _Grid) -> np.ndarray:
    """min(Δx / (|u| + c), Δy / (|v| + c)) over the cells of each trajectory, (batch,) float64."""
    sound = torch.div(variables[3], variables[0]).mul_(GAMMA).sqrt_()
    peaks = [(variables[n].abs() + sound).amax(1).cpu().numpy().astype(np.float64) for n in (1, 2)]
    return 1 / np.maximum(peaks[0] / grid.spacing[0], peaks[1] / grid.spacing[1])


def solve(
    initial: Tensor,
    times: Sequence[float],
    *,
    extent: tuple[float, float] = (1.0, 1.0),
    cfl: float = 0.45,
    record: Callable[[Tensor], Tensor] = unchanged,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Solution:
    """Solve from conserved variables (B, 4, Y, X) to each of `times`, which increase from 0.

    MUSCL with the monotonized central limiter on primitive variables (van Leer 1977, 1979), HLLC fluxes (Toro 2009),
    SSP-RK2 (Shu & Osher 1988), the step cfl · min(Δx / (|u| + c), Δy / (|v| + c)) of each trajectory shortened to land
    on the output times.
    A cell-update that would lose positivity is done again with first-order Rusanov fluxes, and counted.

    extent: lengths of the domain along x and y
    record: what is kept of the frames (b, 4, Y, X) that landed on an output time
    progress: called with the fraction done whenever a frame is reached

    Raises SolverError, with batch row and time, where a state is not physical even so; ValueError for a wrong shape.
    """
    if initial.ndim != 4 or initial.shape[1] != 4 or min(initial.shape[2:]) < GHOSTS:
        raise ValueError(f"initial states must have shape (B, 4, Y, X) with Y, X >= 2, found {tuple(initial.shape)}")
    batch, _, height, width = initial.shape
    grid = _Grid(height, width, (extent[0] / width, extent[1] / height))
    clock = Clock(times, batch)
    states = clock.frames(record(initial))
    fallbacks = torch.zeros(batch, dtype=torch.int64)

    padded = torch.zeros((4, batch, (height + 2 * GHOSTS) * grid.width), dtype=initial.dtype, device=initial.device)
    grid.interior(padded).copy_(initial.movedim(1, 0))
    grid.wrap(padded)
    scheme = _Scheme(grid, padded)
    state, middle, following = scheme.buffers
    variables, middle_variables = scheme.spares
    _primitive(state.copy_(padded), variables, scheme.line)
    _check(variables, np.arange(batch), clock.now)
    while clock.rows.size:
        rows = clock.rows
        step = clock.step(cfl * _crossing_time(variables, grid))
        scales = [torch.from_numpy(step / spacing).to(initial)[:, None] for spacing in grid.spacing]

        arrival = clock.now[rows] + step
        *_, used = scheme.stage(state, variables, scales, None, middle, middle_variables)
        _check(middle_variables, rows, arrival)
        *_, used_again = scheme.stage(middle, middle_variables, scales, state, following, variables)
        _check(variables, rows, arrival)
        fallbacks[rows] += used + used_again
        state, middle, following = following, state, middle

        lands, going = clock.advance()
        if lands.any():
            index = torch.from_numpy(np.flatnonzero(lands))
            states[rows[lands], clock.frame[rows[lands]]] = record(grid.interior(state)[:, index].movedim(0, 1))
            progress(clock.fraction)
        if not going.all() and going.any():
            index = torch.from_numpy(np.flatnonzero(going))
            rest, rest_variables = state[:, index], variables[:, index]
            scheme = _Scheme(grid, rest)
            state, middle, following = scheme.buffers
            variables, middle_variables = scheme.spares
            state.copy_(rest)
            variables.copy_(rest_variables)
    return Solution(states, fallbacks)
