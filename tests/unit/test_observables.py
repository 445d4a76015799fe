"""Observables against closed forms, their derivatives against finite differences, and what is refused."""

import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, jvp, vmap

from surroscope.cost_function import Observable, smse
from surroscope.errors import UserError
from surroscope.importing import imported
from surroscope.observables import catalogue
from surroscope.observables.catalogue import known
from surroscope.observables.conservation import conservation
from surroscope.observables.flow import enstrophy
from surroscope.observables.loading import check, load
from surroscope.observables.named import observable
from surroscope.observables.spectral import spectral_band
from surroscope.system import COMPRESSIBLE_EULER, NAVIER_STOKES, SYSTEMS, System

CE, NS = COMPRESSIBLE_EULER, NAVIER_STOKES
MADE = {
    **{f"{each.name} {name}": (each, observable(name, each)) for each in (CE, NS) for name in known(each)},
    "CE band": (CE, spectral_band(CE, low=1, high=3)),
    "NS band": (NS, spectral_band(NS, low=2)),
}


def states(
    system: System,
    *,
    batch: int = 3,
    grid: tuple[int, int] = (8, 8),
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Physical states, rough: noise about a mean flow."""
    draw = torch.Generator().manual_seed(seed)
    noise = 0.2 * torch.rand(batch, len(system.channels), *grid, generator=draw, dtype=torch.float64)
    mean = [3.0 if name in system.positive else 0.3 for name in system.channels]
    return (noise + torch.tensor(mean, dtype=torch.float64)[:, None, None]).to(dtype)


def uniform(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[None, :, None, None].expand(1, len(values), 6, 6)


def taylor_green(*grid: int) -> Tensor:
    k, axes = 2 * math.pi, [(torch.arange(size, dtype=torch.float64) + 0.5) / size for size in grid]
    y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([torch.sin(k * x) * torch.cos(k * y), -torch.cos(k * x) * torch.sin(k * y)])[None]


def test_the_table_of_names_is_the_table_of_functions() -> None:
    assert all(callable(imported(entry.factory, name)) for name, entry in catalogue.BUILTIN.items() if name != "smse")
    assert known(CE) == ("smse", "mass", "energy", "momentum_x", "momentum_y", "kinetic_energy")
    assert known(NS) == ("smse", "momentum_x", "momentum_y", "kinetic_energy", "enstrophy")
    assert all(set(catalogue.default(system)) <= set(known(system)) for system in SYSTEMS.values())


def test_names_are_checked_without_torch() -> None:
    code = "import sys, surroscope.observables.catalogue, surroscope.symmetry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "system", "words"),
    [
        ("spin", CE, ["'spin' is unknown", "choose from smse, mass"]),
        ("enstrophy", CE, ["'enstrophy' needs velocity_x, velocity_y", "compressible Euler lacks", "kinetic_energy"]),
        ("mass", NS, ["'mass' needs density", "Navier-Stokes lacks", "enstrophy"]),
    ],
)
def test_an_observable_that_a_system_lacks_is_refused(name: str, system: System, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        observable(name, system)
    assert all(word in str(caught.value) for word in words), caught.value


def test_momentum_is_compared_with_the_input_and_scaled_by_its_rms() -> None:
    state = uniform(1, -3, 0, 9) + 4 * uniform(0, 1, 0, 0) * (-1.0) ** torch.arange(6)
    prediction, nowhere = state + uniform(7, 0.5, 0.1, 7), torch.full_like(state, torch.nan)
    x, y = (observable(f"momentum_{axis}", CE)(prediction, nowhere, state).item() for axis in "xy")
    assert x == pytest.approx(0.25 / (5 + 1e-6))
    assert y == pytest.approx(0.01 / 1e-6)


@pytest.mark.parametrize(
    ("system", "prediction", "target"), [(NS, (3, 4), (1, 1)), (CE, (2, 6, 8, 99), (0.5, 1, 0, 99))], ids=["NS", "CE"]
)
def test_kinetic_energy_is_compared_with_the_target(system: System, prediction: tuple, target: tuple) -> None:
    found = observable("kinetic_energy", system)(uniform(*prediction), uniform(*target), torch.full((1,), torch.nan))
    expected = {"NS": (12.5 - 1) ** 2 / (1 + 1e-6), "CE": (25 - 1) ** 2 / (1 + 1e-6)}[system.name]
    assert found.tolist() == pytest.approx([expected])


WATER = System(
    name="water",
    title="shallow water",
    channels=("height", "discharge", "energy", "salt"),
    positive=("height",),
    conserved=("height", "discharge", "energy"),
    boundary="open",
)


def test_what_a_users_system_conserves_is_an_observable() -> None:
    assert known(WATER) == ("smse", "energy", "height", "discharge")
    assert catalogue.default(WATER) == ("smse", "height")
    x, y, ones = states(WATER, grid=(1, 8)), states(WATER, grid=(1, 8), seed=1), torch.ones(8, dtype=torch.float64)
    for channel, name in enumerate(("height", "discharge", "energy")):
        found = observable(name, WATER)(y, torch.full_like(y, torch.nan), x)
        kept, predicted = x[:, channel, 0], y[:, channel, 0]
        scale = kept @ ones / 8 if name == "height" else (kept.square() @ ones / 8).sqrt()
        assert torch.allclose(found, ((predicted - kept) @ ones / 8).square() / (scale + 1e-6), rtol=1e-12)
        check(observable(name, WATER), name, WATER, x, y)
    assert torch.equal(observable("height", WATER)(y, y, x), conservation(0)(y, y, x))
    with pytest.raises(UserError, match="'salt' is unknown; choose from smse, energy, height, discharge"):
        observable("salt", WATER)


def test_what_needs_fourier_series_is_refused_within_open_edges() -> None:
    walled = System("walled", "a walled fluid", ("velocity_x", "velocity_y"), boundary="open")
    with pytest.raises(UserError, match="'enstrophy' needs a periodic boundary, which a walled fluid lacks"):
        observable("enstrophy", walled)
    with pytest.raises(UserError, match="spectral_band: needs a periodic boundary, and that of a walled fluid is open"):
        spectral_band(walled, low=1)


@pytest.mark.parametrize("grid", [(8, 8), (9, 9), (8, 24), (9, 4), (24, 7)], ids=str)
def test_enstrophy_of_the_taylor_green_vortex(grid: tuple[int, int]) -> None:
    flow, exact = taylor_green(*grid) + uniform(0.4, -2)[..., :1, :1], 2 * math.pi**2
    assert enstrophy(0, 1)(flow).item() == pytest.approx(exact, rel=1e-12)
    found = observable("enstrophy", NS)(2 * flow, flow, flow)
    assert found.item() == pytest.approx((4 * exact - exact) ** 2 / (exact + 1e-6), rel=1e-12)


def test_enstrophy_has_no_part_at_the_nyquist_wave_number() -> None:
    stripes = torch.stack([torch.zeros(8, 8), (-1.0) ** torch.arange(8).expand(8, 8)])[None]
    assert enstrophy(0, 1)(stripes).item() == 0


def test_enstrophy_on_a_line_is_of_the_shear_along_it() -> None:
    shear = torch.sin(2 * math.pi * 3 * torch.arange(16, dtype=torch.float64) / 16)
    flow = torch.stack([torch.rand(1, 16, dtype=torch.float64), shear[None]])[None]
    assert enstrophy(0, 1)(flow).item() == pytest.approx((6 * math.pi) ** 2 / 4)


@settings(max_examples=30, deadline=None)
@given(
    st.sets(st.sampled_from([x**2 + y**2 for x in range(4) for y in range(1, 4)])),
    st.sampled_from([(7, 7), (8, 8), (7, 12)]),
)
def test_bands_that_tile_all_wave_numbers_sum_to_the_smse(squares: set[int], grid: tuple[int, int]) -> None:
    prediction, target = (states(NS, grid=grid, seed=seed) for seed in (1, 2))
    edges = [0, *(square**0.5 for square in sorted(squares)), math.inf]
    bands = [spectral_band(NS, low=low, high=high) for low, high in itertools.pairwise(edges)]
    total = torch.stack([band(prediction, target, target) for band in bands]).sum(0)
    assert torch.allclose(total, smse(prediction, target, target), rtol=1e-12)


def test_bands_that_tile_the_wave_numbers_of_a_line_sum_to_the_smse() -> None:
    prediction, target = (states(NS, grid=(1, 9), seed=seed) for seed in (1, 2))
    bands = [spectral_band(NS, low=low, high=high) for low, high in itertools.pairwise([0, 1, 2, 4, math.inf])]
    total = torch.stack([band(prediction, target, target) for band in bands]).sum(0)
    assert torch.allclose(total, smse(prediction, target, target), rtol=1e-12)


@pytest.mark.parametrize(("low", "high", "inside"), [(0, 3.6, 0), (3.6, 3.61, 1), (13**0.5, 9, 1), (1, 13**0.5, 0)])
def test_a_wave_is_in_the_band_of_its_wave_number(low: float, high: float, inside: int) -> None:
    axis, target = torch.arange(16, dtype=torch.float64) / 16, states(CE, batch=1, grid=(12, 16))
    wave = torch.cos(2 * math.pi * (2 * axis + 3 * torch.arange(12, dtype=torch.float64)[:, None] / 12))
    found = spectral_band(CE, low=low, high=high)(target + wave, target, target)
    assert found.item() == pytest.approx(inside * smse(target + wave, target, target).item(), rel=1e-12, abs=1e-20)


@pytest.mark.parametrize("name", MADE)
def test_derivatives_agree_with_finite_differences(name: str) -> None:
    system, function = MADE[name]
    prediction, target, state, direction = (states(system, seed=seed) for seed in range(4))

    def value(prediction: Tensor, target: Tensor, state: Tensor) -> Tensor:
        return function(prediction[None], target[None], state[None])[0]

    h = 1e-4
    ahead, behind = (function(prediction + sign * h * direction, target, state) for sign in (1, -1))
    expected = (ahead - behind) / (2 * h)
    reverse = vmap(grad(value))(prediction, target, state)
    forward = jvp(lambda p: function(p, target, state), (prediction,), (direction,))[1]
    pushed = vmap(lambda d: jvp(lambda p: function(p, target, state), (prediction,), (d,))[1])(direction[None])[0]
    assert torch.allclose((reverse * direction).sum((-3, -2, -1)), expected, rtol=1e-6)
    assert torch.allclose(forward, expected, rtol=1e-6)
    assert torch.allclose(pushed, forward, rtol=1e-12)
    assert torch.equal(reverse[1], grad(value)(prediction[1], target[1], state[1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grid", [(8, 8), (4, 10), (1, 16)], ids=str)
@pytest.mark.parametrize("name", MADE)
def test_every_observable_of_ours_passes_the_check(name: str, grid: tuple[int, int], dtype: torch.dtype) -> None:
    system, function = MADE[name]
    check(function, name, system, *(states(system, grid=grid, seed=seed, dtype=dtype) for seed in (0, 1)))


@pytest.mark.parametrize("name", [name for name in MADE if name.startswith("NS")])
def test_a_smooth_flow_and_a_fluid_at_rest_pass_the_check(name: str) -> None:
    flow = taylor_green(16, 16).float().repeat(2, 1, 1, 1)
    check(MADE[name][1], name, NS, flow, 0.9 * flow)
    check(MADE[name][1], name, NS, 0 * flow, 0 * flow)


WRONG: dict[str, tuple[Observable, list[str]]] = {
    "one number": (lambda p, y, x: (p - y).square().mean(), ["shape ()", "shape (3,)"]),
    "a field": (lambda p, y, x: (p - y).square().mean((-2, -1)), ["shape (3, 4)", "shape (3,)"]),
    "a float": (lambda p, y, x: 1.0, ["shape ()", "shape (3,)"]),
    "whole numbers": (lambda p, y, x: (p > y).sum((-3, -2, -1)), ["torch.int64", "real number"]),
    "complex": (lambda p, y, x: torch.fft.fft2(p).mean((-3, -2, -1)), ["torch.complex128", "real number"]),
    "not finite": (lambda p, y, x: (-p.abs()).sqrt().mean((-3, -2, -1)), ["nan", "finite"]),
    "detached": (lambda p, y, x: (p.detach() - y).square().mean((-3, -2, -1)), ["no gradient", "detach()"]),
    "flat": (lambda p, y, x: (10 * p).round().mean((-3, -2, -1)), ["gradient", "zero"]),
    "infinite slope": (lambda p, y, x: (p - p).sqrt().mean((-3, -2, -1)), ["gradient", "not finite"]),
    "batch mean": (lambda p, y, x: p.mean((-3, -2, -1)) - p.mean(), ["other samples", "together", "alone"]),
    "batch sum": (lambda p, y, x: p.mean((-3, -2, -1)) / len(p), ["other samples", "reduce over"]),
    "scaled by others": (lambda p, y, x: p.mean((-3, -2, -1)) / y.std(), ["other samples"]),
    "squeezed": (lambda p, y, x: p.mean((-3, -2, -1)).squeeze(), ["one sample at a time"]),
    "branching": (lambda p, y, x: p.mean((-3, -2, -1)) if p.sum() > 0 else y, ["one sample at a time"]),
    "broken": (lambda p, y, x: p[:, 7].mean((-2, -1)), ["fails on states (3, 4, 8, 8)", "index 7"]),
    "empty band": (spectral_band(CE, low=6), ["no wave number", "5.657", "[6, inf)"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_observable_that_is_wrong_is_named_with_what_was_found(name: str) -> None:
    function, words = WRONG[name]
    with pytest.raises(UserError) as caught:
        check(function, "mine", CE, states(CE), states(CE, seed=1))
    assert all(word in str(caught.value) for word in words), caught.value
    assert name == "empty band" or "observable 'mine' of compressible Euler" in str(caught.value)


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_observables.py").write_text(
        "def peak(system, *, power=1):\n"
        "    return lambda p, y, x: ((p - y).abs() ** power).amax((-3, -2, -1))\n"
        "def nothing(system):\n    return None\n"
        "def fails(system):\n    return 1 / 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "my_observables"


def test_an_observable_of_ones_own_is_called_by_its_import_path(user_module: str) -> None:
    peak = load(f"{user_module}:peak", {"power": 2}, CE)
    check(peak, "peak", CE, states(CE), states(CE, seed=1))
    assert peak(uniform(1, 2), uniform(0, 4), uniform(0, 0)).tolist() == [4.0]
    band = load("surroscope.observables.spectral:spectral_band", {"low": 1, "high": 2.5}, NS)
    check(band, "band", NS, states(NS), states(NS, seed=1))


@pytest.mark.parametrize(
    ("factory", "options", "words"),
    [
        ("no_such_module:peak", {}, ["'no_such_module:peak'", "cannot be imported", "package.module:function"]),
        ("my_observables:speak", {}, ["cannot be imported", "speak"]),
        ("my_observables", {}, ["cannot be imported", "package.module:function"]),
        ("my_observables:peak", {"powr": 2}, ["{'powr': 2}", "powr"]),
        ("my_observables:fails", {}, ["fails", "division by zero"]),
        ("my_observables:nothing", {}, ["gives None", "(prediction, target, state)"]),
        ("surroscope.observables.spectral:spectral_band", {"low": 3, "high": 3}, ["low < high", "low 3"]),
        ("surroscope.observables.spectral:spectral_band", {"low": "a"}, ["spectral_band", "fails"]),
    ],
)
def test_a_factory_that_cannot_be_used_is_refused(
    user_module: str, factory: str, options: dict, words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        load(factory, options, CE)
    assert all(word in str(caught.value) for word in words), caught.value
