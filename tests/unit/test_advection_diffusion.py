"""Advection-diffusion beside its exact solution, and what a small kernel can know of it."""

import numpy as np
import torch

from surroscope.physics import advection_diffusion
from surroscope.physics.simulate import simulate

SIZE = 16


def wave(kx: int, ky: int, time: float) -> torch.Tensor:
    """A plane wave at a time, by the formula for one Fourier mode."""
    y, x = np.meshgrid(*2 * [(np.arange(SIZE) + 0.5) / SIZE], indexing="ij")
    a, b = advection_diffusion.VELOCITY
    decay = np.exp(-advection_diffusion.DIFFUSIVITY * 4 * np.pi**2 * (kx**2 + ky**2) * time)
    return torch.from_numpy(decay * np.cos(2 * np.pi * (kx * (x - a * time) + ky * (y - b * time))))


def test_a_wave_moves_and_decays_as_it_should() -> None:
    times = [0.0, 0.3, 1.0]
    initial = torch.stack([wave(3, -5, 0.0), wave(0, 7, 0.0)])[:, None]
    solution = advection_diffusion.solve(initial, times)
    for row, k in enumerate([(3, -5), (0, 7)]):
        for frame, time in enumerate(times):
            torch.testing.assert_close(solution.states[row, frame, 0], wave(*k, time), rtol=0, atol=1e-13)


def trajectories(name: str, count: int = 6) -> torch.Tensor:
    drawn = {
        "preset": "calibrated",
        "seed": 0,
        "size": SIZE,
        "factor": 2,
        "snapshots": 6,
        "final_time": 0.25,
        "dtype": torch.float64,
    }
    return torch.from_numpy(
        np.concatenate([part.states for part in simulate(name, indices=range(count), **drawn)])
    ).double()


def residual(kernel: int) -> float:
    """Mean square of what the best kernel of this size leaves of one step, over the targets' mean square."""
    states = torch.cat([trajectories(name) for name in ("AD-Smooth", "AD-Rough")])[:, :, 0]
    x, y = states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1)
    away = range(-(kernel // 2), (kernel + 1) // 2)
    columns = torch.stack([x.roll((a, b), (-2, -1)) for a in away for b in away], -1).reshape(-1, kernel**2)
    left = y.reshape(-1) - columns @ torch.linalg.lstsq(columns, y.reshape(-1, 1), driver="gelsd").solution[:, 0]
    return float(left.square().mean() / y.square().mean())


def test_a_kernel_of_a_few_cells_knows_the_step_nearly_and_one_of_the_whole_grid_exactly() -> None:
    assert 1e-4 < residual(5) < 0.05
    assert residual(SIZE) < 1e-10


def test_the_step_commutes_with_shifts_and_keeps_the_mean() -> None:
    initial = trajectories("AD-Rough")[:, 0]
    states = advection_diffusion.solve(initial, [0.0, 0.4]).states
    moved = advection_diffusion.solve(initial.roll((3, -2), (-2, -1)), [0.0, 0.4]).states
    torch.testing.assert_close(moved, states.roll((3, -2), (-2, -1)), rtol=0, atol=1e-12)
    torch.testing.assert_close(states.mean((-2, -1))[:, 1], initial.mean((-2, -1)), rtol=0, atol=1e-12)


def test_the_classes_differ_in_roughness() -> None:
    smooth, rough = (trajectories(name)[:, 0] for name in ("AD-Smooth", "AD-Rough"))
    assert rough.diff(dim=-1).square().mean() / rough.var() > 5 * smooth.diff(dim=-1).square().mean() / smooth.var()
