"""Statistics of influence on matrices whose statistics are known, and rollouts of a surrogate that is exact."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from surroscope.cost_function import smse
from surroscope.diagnostics import coherence, coupling, equivariance, scalars
from surroscope.diagnostics.distance import distance
from surroscope.diagnostics.rollout import drift, errors, rollout
from surroscope.diagnostics.scalars import Measured
from surroscope.diagnostics.signature import Estimate, signature
from surroscope.influence.normalize import standard
from surroscope.observables.named import observable
from surroscope.symmetry import Action
from surroscope.system import COMPRESSIBLE_EULER, NAVIER_STOKES

BATCHES, CLASSES, TIMES = 4, 3, 6
NAMES, SEEDS = ["a", "b", "c"], np.array([1, 1, 2, 2])


def known(transfer: float = 0.5) -> np.ndarray:
    """H = exp(-|lag|) within a class and `transfer` times that between classes, plus 10 x lag where τ > t."""
    times = np.arange(TIMES)
    lag = times[:, None] - times
    block = np.exp(-np.abs(lag)) + 10.0 * np.maximum(lag, 0)
    classes = np.where(np.eye(CLASSES, dtype=bool), 1.0, transfer)
    return np.tile(np.einsum("ab,rp->arbp", classes, block), (BATCHES, 1, 1, 1, 1))


def test_two_time_has_the_perturbation_and_response_the_right_way_round() -> None:
    table = coherence.two_time(known(), SEEDS).set_index(["perturbation_time", "response_time"])["median"]
    assert table[2, 2] == pytest.approx(1)
    assert table[1, 3] == pytest.approx(np.exp(-2) + 20)
    assert table[3, 1] == pytest.approx(np.exp(-2))


def test_time_lag_separates_relations_and_signs() -> None:
    table = coherence.time_lag(known(), SEEDS).set_index(["relation", "lag"])["median"]
    assert table["intra-class", 1] == pytest.approx(np.exp(-1) + 10)
    assert table["intra-class", -1] == pytest.approx(np.exp(-1))
    assert table["inter-class", -1] == pytest.approx(0.5 * np.exp(-1))
    assert sorted(set(table.index.get_level_values("lag"))) == list(range(1 - TIMES, TIMES))


def test_class_transfer_has_the_response_and_perturbation_the_right_way_round() -> None:
    h = known()
    h[:, 0, :, 2] *= 7
    table = coherence.class_transfer(h, SEEDS, NAMES).set_index(["perturbation_class", "response_class"])["median"]
    assert table["c", "a"] == pytest.approx(3.5)
    assert table["a", "c"] == pytest.approx(0.5)
    assert table["b", "b"] == pytest.approx(1)


def test_interpolation_finds_a_function_of_distance_and_leaves_the_diagonal_out() -> None:
    draw = np.random.default_rng(0)
    points = draw.uniform(size=(BATCHES, CLASSES * TIMES, 2))
    distance = np.square(points[:, :, None] - points[:, None]).sum(-1)
    h = np.where(distance == 0, 1e9, -np.log10(np.maximum(distance, 1e-12)))
    shape = (BATCHES, CLASSES, TIMES, CLASSES, TIMES)
    table = coherence.interpolation(h.reshape(shape), SEEDS, distance.reshape(shape), 19, 1)
    assert np.allclose(table["median"], -np.log10(table["distance"]), atol=0.25)
    crossing = coherence.first_crossing(table["distance"].to_numpy(), table["median"].to_numpy(), 0.0)
    spacing = table["distance"].iloc[-1] / table["distance"].iloc[-2]
    assert 1 / spacing < crossing < spacing


def test_bins_are_log_spaced_and_overlap_by_their_half_width() -> None:
    centres, lower, upper = coherence.distance_bins(np.array([0.0, 0.01, 1.0]), 3, 2)
    assert np.allclose(centres, [0.01, 0.1, 1])
    assert np.allclose(upper / centres, 100)
    assert np.allclose(centres / lower, 100)


def test_quartiles_refuse_missing_values() -> None:
    with pytest.raises(ValueError, match="1 of them NaN"):
        coherence.quartiles(np.array([1.0, np.nan]))
    assert coherence.quartiles(np.arange(5.0)) == {"q25": 1, "median": 2, "q75": 3}


@pytest.mark.parametrize(("level", "expected"), [(0.5, 1.5), (2.0, 0.0), (-1.0, np.inf)])
def test_first_crossing_interpolates(level: float, expected: float) -> None:
    assert coherence.first_crossing(np.array([0.0, 1, 2]), np.array([1.0, 1, 0]), level) == expected


def test_half_life_looks_both_ways() -> None:
    assert scalars.half_life(np.array([0.0, 1.0, 2.0, 3.0, 0.0])) == pytest.approx(1.5)


DISTANCES = np.random.default_rng(1).uniform(0.1, 1, size=(4, 2, 3, 2, 3))


def measured(**changes: Any) -> Measured:
    """Two seeds with two batches each, of two classes, three times and one conserved channel, with simple numbers."""
    shape = (4, 2, 3, 2, 3)
    draw = np.random.default_rng(0)
    influence = draw.uniform(0.1, 0.4, size=shape)
    influence[:, [0, 1], :, [0, 1]] += 0.5
    np.einsum("nctct->nct", influence)[:] = 2.0
    later = np.triu(np.ones((4, 5), bool), 1)
    standardised = standard(influence.reshape(4, 6, 6)).reshape(shape)
    centres, binned = coherence.binned(standardised, DISTANCES, 5, 1)
    known = {
        "seeds": SEEDS,
        "influence": influence,
        "standardised": standardised,
        "centres": tuple(centres),
        "binned": binned,
        "eigenvalue": np.tile([4.0, 2.0, np.nan], (4, 1)),
        "outputs": 10,
        "error": np.where(later, np.arange(5.0), np.nan) * np.ones((4, 2, 1, 1)),
        "persistence": np.where(later, 2.5, np.nan) * np.ones((4, 2, 1, 1)),
        "image_error": np.array([1.0, 2.0, 3.0, 8.0])[None, :, None, None] * np.ones((4, 4, 2, 3)),
        "actions": ("e", "r", "s", "x1"),
        "drift": np.arange(4.0)[:, None] * np.ones((4, 2, 4, 1)),
        "zero_gradients": np.zeros((4, 1), int),
        "observables": ("smse",),
    }
    return Measured(**known | changes)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("diagonal_mean", 2.0),
        ("largest_metric_eigenvalue", 40.0),
        ("condition", 2.0),
        ("participation_ratio", 36 / 20),
        ("rank", 2.0),
        ("trust_horizon", 3.0),
        ("conservation_drift", 2.0),
        ("equivariance_error", 2.5),
    ],
)
def test_scalars_of_simple_numbers(name: str, expected: float) -> None:
    assert scalars.SCALARS[name].value(measured()) == pytest.approx(expected)


def test_scalars_are_what_the_tables_say() -> None:
    m = measured()
    value = {name: scalar.value(m) for name, scalar in scalars.SCALARS.items()}
    lags = coherence.time_lag(m.standardised, SEEDS).set_index(["relation", "lag"])["median"]
    classes = coherence.class_transfer(m.standardised, SEEDS, NAMES[:2])
    own = classes.perturbation_class == classes.response_class
    assert value["intra_class_lag_1"] == pytest.approx(lags["intra-class", 1])
    assert value["inter_class_lag_2"] == pytest.approx(lags["inter-class", 2])
    assert np.isnan(value["intra_class_lag_8"])
    assert value["class_diagonal"] == pytest.approx(classes["median"][own].median())
    assert value["class_transfer_ratio"] == pytest.approx(value["class_off_diagonal"] / value["class_diagonal"])
    table = coherence.interpolation(m.standardised, SEEDS, DISTANCES, 5, 1)
    assert value["influence_nearest"] == pytest.approx(table["median"].iloc[0])
    h = m.influence.reshape(4, 6, 6)
    assert value["off_diagonal_mean"] == pytest.approx(h[:, ~np.eye(6, dtype=bool)].mean())


def test_scalars_that_have_no_finite_value() -> None:
    still = measured(drift=np.zeros((4, 2, 4, 0)), error=np.zeros((4, 2, 4, 5)), actions=("e", "x1", "x2", "x3"))
    for name, expected in (("conservation_drift", np.nan), ("trust_horizon", np.inf), ("equivariance_error", np.nan)):
        assert scalars.SCALARS[name].value(still) == pytest.approx(expected, nan_ok=True)
    flat = measured(eigenvalue=np.tile([1.0, 0.0], (4, 1)))
    assert scalars.SCALARS["condition"].value(flat) == np.inf


def test_a_class_at_rest_or_without_gradients_is_left_out() -> None:
    m = measured()
    at_rest = m.persistence * np.array([0, 1])[:, None, None]
    exact = m.error * np.array([0, 1])[:, None, None]
    still = measured(persistence=at_rest, error=exact)
    assert scalars.SCALARS["trust_horizon"].value(still) == scalars.SCALARS["trust_horizon"].value(m) == 3
    assert np.isnan(scalars.SCALARS["trust_horizon"].value(measured(persistence=0 * m.persistence)))
    silent = m.influence * np.array([0, 1])[:, None, None, None]
    ratio = scalars.off_diagonal_ratio(silent)
    assert np.isnan(ratio[:, 0]).all()
    assert scalars.SCALARS["off_diagonal_ratio"].value(measured(influence=silent)) == np.median(ratio[:, 1])


def test_every_scalar_is_defined_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs/scalars.md").read_text()
    for name in [*scalars.SCALARS, *(name for name in coupling.SCALARS if "_damped" not in name)]:
        assert f"`{name}`" in text or f"`{re.sub(r'_lag_[0-9]+$', '_lag_d', name)}`" in text


def test_units_may_repeat_and_are_taken_whole() -> None:
    m = measured()
    assert m.standardised.shape == m.influence.shape
    again = m.take(np.array([2, 2, 0, 1]))
    assert again.seeds.tolist() == [2, 2, 1, 1]
    assert np.array_equal(again.standardised, m.standardised[[2, 2, 0, 1]])


def test_drift_is_relative_to_the_mean_size_of_what_was_there() -> None:
    first = torch.tensor([[[[1.0, -3.0]]]])
    true = torch.stack([first, 3 * first], dim=1)  # mean size 2, then 6
    found = drift(true, torch.stack([first + 0.5, first * torch.inf, first], dim=1))
    assert found[0, :, 0].tolist() == pytest.approx([0.125, np.inf, 0.0])
    still = torch.zeros(1, 2, 1, 1, 2)
    assert drift(still, torch.tensor([0.0, 1e-7]).reshape(1, 2, 1, 1, 1)).flatten().tolist() == [0.0, np.inf]


class Southward(nn.Module):
    """Moves everything by one cell along y, which turns do not commute with."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.roll(x, 1, dims=-2)


