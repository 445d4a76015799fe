"""The pseudo-spectral solver against the Taylor-Green vortex, and the properties that the scheme promises."""

import numpy as np
import pytest
import torch

from surroscope.physics import navier_stokes
from surroscope.physics.errors import SolverError

torch.set_num_threads(1)


def taylor_green(
    size: int, time: float, viscosity: float, mean: tuple[float, float] = (0.0, 0.0), dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """Taylor-Green vortex on the unit square, carried by a mean flow (1, 2, N, N)."""
    k = 2 * np.pi
    axis = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    y, x = torch.meshgrid(axis - mean[1] * time, axis - mean[0] * time, indexing="ij")
    field = torch.stack([torch.sin(k * x) * torch.cos(k * y), -torch.cos(k * x) * torch.sin(k * y)])
    field *= np.exp(-2 * k * k * viscosity * time)
    return (field + torch.tensor(mean, dtype=torch.float64)[:, None, None])[None].to(dtype)


def low_modes(batch: int, size: int, dtype: torch.dtype = torch.float64, modes: int = 4) -> torch.Tensor:
    noise = torch.randn(batch, 2, size, size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    spectrum = torch.fft.rfft2(noise)
    spectrum[..., modes:] = 0
    spectrum[..., modes : 1 - modes, :] = 0
    field = torch.fft.irfft2(spectrum, s=(size, size))
    return (field / field.std()).to(dtype)


@pytest.mark.parametrize("viscosity", [0.0, 0.01, 0.1])
def test_taylor_green_decays_exactly(viscosity: float) -> None:
    times = [0.0, 0.3, 1.0]
    states = navier_stokes.solve(taylor_green(16, 0, 0), times, viscosity=viscosity, spectral_viscosity=False).states
    for frame, time in enumerate(times):
        exact = taylor_green(16, time, viscosity)[0]
        assert float((states[0, frame] - exact).norm() / exact.norm()) < 1e-10


def test_third_order_in_time() -> None:
    mean, viscosity = (0.7, -0.3), 0.01
    exact = taylor_green(16, 1.0, viscosity, mean)[0]
    errors = []
    for cfl in (0.8, 0.4, 0.2):
        options = {"viscosity": viscosity, "spectral_viscosity": False, "cfl": cfl}
        states = navier_stokes.solve(taylor_green(16, 0, 0, mean), [0.0, 1.0], **options).states
        errors.append(float((states[0, 1] - exact).abs().max()))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert orders.min() > 2.6, (errors, orders)


def test_divergence_free_mean_kept_energy_conserved() -> None:
    initial = low_modes(2, 48) + torch.tensor([0.2, -0.4], dtype=torch.float64)[:, None, None]
    states = navier_stokes.solve(initial, [0.0, 0.1, 0.2], spectral_viscosity=False).states
    spectra = torch.fft.rfft2(states)
    kx, ky = (torch.from_numpy(k) for k in navier_stokes.wavenumbers(48))
    divergence = torch.fft.irfft2(1j * (kx * spectra[:, :, 0] + ky * spectra[:, :, 1]), s=(48, 48))
    assert float(divergence.abs().max()) < 1e-11
    assert torch.allclose(states.mean((-1, -2)), initial.mean((-1, -2))[:, None], atol=1e-13)
    energy = states.square().sum(2).mean((-1, -2))
    assert torch.allclose(energy, energy[:, :1].expand_as(energy), rtol=1e-4)


def test_spectral_viscosity_acts_on_high_modes_only() -> None:
    rate = navier_stokes.damping_rate(64, 0.0, True)
    low, high = 4, 20
    assert rate[0, low] < 1e-4
    assert rate[0, high] == pytest.approx(0.05 / 64 * (2 * np.pi * high) ** 2, rel=1e-6)
    assert np.all(rate >= 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [32, 45])
def test_a_trajectory_does_not_depend_on_its_batch(dtype: torch.dtype, size: int) -> None:
    initial, times = (
        low_modes(5, size, dtype) * torch.linspace(0.3, 1.5, 5, dtype=dtype)[:, None, None, None],
        [0, 0.04, 0.1],
    )
    together = navier_stokes.solve(initial, times).states
    order = [3, 0, 4]
    assert torch.equal(navier_stokes.solve(initial[order], times).states, together[order])
    for row in range(5):
        assert torch.equal(navier_stokes.solve(initial[row : row + 1], times).states[0], together[row])


def test_axes_are_equivalent() -> None:
    initial = low_modes(1, 32)
    states, others = (navier_stokes.solve(each, [0.0, 0.2]).states for each in (initial, initial.flip(1).mT))
    assert torch.allclose(others, states.flip(2).mT, atol=1e-11)


def test_a_fluid_at_rest_stays_at_rest() -> None:
    states = navier_stokes.solve(torch.zeros(1, 2, 16, 16), [0.0, 1.0]).states
    assert torch.equal(states, torch.zeros_like(states))


def test_a_state_that_is_not_finite_is_named() -> None:
    initial = low_modes(3, 16)
    initial[1, 0, 2, 2] = torch.nan
    with pytest.raises(SolverError, match="batch row 1 failed at time 0") as caught:
        navier_stokes.solve(initial, [0.0, 1.0])
    assert (caught.value.row, caught.value.time) == (1, 0.0)


def test_an_unstable_step_is_named_with_its_time() -> None:
    initial = torch.cat([torch.zeros(1, 2, 32, 32), low_modes(1, 32, torch.float32, modes=9)])
    with pytest.raises(SolverError) as caught:
        navier_stokes.solve(initial, [0.0, 50.0], spectral_viscosity=False, cfl=8.0)
    assert caught.value.row == 1
    assert 0 < caught.value.time < 50


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        navier_stokes.solve(torch.zeros(1, 2, 16, 8), [0.0, 1.0])
