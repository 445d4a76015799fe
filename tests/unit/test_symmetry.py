"""The group of the periodic square: its axioms, how it acts on fields, and that the equations keep it."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import jvp, vmap

from surroscope.errors import UserError
from surroscope.observables.flow import enstrophy, kinetic_energy
from surroscope.physics import euler, navier_stokes
from surroscope.symmetry import D4, Action, actions
from surroscope.system import COMPRESSIBLE_EULER, NAVIER_STOKES, System

CE, NS = COMPRESSIBLE_EULER, NAVIER_STOKES
BOTH = ("turns", "shifts")
PIPE = System("pipe", "gas in a pipe", ("density", "momentum_x", "energy"), vectors=(("momentum_x",),), symmetries=BOTH)
DYE = System("dye", "two dyes", ("dye", "other"), symmetries=BOTH, boundary="open")
# What maps a grid that is not square to itself.
STRAIGHT = ("e", "r2", "s", "sr2")
ACTIONS = {name: Action.parse(name) for name in (*D4, "x3", "y5", "x2y7")}
TURN, MIRROR = np.array([[0, -1], [1, 0]]), np.array([[-1, 0], [0, 1]])
TURNS = [np.linalg.matrix_power(TURN, count) for count in range(4)]
MATRICES = dict(zip(D4, [*TURNS, *(MIRROR @ turn for turn in TURNS)], strict=True))


def noise(system: System, *, grid: tuple[int, int] = (6, 6), batch: int = 2) -> Tensor:
    return torch.randn(batch, len(system.channels), *grid, generator=torch.Generator().manual_seed(0))


def centres(size: int) -> tuple[Tensor, Tensor]:
    """Cell centres about the middle of the square, x and y, (N, N)."""
    axis = (torch.arange(size, dtype=torch.float64) + 0.5) / size - 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


@pytest.mark.parametrize("name", D4)
def test_a_name_stands_for_its_matrix(name: str) -> None:
    assert np.array_equal(ACTIONS[name].matrix, MATRICES[name])


@pytest.mark.parametrize("system", [CE, NS], ids=["CE", "NS"])
def test_one_action_after_another_is_the_action_of_the_product(system: System) -> None:
    states = noise(system)
    for second, first in itertools.product(D4, D4):
        (product,) = (name for name in D4 if np.array_equal(MATRICES[name], MATRICES[second] @ MATRICES[first]))
        found = ACTIONS[second](ACTIONS[first](states, system), system)
        assert torch.equal(found, ACTIONS[product](states, system)), (second, first)
    assert torch.equal(ACTIONS["e"](states, system), states)


@pytest.mark.parametrize("name", D4)
def test_fields_are_carried_along(name: str) -> None:
    def flow(x: Tensor, y: Tensor) -> Tensor:
        k = 2 * math.pi
        parts = (torch.sin(k * x), torch.cos(2 * k * y + 1), torch.sin(k * (x + 2 * y)), torch.cos(k * x - 0.3))
        return torch.stack(parts)

    (a, b), (c, d) = MATRICES[name].T.tolist()
    x, y = centres(8)
    expected = flow(a * x + b * y, c * x + d * y)
    expected[1:3] = torch.einsum("ij,jyx->iyx", torch.from_numpy(MATRICES[name]).double(), expected[1:3])
    assert torch.allclose(ACTIONS[name](flow(x, y), CE), expected, atol=1e-14)


def test_a_turned_wind_and_a_radial_one() -> None:
    east = torch.tensor([1.0, 0.0])[:, None, None].expand(2, 4, 4)
    assert ACTIONS["r"](east, NS)[:, 0, 0].tolist() == [0, 1]
    assert ACTIONS["s"](east, NS)[:, 0, 0].tolist() == [-1, 0]
    assert ACTIONS["sr"](east, NS)[:, 0, 0].tolist() == [0, 1]
    radial = torch.stack(centres(8))
    for name in D4:
        assert torch.equal(ACTIONS[name](radial, NS), radial), name


@pytest.mark.parametrize("name", ACTIONS)
def test_values_only_change_places(name: str) -> None:
    states = noise(CE)
    found = ACTIONS[name](states, CE)
    for quantity in (lambda s: s[:, 0], lambda s: s[:, 3], lambda s: s[:, 1] ** 2 + s[:, 2] ** 2):
        before, after = (quantity(each).flatten(1).sort().values for each in (states, found))
        assert torch.equal(before, after)


def test_shifts_compose_and_wrap() -> None:
    states = noise(NS)
    assert torch.equal(ACTIONS["x3"](states, NS)[..., 1, 5], states[..., 1, 2])
    assert torch.equal(ACTIONS["y5"](states, NS)[..., 0, 4], states[..., 1, 4])
    for first, second, both in [("x3", "x1", "x4"), ("x2", "y7", "x2y7"), ("x4", "x5", "x3"), ("x6", "y6", "e")]:
        found = Action.parse(second)(Action.parse(first)(states, NS), NS)
        assert torch.equal(found, Action.parse(both)(states, NS)), both


@pytest.mark.parametrize("name", ["", "E", "r4", "rs", "s2", "x", "x-3", "x1.5", "y3x8", "x3y", "t3", "x3 "])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"symmetry '.*' is unknown; choose from e, r, .* x8y3"):
        Action.parse(name)


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4)])
def test_states_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"compressible Euler must have shape \(\.\.\., 4, Y, X\), found"):
        ACTIONS["r"](torch.zeros(shape), CE)


@pytest.mark.parametrize(
    ("name", "grid", "system", "reason"),
    [
        ("r", (4, 6), CE, "need a square grid, and this one has 4 x 6 cells"),
        ("sr3", (1, 6), CE, "need a square grid, and this one has 1 x 6 cells"),
        ("x3", (4, 4), DYE, "shifts go round the edge, and the boundary of two dyes is open"),
        ("y3", (1, 8), DYE, "shifts go round the edge"),
        ("sr", (4, 4), PIPE, "need both components of a vector, and momentum_x stands alone"),
    ],
)
def test_an_action_that_does_not_fit_says_why(name: str, grid: tuple[int, int], system: System, reason: str) -> None:
    action = Action.parse(name)
    assert reason in str(action.misfit(grid, system))
    with pytest.raises(ValueError, match=f"symmetry '{name}' does not fit states .*{reason}"):
        action(noise(system, grid=grid), system)


@pytest.mark.parametrize("grid", [(6, 6), (4, 6), (1, 6)], ids=str)
def test_what_fits_a_grid(grid: tuple[int, int]) -> None:
    square = grid == (6, 6)
    assert {name for name in D4 if not ACTIONS[name].misfit(grid, CE)} == set(D4 if square else STRAIGHT)
    assert {name for name in D4 if not ACTIONS[name].misfit(grid, DYE)} == set(D4 if square else STRAIGHT)
    assert {name for name in D4 if not ACTIONS[name].misfit(grid, PIPE)} == set(STRAIGHT)
    assert not any(ACTIONS[name].misfit(grid, CE) for name in ("x3", "y5", "x2y7"))


@pytest.mark.parametrize("grid", [(4, 6), (1, 6)], ids=str)
@pytest.mark.parametrize("system", [CE, NS, PIPE, DYE], ids=lambda system: system.name)
def test_the_group_of_a_grid_that_is_not_square(system: System, grid: tuple[int, int]) -> None:
    states = noise(system, grid=grid)
    for second, first in itertools.product(STRAIGHT, STRAIGHT):
        (product,) = (name for name in STRAIGHT if np.array_equal(MATRICES[name], MATRICES[second] @ MATRICES[first]))
        found = ACTIONS[second](ACTIONS[first](states, system), system)
        assert torch.equal(found, ACTIONS[product](states, system)), (second, first)
    assert torch.equal(ACTIONS["e"](states, system), states)


def test_shifts_compose_and_wrap_on_a_grid_that_is_not_square() -> None:
    states = noise(NS, grid=(4, 6))
    assert torch.equal(Action.parse("x2y3")(states, NS)[..., 1, 5], states[..., 2, 3])
    for first, second, both in [("x5", "x2", "x1"), ("y3", "x2", "x2y3"), ("x6", "y4", "e")]:
        found = Action.parse(second)(Action.parse(first)(states, NS), NS)
        assert torch.equal(found, Action.parse(both)(states, NS)), both
    line = noise(PIPE, grid=(1, 6))
    assert torch.equal(Action.parse("x2y3")(line, PIPE), line.roll(2, -1))


@pytest.mark.parametrize("name", ["s", "r2"])
def test_a_mirrored_line_turns_its_wind_round(name: str) -> None:
    line = noise(PIPE, grid=(1, 6))
    expected = line.flip(-1) * torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    assert torch.equal(ACTIONS[name](line, PIPE), expected)
    assert torch.equal(ACTIONS["sr2"](line, PIPE), line)
    scalars = noise(DYE, grid=(1, 6))
    assert torch.equal(ACTIONS[name](scalars, DYE), scalars.flip(-1))


@pytest.mark.parametrize("system", [CE, PIPE, DYE], ids=lambda system: system.name)
@pytest.mark.parametrize("grid", [(6, 6), (4, 6), (1, 6)], ids=str)
def test_what_moves_nothing_is_known_beforehand(grid: tuple[int, int], system: System) -> None:
    states = noise(system, grid=grid)
    for name in (*D4, "x0", "x3", "x6", "y4", "x6y12", "x12y4", "y1"):
        action = Action.parse(name)
        if not action.misfit(grid, system):
            assert action.moves_nothing(grid, system) == torch.equal(action(states, system), states), name


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_are_linear_and_can_be_mapped(name: str) -> None:
    states, tangent = noise(CE), noise(CE).flip(0)

    def act(each: Tensor) -> Tensor:
        return ACTIONS[name](each, CE)

    assert torch.equal(jvp(act, (states,), (tangent,))[1], act(tangent))
    assert torch.equal(vmap(act)(states), act(states))


@pytest.mark.parametrize("name", ACTIONS)
def test_kinetic_energy_and_enstrophy_are_the_same_after_an_action(name: str) -> None:
    for system, quantity in ((CE, kinetic_energy(1, 2, 0)), (NS, kinetic_energy(0, 1)), (NS, enstrophy(0, 1))):
        states = noise(system).double()
        assert torch.allclose(quantity(ACTIONS[name](states, system)), quantity(states), rtol=1e-10)


def gas() -> Tensor:
    """Constant states on blocks that have no symmetry of their own."""
    rng = np.random.default_rng(0)
    low, high = np.array([0.2, -0.8, -0.8, 0.2]), np.array([1.5, 0.8, 0.8, 1.0])
    states = low + (high - low) * rng.uniform(size=(1, 4, 4, 4))
    return euler.conserved(torch.tensor(np.kron(np.moveaxis(states, -1, 1), np.ones((4, 4)))))


def fluid() -> Tensor:
    spectrum = torch.fft.rfft2(torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(3)).double())
    spectrum[..., 4:], spectrum[..., 4:-3, :] = 0, 0
    return torch.fft.irfft2(spectrum, s=(16, 16)) / 0.3


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("system", [CE, NS], ids=["CE", "NS"])
def test_the_solvers_commute_with_every_action(system: System, name: str) -> None:
    solve, initial = (euler.solve, gas()) if system is CE else (navier_stokes.solve, fluid())
    plain, moved = (solve(each, [0.0, 0.1]).states[:, 1] for each in (initial, ACTIONS[name](initial, system)))
    assert (plain - initial).norm() > 0.05 * initial.norm()
    assert torch.allclose(moved, ACTIONS[name](plain, system), rtol=0, atol=1e-12)


def test_a_study_looks_at_what_fits_and_moves_something() -> None:
    assert actions((8, 8), CE) == list(D4)
    shifted = actions((8, 8), CE, line=3, box=2)
    assert shifted == [*D4, "x1", "x2", "x3", "y1", "y2", "y3", "x1y1", "x1y2", "x2y1", "x2y2"]
    assert actions((8, 8), CE, line=1, box=2)[8:] == ["x1", "x2", "y1", "y2", "x1y1", "x1y2", "x2y1", "x2y2"]
    assert actions((4, 8), CE, line=1) == [*STRAIGHT, "x1", "y1"]
    assert actions((4, 8), DYE, line=2, box=2) == list(STRAIGHT)
    assert actions((1, 8), PIPE, line=2, box=2) == ["e", "r2", "s", "x1", "x2"]


def test_equations_are_looked_at_under_the_symmetries_that_they_have() -> None:
    assert actions((8, 8), replace(CE, symmetries=()), line=2, box=2) == ["e"]
    assert actions((8, 8), replace(CE, symmetries=("turns",)), line=2) == list(D4)
    assert actions((8, 8), replace(CE, symmetries=("shifts",)), line=1) == ["e", "x1", "y1"]
