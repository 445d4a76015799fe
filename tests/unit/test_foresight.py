"""Rank correlations over few networks: against scipy, tables in print, enumeration; what foretells and what not."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from surroscope.diagnostics import foresight
from surroscope.tables import foresight as tables

NAN, INF = np.nan, np.inf


def test_rank_correlations_are_those_of_scipy_and_leave_out_what_has_no_value() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 12))
    x[3] = x[5]
    assert foresight.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    gaps = np.append(x, [NAN, 1.0]), np.append(y, [2.0, NAN])
    assert foresight.spearman(*gaps) == pytest.approx(foresight.spearman(x, y), abs=1e-12)
    # An infinite half-life is the longest.
    assert foresight.spearman(np.array([1, 2, INF]), np.array([5.0, 6, 7])) == 1
    assert np.isnan(foresight.spearman(np.ones(5), y[:5]))
    assert np.isnan(foresight.spearman(x[:2], y[:2]))


def test_a_partial_correlation_is_that_of_what_a_line_through_the_ranks_leaves() -> None:
    z = np.random.default_rng(1).normal(size=15)
    x, y = z + np.random.default_rng(2).normal(size=(2, 15))
    ranks = [stats.rankdata(values) for values in (x, y, z)]
    left = [of - np.polyval(np.polyfit(ranks[2], of, 1), ranks[2]) for of in ranks[:2]]
    assert foresight.partial(x, y, z) == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-12)
    assert np.isnan(foresight.partial(z**3, y, z))


def test_chance_and_its_limit_are_counted_out() -> None:
    orders = np.array(list(permutations(range(5))))
    rhos = np.array([stats.spearmanr(np.arange(5), order).statistic for order in orders])
    for rho in np.unique(np.round(rhos, 6)):
        assert foresight.chance(rho, 5) == pytest.approx((np.abs(rhos) >= abs(rho) - 1e-6).mean(), abs=1e-12)
    values, probability = foresight.null(5)
    np.testing.assert_allclose(values, np.unique(np.round(rhos, 9)), atol=1e-8)
    assert probability.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("n", "limit"), [(5, 1.0), (6, 0.886), (7, 0.786), (8, 0.738), (9, 0.7), (10, 0.648), (11, 0.618)]
)
def test_critical_values_are_those_in_print(n: int, limit: float) -> None:
    assert foresight.critical(n) == pytest.approx(limit, abs=5e-4)
    smaller = max(rho for rho in foresight.null(n)[0] if rho < foresight.critical(n) - 1e-9)
    assert foresight.chance(foresight.critical(n), n) <= 0.05 < foresight.chance(smaller, n)


def test_of_four_no_order_is_rare_enough_and_of_many_the_limit_goes_on_as_it_was() -> None:
    assert np.isnan(foresight.critical(4))
    assert np.isnan(foresight.critical(2))
    assert 0 < foresight.critical(14) - foresight.critical(15) < 0.03
    assert foresight.chance(foresight.critical(20), 20) == pytest.approx(0.05, abs=1e-9)
    assert foresight.chance(1.0, 20) == 0
    assert np.isnan(foresight.chance(NAN, 8))


def test_many_tests_are_corrected_for() -> None:
    found = foresight.holm(np.array([0.01, 0.04, NAN, 0.03, 0.005]))
    np.testing.assert_allclose(found, [0.03, 0.06, NAN, 0.06, 0.02])
    assert foresight.holm(np.array([0.7, 0.9])).max() == 1


def test_a_number_at_an_error_is_linear_in_its_logarithm() -> None:
    errors, values = np.array([1.0, 0.1, 0.2, 0.01]), np.array([0.0, 1.0, 7.0, 3.0])
    assert foresight.at_error(errors, values, 10**-0.25) == pytest.approx(0.25)
    assert foresight.at_error(errors, values, 0.1) == 1.0
    assert foresight.at_error(errors, values, 1.0) == 0.0
    assert foresight.at_error(errors, values, 0.05) == pytest.approx(7 - 4 * np.log(4) / np.log(20))
    assert np.isnan(foresight.at_error(errors, values, 0.001))
    assert np.isnan(foresight.at_error(errors, values, 2.0))
    assert foresight.at_error(np.array([1.0, 0.1]), np.array([INF, INF]), 0.5) == INF


def made(x: np.ndarray, errors: np.ndarray, seeds: list[int], name: str = "half_life") -> pd.DataFrame:
    """Numbers x (models, seeds) of networks whose validation errors are (models, seeds) at epoch 1, a tenth at 5."""
    return pd.DataFrame(
        [
            {"model": f"m{m}", "seed": seed, "epoch": epoch, name: x[m, s], "validation": errors[m, s] / epoch}
            for m, s in np.ndindex(x.shape)
            for epoch in (1, 5)
            for seed in [seeds[s]]
        ]
    )


def foretold(
    x: np.ndarray, y: np.ndarray, errors: np.ndarray | None = None, name: str = "half_life"
) -> dict[str, float]:
    """Of seeds that are in no order."""
    seeds = [35, 10, 42, 7, 99, 1][: y.shape[1]]
    errors = np.random.default_rng(5).uniform(1, 2, size=y.shape) if errors is None else errors
    return tables.foretold(made(x, errors, seeds, name), name, [f"m{m}" for m in range(len(y))], seeds, y, 1)


def test_what_orders_all_networks_foretells_them_and_its_opposite_does_not() -> None:
    y = np.random.default_rng(0).normal(size=(8, 1)) + 0.01 * np.random.default_rng(1).normal(size=(8, 3))
    found = foretold(-np.exp(y), y)
    assert found["spearman"] == found["low"] == found["high"] == 1
    assert found["critical"] == pytest.approx(0.738, abs=5e-4)
    assert found["p"] == pytest.approx(2 / 40320)
    assert found["across"] > 0.9
    assert foretold(np.exp(y), y)["spearman"] == -1
    # A smaller error is to mean a smaller outcome.
    errors = np.exp(y)
    rival = tables.foretold(made(y, errors, [1, 2, 3]), "validation", [f"m{m}" for m in range(8)], [1, 2, 3], y, 1)
    assert (rival["spearman"], rival["rival"]) == (1, True)
    assert np.isnan(rival["partial"])
    assert rival["direction"] == -1


def test_a_number_at_the_critical_value_is_said_to_reach_it() -> None:
    y = np.arange(10.0)[:, None] * np.ones((1, 3)) + 0.01 * np.random.default_rng(0).normal(size=(10, 3))
    limit = foresight.critical(10)
    draw = np.random.default_rng(1)
    order = next(order for order in (draw.permutation(10) for _ in range(10_000)) if near(order, limit))
    rows = [foretold(sign * order[:, None] * np.ones((1, 3)), y) for sign in (-1, 1)]
    table = pd.DataFrame([row | {"classes": "trained on", "arms": "all", "measure": "m", "holm": 0.09} for row in rows])
    assert table["p"].max() <= 0.05
    assert table["spearman"].abs().to_numpy() == pytest.approx([limit, limit], abs=1e-12)
    assert "of 2 measures over all arms 1 reach the critical rank correlation (m 0.65), 1 do" in tables.sentence(table)
    assert "0.1 would either way by chance, and 0 pass" in tables.sentence(table)


def test_of_few_arms_none_is_said_to_foretell() -> None:
    y = np.arange(3.0)[:, None] * np.ones((1, 3))
    row = foretold(-y, y) | {"classes": "trained on", "arms": "all", "measure": "m", "holm": np.nan}
    assert row["spearman"] == 1
    said = tables.sentence(pd.DataFrame([row]))
    assert said == "Foresight at epoch 1: 3 arms (all) are too few: chance gives any order of them often enough."


def near(order: np.ndarray, limit: float) -> bool:
    return abs(stats.spearmanr(np.arange(10), order).statistic - limit) < 1e-9


def test_a_number_that_says_all_that_repeats_reaches_the_ceiling() -> None:
    draw = np.random.default_rng(0)
    signal = draw.normal(size=(400, 1))
    y = signal + 1.5 * draw.normal(size=(400, 3))
    found = foretold(-signal * np.ones((1, 3)), y)
    assert found["spearman"] == pytest.approx(found["ceiling"], abs=0.05)
    assert found["outcome_agreement"] < found["spearman"] - 0.2


def test_what_follows_from_the_error_alone_says_nothing_beyond_it() -> None:
    random = np.random.default_rng(3)
    z = random.normal(size=(300, 1)) * np.ones((1, 3))
    y, x = (sign * z + 0.5 * random.normal(size=(300, 3)) for sign in (1, -1))
    found = foretold(x, y, np.exp(z))
    assert found["spearman"] > 0.8
    assert abs(found["partial"]) < 0.2
    assert foretold(x - 2 * y, y, np.exp(z))["partial"] > 0.7


def test_networks_that_differ_by_luck_alone_are_not_foretold_across_seeds() -> None:
    luck = np.random.default_rng(2).normal(size=(12, 6))
    found = foretold(-luck, luck)
    assert found["spearman"] == 1  # the same luck early and late
    assert abs(found["across"]) < 0.2
    assert abs(found["agreement"]) < 0.2
    assert abs(found["outcome_agreement"]) < 0.2


def test_a_number_without_a_value_or_without_a_difference_foretells_nothing() -> None:
    y = np.random.default_rng(0).normal(size=(6, 3))
    found = foretold(np.ones((6, 3)), y)
    assert np.isnan([found[name] for name in ("spearman", "low", "high", "p", "partial", "matched", "across")]).all()
    x = -y
    x[0, 1] = NAN
    assert foretold(x, y)["n_arms"] == 5
    assert np.isnan(foretold(-y[:, :1], y[:, :1])["low"])  # of one seed there is no interval
    assert np.isnan(foretold(-y[:, :1], y[:, :1])["across"])


def test_at_equal_error_numbers_are_those_between_epochs() -> None:
    """A number that falls with the error alike in all networks has no order where their errors are equal."""
    table = pd.DataFrame(
        [
            {"model": f"m{m}", "seed": seed, "epoch": epoch, "validation": v, "half_life": np.log10(v) + shift}
            for m, (rate, shift) in enumerate(((0.1, 0.0), (0.2, 0.5), (0.5, 1.0), (0.01, 2.0)))
            for seed in (2, 1)
            for epoch, v in ((0, 3.0), (1, 2.0), (2, 2 * rate), (4, 2 * rate**2))
        ]
    )
    found = tables.at_equal_error(table, "half_life", ["m0", "m1", "m2", "m3"], [2, 1])
    # The worst of them reaches 2 / 4.
    np.testing.assert_allclose(found, np.log10(0.5) + np.array([[0.0], [0.5], [1.0], [2.0]]) * np.ones((1, 2)))
    late = table[(table["epoch"] != 1) | (table["model"] != "m3")]
    found = tables.at_equal_error(late, "half_life", ["m1", "m3"], [1, 2])
    assert not np.isnan(found[0]).any()
    assert np.isnan(found[1]).all()
