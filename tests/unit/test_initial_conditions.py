"""Initial conditions: who they depend on, what they satisfy, and the statistics of what they evolve into."""

import numpy as np
import pytest
import torch
from native import joined

from surroscope import system
from surroscope.physics import euler, simulate
from surroscope.physics.errors import SolverError
from surroscope.physics.initial_conditions import QUADRANTS, ROUGHNESS, SPECTRA, sample, start_time
from surroscope.physics.navier_stokes import wavenumbers

torch.set_num_threads(1)

CLASSES = [name for classes in system.CLASSES.values() for name in classes]
CASES = [(name, preset) for name in CLASSES for preset in ("paper", "calibrated")]


def test_every_class_of_every_system_is_there() -> None:
    assert {name for name, _ in QUADRANTS} | set(SPECTRA) | set(ROUGHNESS) == set(CLASSES)


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_a_trajectory_is_known_by_seed_class_preset_and_index(name: str, preset: str) -> None:
    state = sample(name, preset, 1, 2, 24)
    assert state.dtype == np.float64
    assert state.shape == ({"CE": 4, "NS": 2, "AD": 1}[name[:2]], 24, 24)
    assert np.isfinite(state).all()
    np.testing.assert_array_equal(state, sample(name, preset, 1, 2, 24))
    assert not np.allclose(state, sample(name, preset, 1, 3, 24))
    assert not np.allclose(state, sample(name, preset, 2, 2, 24))


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_the_grid_only_samples(name: str, preset: str) -> None:
    """Cell centres of a grid are the middle centres of one three times finer; velocities are cut at Nyquist first."""
    coarse, fine = sample(name, preset, 5, 1, 32), sample(name, preset, 5, 1, 96)
    if name.startswith("NS"):
        kx, ky = wavenumbers(96)
        kept = (np.abs(kx) < 2 * np.pi * 15.5) & (np.abs(ky) < 2 * np.pi * 15.5)
        fine = np.fft.irfft2(np.fft.rfft2(fine) * kept, s=(96, 96))
    np.testing.assert_allclose(fine[:, 1::3, 1::3], coarse, atol=1e-12)


@pytest.mark.parametrize("name", sorted(SPECTRA))
@pytest.mark.parametrize("size", [32, 33])
def test_velocity_is_divergence_free_with_no_mean(name: str, size: int) -> None:
    velocity = sample(name, "paper", 3, 0, size)
    kx, ky = wavenumbers(size)
    spectra = np.fft.rfft2(velocity)
    divergence = np.abs(kx * spectra[0] + ky * spectra[1]).max()
    assert divergence < 1e-12 * np.abs(np.hypot(kx, ky) * spectra).max()
    np.testing.assert_allclose(velocity.mean((1, 2)), 0, atol=1e-14)
    assert velocity.std() > 0.05


@pytest.mark.parametrize(("name", "preset"), sorted(QUADRANTS))
def test_states_lie_in_their_ranges_and_fill_four_quadrants(name: str, preset: str) -> None:
    law = QUADRANTS[name, preset]
    values = euler.primitive(torch.from_numpy(sample(name, preset, 7, 0, 64))).numpy()
    for value, (low, high) in zip(values, (law.density, law.velocity, law.velocity, law.pressure), strict=True):
        assert value.min() >= low - 1e-12
        assert value.max() <= high + 1e-12
    assert len(np.unique(values[0].round(9))) == 4
    if name == "CE-RP":
        assert np.ptp(values[:, :32, :32], axis=(1, 2)).max() < 1e-12


@pytest.mark.parametrize(("arguments", "known"), [(("CE-XX", "paper"), "CE-RP"), (("CE-RP", "print"), "calibrated")])
def test_unknown_names_are_refused(arguments: tuple[str, str], known: str) -> None:
    with pytest.raises(ValueError, match=known):
        sample(*arguments, 0, 0, 8)


@pytest.mark.parametrize("name", ["CE-CRP", "NS-BB"])
def test_simulation_does_not_depend_on_the_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"preset": "calibrated", "seed": 4, "size": 8, "factor": 2, "snapshots": 3, "final_time": 0.2}
    together = joined(simulate.simulate(name, indices=[0, 1, 2, 3, 4], **options))
    assert together.states.shape[:2] == (5, 3)
    assert together.states.dtype == np.float32
    assert together.fallbacks.shape == (5,)
    monkeypatch.setattr(simulate, "BATCH_CELLS", 2 * 16**2)
    some = joined(simulate.simulate(name, indices=[3, 0, 4], **options))
    np.testing.assert_array_equal(some.states, together.states[[3, 0, 4]])


def test_simulation_starts_at_time_zero_and_averages_down() -> None:
    options = {"preset": "paper", "seed": 4, "indices": [6], "size": 16, "snapshots": 2, "final_time": 0.05}
    done: list[float] = []
    first = next(simulate.simulate("CE-RPUI", factor=2, progress=done.append, **options)).states[0, 0]
    fine = sample("CE-RPUI", "paper", 4, 6, 32).reshape(4, 16, 2, 16, 2)
    np.testing.assert_allclose(first, fine.mean((2, 4)), rtol=1e-5, atol=1e-5)
    assert done[-1] == pytest.approx(1.0)
    assert start_time("NS-BB") == -0.5
    evolved = next(simulate.simulate("NS-BB", factor=1, **options)).states[0, 0]
    assert not np.allclose(evolved, sample("NS-BB", "paper", 4, 6, 16), atol=0.05)


def test_a_failure_names_class_trajectory_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> np.ndarray:
        state = sample(*arguments)
        return state * np.nan if arguments[3] == 8 else state

    monkeypatch.setattr(simulate, "sample", broken)
    with pytest.raises(SolverError, match=r"^trajectory 8 of CE-RP \(paper, seed 4, 8 x 8 cells\) failed at time 0: "):
        joined(simulate.simulate("CE-RP", preset="paper", seed=4, indices=[7, 8], size=8, factor=1))


# Of the released data, over space, time and trajectories: mean and deviation of ρ, deviation of u, mean and deviation
# of p; deviations of u and v.
EULER = {
    "CE-RP": (1.252, 0.547, 0.258, 0.209, 0.114),
    "CE-CRP": (0.552, 0.323, 0.275, 0.552, 0.170),
    "CE-RPUI": (0.544, 0.362, 0.211, 0.549, 0.200),
}
NAVIER_STOKES = {"NS-Sines": (0.335, 0.335), "NS-Gauss": (0.615, 0.608)}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(EULER))
def test_calibrated_statistics_are_the_released_ones(name: str) -> None:
    options = {"preset": "calibrated", "seed": 10, "size": 64, "factor": 1}
    states = joined(simulate.simulate(name, indices=range(96), **options)).states
    values = euler.primitive(torch.from_numpy(states).double()).numpy()
    # u and v are drawn alike: their deviation is that of both, about zero.
    density, velocity, pressure = values[:, :, 0], values[:, :, 1:3], values[:, :, 3]
    found = (density.mean(), density.std(), velocity.std(), pressure.mean(), pressure.std())
    np.testing.assert_allclose(found, EULER[name], rtol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "count"), [("NS-Sines", 128, 24), ("NS-Gauss", 64, 96)])
def test_navier_stokes_statistics_are_the_released_ones(name: str, size: int, count: int) -> None:
    options = {"preset": "calibrated", "seed": 10, "size": size, "factor": 1}
    states = joined(simulate.simulate(name, indices=range(count), **options)).states
    np.testing.assert_allclose(states.std(axis=(0, 1, 3, 4)), NAVIER_STOKES[name], rtol=0.1)