def test_errors_at_images_are_zero_for_what_commutes_and_only_for_that() -> None:
    states = torch.rand(70, 2, 6, 6, generator=torch.Generator().manual_seed(0)) - 0.5
    actions = [Action.parse(name) for name in ("e", "s", "x2y3", "r", "sr2")]
    found = equivariance.errors(Southward(), states[:, None], torch.roll(states, 1, dims=-2), actions, NAVIER_STOKES)
    assert found.shape == (5, 70)
    assert (found[:3] == 0).all()
    assert (found[3:] > 0.1).all()


@pytest.mark.parametrize(
    ("half_life", "transfer", "validation", "label"),
    [
        (1.0, 0.1, 0.1, "time-locked and class-locked"),
        (1.0, 0.9, 0.1, "time-locked"),
        (9.0, 0.1, 0.1, "class-locked"),
        (np.inf, 0.9, 0.1, "coherent"),
        (np.inf, 0.9, 2.0, "not trained"),
    ],
)
def test_the_signature(half_life: float, transfer: float, validation: float, label: str) -> None:
    found, sentence = signature(Estimate(half_life), Estimate(transfer), validation, 1.0, 7)
    assert found == label
    assert "nan" not in sentence
    assert "inf " not in sentence
    assert ("more than 7 steps" in sentence) == (label == "coherent")
    assert "settled" not in sentence


