"""Intervals over seeds and probe batches: what is resampled, and how often they hold the truth."""

import numpy as np
import pytest

from surroscope.diagnostics import bootstrap

STUDIES = 200


def test_a_draw_takes_whole_seeds_and_of_each_its_own_units() -> None:
    seeds = np.repeat([10, 35, 42], 4)
    for units in bootstrap.draws(seeds)[:50]:
        for drawn in units.reshape(3, 4):
            assert len(set(seeds[drawn])) == 1
    assert len({tuple(units) for units in bootstrap.draws(seeds)}) > 400
    with pytest.raises(ValueError, match=r"\[1, 2\] probe batches"):
        bootstrap.draws(np.array([1, 1, 2]))


def test_entries_of_one_unit_are_not_resampled() -> None:
    """Many dependent entries do not make an interval narrower: it is that of the units' own values."""
    units = np.random.default_rng(0).normal(size=12)
    seeds = np.repeat([1, 2, 3], 4)
    once = bootstrap.median_interval(units, seeds)
    assert bootstrap.median_interval(np.repeat(units[:, None], 100, axis=1), seeds) == once
    assert once[1] - once[0] > 0.5


def test_an_interval_of_any_statistic_is_that_of_the_median() -> None:
    values, seeds = np.random.default_rng(1).normal(size=(12, 5)), np.repeat([1, 2, 3], 4)
    found = bootstrap.interval(lambda units: np.median(values[units]), seeds)
    assert found == pytest.approx(bootstrap.median_interval(values, seeds))


def test_ends_stay_in_the_range_of_what_is_declared_positive_and_of_that_alone() -> None:
    low, high = bootstrap.median_interval(np.array([1e-3, 1e-2, 2e-2]), np.arange(3), positive=True)
    assert 0 < low < 1e-2 < high
    assert bootstrap.median_interval(np.array([0.0, 1e-2, 2e-2]), np.arange(3), positive=True)[0] == 0
    assert bootstrap.median_interval(np.array([1e-3, 1e-2, 2e-2]), np.arange(3))[0] < 0


@pytest.mark.parametrize("missing", [0, 3])
def test_an_interval_of_what_may_have_either_sign_does_not_depend_on_the_sign(missing: int) -> None:
    values = np.random.default_rng(4).uniform(0.1, 0.4, size=12)
    values[:missing] = np.nan
    seeds = np.repeat([1, 2, 3], 4)
    low, high = bootstrap.median_interval(values, seeds)
    assert bootstrap.median_interval(-values, seeds) == pytest.approx((-high, -low))
    ends = bootstrap.interval(lambda units: np.array([1, -1]) * np.median(values[units]), seeds)
    np.testing.assert_allclose(ends[0], -ends[1][::-1])


def test_what_has_no_value_has_no_interval() -> None:
    def mean_of_finite(units: np.ndarray) -> np.ndarray:
        return np.array(np.nan if 0 in units else 1.0)

    assert np.isnan(bootstrap.interval(mean_of_finite, np.arange(4))).all()


def test_draws_without_a_value_are_left_out_and_infinite_ones_are_ends() -> None:
    seeds = np.ones(4, int)
    assert np.isnan(bootstrap.median_interval(np.ones((1, 9)), seeds[:1])).all()
    assert np.isnan(bootstrap.interval(lambda units: np.array(np.nan), seeds)).all()
    low, high = bootstrap.median_interval(np.array([1.0, 2.0, 3.0, np.inf]), seeds)
    assert np.isfinite(low)
    assert np.isinf(high)


@pytest.mark.parametrize(
    ("seeds", "probes", "between", "least", "most"),
    [(3, 4, 0.0, 0.94, 1.0), (3, 4, 1.0, 0.86, 0.97), (3, 18, 2.0, 0.74, 0.88), (10, 4, 1.0, 0.91, 0.99)],
)
def test_how_often_an_interval_holds_the_truth(
    seeds: int, probes: int, between: float, least: float, most: float
) -> None:
    """docs/scalars.md shows these: of 95 % intervals, less where few seeds differ much. Entries vary as batches do."""
    draw = np.random.default_rng(2)
    labels = np.repeat(np.arange(seeds), probes)
    held = 0
    for _ in range(STUDIES):
        of_seeds = between * draw.normal(size=seeds)
        units = of_seeds[labels] + draw.normal(size=seeds * probes)
        low, high = bootstrap.median_interval(units[:, None] + draw.normal(size=(len(units), 10)), labels)
        held += low <= 0 <= high
    assert least <= held / STUDIES <= most
