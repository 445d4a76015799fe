"""The finite-volume solver against exact solutions, and the properties that the scheme promises."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from surroscope.physics import euler
from surroscope.physics.errors import SolverError
from surroscope.physics.riemann import GAMMA

torch.set_num_threads(1)


def quadrants(batch: int, size: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    low, high = np.array([0.2, -0.8, -0.8, 0.2]), np.array([1.5, 0.8, 0.8, 1.0])
    states = low + (high - low) * rng.uniform(size=(batch, 2, 2, 4))
    return euler.conserved(torch.tensor(np.kron(np.moveaxis(states, -1, 1), np.ones((size // 2,) * 2)), dtype=dtype))


def exact_density(left: tuple, right: tuple, speed: np.ndarray) -> np.ndarray:
    """Density of the exact Riemann solution at x/t = `speed` (Toro 2009, chapter 4)."""

    def across(pressure: float, state: tuple) -> float:
        density, _, outside = state
        if pressure > outside:
            a, b = 2 / ((GAMMA + 1) * density), (GAMMA - 1) / (GAMMA + 1) * outside
            return (pressure - outside) * math.sqrt(a / (pressure + b))
        sound = math.sqrt(GAMMA * outside / density)
        return 2 * sound / (GAMMA - 1) * ((pressure / outside) ** ((GAMMA - 1) / (2 * GAMMA)) - 1)

    star = brentq(lambda p: across(p, left) + across(p, right) + right[1] - left[1], 1e-8, 1e3, xtol=1e-14)
    contact = 0.5 * (left[1] + right[1] + across(star, right) - across(star, left))
    out = np.empty_like(speed)
    for sign, (density, velocity, pressure) in ((1, left), (-1, right)):
        side = speed < contact if sign == 1 else speed >= contact
        outward = -sign * (speed - velocity)
        drift = -sign * (contact - velocity)
        sound, ratio = math.sqrt(GAMMA * pressure / density), (GAMMA - 1) / (GAMMA + 1)
        if star > pressure:
            behind = density * (star / pressure + ratio) / (ratio * star / pressure + 1)
            front = sound * math.sqrt((GAMMA + 1) / (2 * GAMMA) * star / pressure + (GAMMA - 1) / (2 * GAMMA))
            values = np.where(outward > front, density, behind)
        else:
            behind = density * (star / pressure) ** (1 / GAMMA)
            tail = drift + sound * (star / pressure) ** ((GAMMA - 1) / (2 * GAMMA))
            fan = density * np.clip(2 / (GAMMA + 1) + ratio * outward / sound, 1e-12, None) ** (2 / (GAMMA - 1))
            values = np.where(outward > sound, density, np.where(outward < tail, behind, fan))
        out[side] = values[side]
    return out


@pytest.mark.parametrize(("cells", "bound"), [(100, 5e-3), (200, 2.6e-3)])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_sod_shock_tube(cells: int, bound: float, axis: str) -> None:
    left, right = (1.0, 0.0, 1.0), (0.125, 0.0, 0.1)
    x = (np.arange(2 * cells) + 0.5) / cells
    inside = (x < 0.5) | (x > 1.5)
    tube = np.zeros((1, 4, 4, 2 * cells))
    tube[0, 0], tube[0, 3] = np.where(inside, left[0], right[0]), np.where(inside, left[2], right[2])
    extent = (2.0, 4 / cells)
    if axis == "y":
        tube, extent = tube.swapaxes(-1, -2).copy(), extent[::-1]
    solution = euler.solve(euler.conserved(torch.tensor(tube)), [0.0, 0.2], extent=extent)
    density = solution.states[0, 1, 0].numpy()
    density = density[0] if axis == "x" else density[:, 0]
    # A finite-volume scheme holds cell means: 20 points a cell stand in for the integral.
    points = (np.arange(20 * cells) + 0.5) / (20 * cells)
    exact = exact_density(left, right, (points - 0.5) / 0.2).reshape(cells, 20).mean(1)
    error = np.abs(density[:cells] - exact).mean()
    assert error <= bound
    np.testing.assert_allclose(density[:cells], density[::-1][:cells], rtol=1e-10)


def vortex(size: int, time: float) -> torch.Tensor:
    """Isentropic vortex carried by (1, 1) over a periodic square of side 10 (Shu 1998)."""
    axis = (torch.arange(size, dtype=torch.float64) + 0.5) * 10 / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    x, y = ((x - 5 - time + 5) % 10) - 5, ((y - 5 - time + 5) % 10) - 5
    spin = 5 / (2 * math.pi) * torch.exp(0.5 * (1 - x * x - y * y))
    density = (1 - (GAMMA - 1) / (2 * GAMMA) * spin * spin) ** (1 / (GAMMA - 1))
    return euler.conserved(torch.stack([density, 1 - spin * y, 1 + spin * x, density**GAMMA])[None])


def test_smooth_vortex_converges_at_second_order() -> None:
    errors = []
    for size in (32, 64, 128):
        state = euler.solve(vortex(size, 0.0), [0.0, 1.0], extent=(10.0, 10.0)).states[0, 1]
        errors.append(float((state[0] - vortex(size, 1.0)[0, 0]).abs().mean()))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert orders.min() >= 2.0, (errors, orders)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
def test_means_are_conserved(dtype: torch.dtype, bound: float) -> None:
    states = euler.solve(quadrants(3, 32, dtype), [0.0, 0.3]).states.double()
    drift = (states.mean((-1, -2))[:, 1] - states.mean((-1, -2))[:, 0]).abs()
    assert float((drift / states.abs().mean((-1, -2))[:, 0]).max()) < bound


def test_axes_are_equivalent() -> None:
    initial = quadrants(2, 24, torch.float64)
    swapped = initial[:, [0, 2, 1, 3]].mT.contiguous()
    states, others = (euler.solve(each, [0.0, 0.2]).states for each in (initial, swapped))
    assert torch.equal(others, states[:, :, [0, 2, 1, 3]].mT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_trajectory_does_not_depend_on_its_batch(dtype: torch.dtype) -> None:
    initial, times = quadrants(5, 22, dtype), [0.0, 0.07, 0.2]
    together = euler.solve(initial, times).states
    order = [3, 0, 4]
    assert torch.equal(euler.solve(initial[order], times).states, together[order])
    for row in range(5):
        assert torch.equal(euler.solve(initial[row : row + 1], times).states[0], together[row])


def receding(speed: float, size: int = 32) -> torch.Tensor:
    """Two streams that leave a near vacuum behind in the middle of the square and collide at its edge."""
    state = torch.ones(1, 4, size, size, dtype=torch.float64)
    state[:, 1], state[:, 2], state[:, 3] = -speed, 0.3, 0.1
    state[:, 1, :, size // 2 :] = speed
    return euler.conserved(state)


def test_positivity_fallback_is_used_counted_and_conservative() -> None:
    calm = quadrants(1, 32, torch.float64)
    initial = torch.cat([calm, receding(20.0)])
    solution = euler.solve(initial, [0.0, 0.01, 0.05])
    assert solution.fallbacks.dtype == torch.int64
    assert solution.fallbacks[0] == 0
    assert solution.fallbacks[1] > 0
    assert (euler.primitive(solution.states)[:, :, [0, 3]] > 0).all()
    assert torch.allclose(solution.states.mean((-1, -2)), initial.mean((-1, -2))[:, None], rtol=1e-12, atol=1e-12)
    assert torch.equal(euler.solve(receding(20.0), [0.0, 0.01, 0.05]).states[0], solution.states[1])


def test_a_state_that_is_not_physical_is_named() -> None:
    initial = quadrants(3, 8, torch.float64)
    initial[2, 3, 4, 4] = torch.nan
    with pytest.raises(SolverError, match="batch row 2 failed at time 0") as caught:
        euler.solve(initial, [0.0, 1.0])
    assert (caught.value.row, caught.value.time) == (2, 0.0)


def test_failure_on_the_way_is_named_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(euler, "rusanov", lambda state, stride, n: torch.full_like(state[:, : -3 * stride], torch.nan))
    with pytest.raises(SolverError) as caught:
        euler.solve(torch.cat([quadrants(1, 32, torch.float64), receding(20.0)]), [0.0, 0.05])
    assert caught.value.row == 1
    assert 0 < caught.value.time < 0.05


def test_conversions_are_inverse_and_frames_start_with_the_initial_state() -> None:
    initial = quadrants(2, 8, torch.float64)
    assert torch.allclose(euler.conserved(euler.primitive(initial)), initial, rtol=1e-14)
    done: list[float] = []
    states = euler.solve(initial, [0.0, 0.01, 0.02], progress=done.append).states
    assert torch.equal(states[:, 0], initial)
    assert done == sorted(done)
    assert done[-1] == 1.0


@pytest.mark.parametrize(
    ("shape", "times", "message"),
    [((2, 3, 8, 8), [0.0, 1.0], "shape"), ((2, 4, 8, 8), [0.1, 1.0], "times"), ((2, 4, 8, 8), [0.0, 0.0], "times")],
)
def test_wrong_arguments_are_refused(shape: tuple, times: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        euler.solve(torch.ones(shape), times)