def test_a_signature_gives_its_intervals_and_says_what_they_leave_open() -> None:
    open_ended = Estimate(1.5, 0.5, np.inf)
    label, sentence = signature(open_ended, Estimate(-0.03, -0.1, 0.05), 0.1, 1.0, 7)
    assert label == "time-locked and class-locked"
    assert "1.5 steps (0.5 to more than 7; time-locked: 2 or fewer)" in sentence
    reaches = "−3 % of it reaches other classes (−10 % to 5 %; not told from zero; class-locked: below 25 %)"
    assert reaches in sentence.replace("\N{NO-BREAK SPACE}", " ")
    assert sentence.endswith("Whether it is time-locked is not settled: the 95 % interval spans the limit.")
    _, sentence = signature(Estimate(9, 8, 10), Estimate(-0.2, -0.3, -0.1), 0.1, 1.0, 7)
    assert "(−30 % to −10 %; harm; class-locked: below 25 %)" in sentence.replace("\N{NO-BREAK SPACE}", " ")
    assert "settled" not in sentence
    _, sentence = signature(Estimate(9, 1, 10), Estimate(0.2, 0.1, 0.3), 0.1, 1.0, 7)
    assert "time-locked and class-locked is not settled" in sentence


def test_no_signature_of_missing_numbers() -> None:
    label, sentence = signature(Estimate(np.nan), Estimate(0.1), 0.1, 1.0, 7)
    assert label == "undecided"
    assert "no help to compare with" in sentence


class Shift(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.roll(x, 1, dims=-1)


def moving(steps: int = 5) -> torch.Tensor:
    path = [torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))]
    for _ in range(steps):
        path.append(torch.roll(path[-1], 1, dims=-1))
    return torch.stack(path, dim=1)


def test_an_exact_surrogate_has_no_rollout_error_and_persistence_has() -> None:
    trajectories = moving()
    surrogate, persistence = errors(Shift(), trajectories)
    later = np.triu(np.ones((5, 6), bool), 1)
    assert (surrogate[:, later] == 0).all()
    assert (persistence[:, later] > 0).all()
    assert torch.isnan(surrogate[:, ~later]).all()
    assert torch.equal(rollout(Shift(), trajectories[:, 1], 3), trajectories[:, 2:5])


def test_a_rollout_that_leaves_the_numbers_has_infinite_error() -> None:
    class Explode(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 1e30

    surrogate, _ = errors(Explode(), moving())
    assert torch.isinf(surrogate[0, 0, 3])


def test_smse_divides_the_squared_error_by_the_scale_of_the_target() -> None:
    target = torch.ones(2, 4, 3, 3, dtype=torch.float64) * torch.tensor([1.0, 2, 4, 8], dtype=torch.float64).view(
        4, 1, 1
    )
    found = smse(target + 0.5, target, target)
    expected = np.mean([0.25 / (scale + 1e-6) for scale in (1, 2, 4, 8)])
    assert found.tolist() == pytest.approx([expected] * 2)


def test_conservation_observables_compare_means_with_the_input() -> None:
    state = torch.ones(1, 4, 3, 3, dtype=torch.float64) * torch.tensor([2.0, 0, 0, 5], dtype=torch.float64).view(
        4, 1, 1
    )
    prediction = state + torch.tensor([0.3, 9, 9, -0.5], dtype=torch.float64).view(4, 1, 1)
    mass, energy = (observable(name, COMPRESSIBLE_EULER) for name in ("mass", "energy"))
    assert mass(prediction, torch.zeros_like(state), state).item() == pytest.approx(0.09 / 2.000001)
    assert energy(prediction, torch.zeros_like(state), state).item() == pytest.approx(0.25 / 5.000001)


def test_distance_is_symmetric_zero_on_the_diagonal_and_as_defined() -> None:
    states = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    found = distance(states)
    rms = states.square().mean((-2, -1)).sqrt()
    expected = ((states[0] - states[1]).square().mean((-2, -1)) / (0.5 * (rms[0] + rms[1]) + 1e-6)).mean()
    assert found[0, 1].item() == pytest.approx(expected.item())
    assert torch.allclose(found, found.T)
    assert (found.diagonal() == 0).all()
