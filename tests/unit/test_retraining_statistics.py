"""Statistics of trainings without groups, against closed forms, simulations and maps whose answer is known."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from surroscope.diagnostics import bootstrap, retraining


def test_spearman_brown_is_what_more_replicates_give() -> None:
    draw = np.random.default_rng(0)
    signal = draw.normal(size=40_000)
    replicates = signal + 1.5 * draw.normal(size=(6, len(signal)))
    pair = np.corrcoef(replicates[0], replicates[1])[0, 1]
    means = replicates[:3].mean(axis=0), replicates[3:].mean(axis=0)
    assert retraining.spearman_brown(pair, 3) == pytest.approx(np.corrcoef(*means)[0, 1], abs=0.02)
    # The truth itself, the best prediction there is, reaches the ceiling.
    assert retraining.ceiling(pair, 3) == pytest.approx(np.corrcoef(signal, means[0])[0, 1], abs=0.01)
    assert retraining.spearman_brown(0.4, 1) == pytest.approx(0.4)
    assert np.isnan(retraining.ceiling(-0.1, 3))


def test_between_seeds_is_the_mean_over_pairs() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 20))
    pairs = [spearmanr(maps[i], maps[j]).statistic for i, j in ((0, 1), (0, 2), (1, 2))]
    assert retraining.between_seeds(maps) == pytest.approx(np.mean(pairs))
    assert np.isnan(retraining.between_seeds(maps[:1]))


def ridge(design: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.linalg.solve(design.T @ design + 1e-3 * np.eye(design.shape[1]), design.T @ targets)


def test_the_score_of_a_linear_model_is_that_of_its_closed_form() -> None:
    """Ridge regression, each group with columns of its own: what subsets do to an error adds up over groups exactly."""
    draw, groups, each, size = np.random.default_rng(0), 6, 8, 3
    design = np.zeros((groups, each, groups * size))
    for g in range(groups):
        design[g, :, g * size : (g + 1) * size] = draw.normal(size=(each, size))
    targets = design @ draw.normal(size=groups * size) + 0.1 * draw.normal(size=(groups, each))
    test = draw.normal(size=(groups, groups * size))

    def predicted(kept: np.ndarray) -> np.ndarray:
        return test @ ridge(design[kept].reshape(-1, groups * size), targets[kept].ravel())

    everything = np.ones(groups, dtype=bool)
    # What group g gives to the prediction at r, by training without it, and from its own normal equations.
    effect = np.stack([predicted(everything) - predicted(everything & (np.arange(groups) != g)) for g in range(groups)])
    own = [slice(g * size, (g + 1) * size) for g in range(groups)]
    closed = np.stack([test[:, s] @ ridge(design[g][:, s], targets[g]) for g, s in enumerate(own)])
    np.testing.assert_allclose(effect, closed, atol=1e-12)
    kept = draw.permuted(np.tile(np.arange(groups) < groups // 2, (40, 1)), axis=1)
    outcome = np.stack([predicted(one) for one in kept])
    for others in (False, True):
        assert retraining.datamodelling(outcome, kept, effect.T, others) == pytest.approx(1, abs=1e-12)
        assert retraining.datamodelling(-outcome, kept, effect.T, others) == pytest.approx(-1, abs=1e-12)


def test_the_score_under_noise_is_that_of_normal_variables() -> None:
    """Of two normal variables with correlation ρ the rank correlation is 6/π asin(ρ/2)."""
    draw, groups, m = np.random.default_rng(1), 60, 6000
    predicted = draw.normal(size=(groups, groups))
    kept = draw.uniform(size=(m, groups)) < 0.5
    signal = kept @ predicted.T
    outcome = signal + signal.std(axis=0) * draw.normal(size=signal.shape)
    expected = 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2)
    assert retraining.datamodelling(outcome, kept, predicted) == pytest.approx(expected, abs=0.01)
    few = slice(100)
    value, drawn = retraining.datamodelled(outcome[few][None], kept[few], predicted[None])
    low, high = bootstrap.ends(np.array(value), drawn, 1)
    assert low < value < high
    assert high - low < 0.2


def test_the_score_s_interval_is_over_seeds_too_and_its_draws_are_those_of_another_measure() -> None:
    draw, groups, m = np.random.default_rng(3), 12, 40
    predicted = draw.normal(size=(3, groups, groups))
    kept = draw.uniform(size=(m, groups)) < 0.5
    outcome = kept @ predicted.mean(axis=0).T + np.zeros((3, 1, 1))
    value, drawn = retraining.datamodelled(outcome, kept, predicted)
    assert value == pytest.approx(1)
    assert 0 < (drawn < 1 - 1e-9).mean() < 1  # all but the draws that have every seed once
    again, same = retraining.datamodelled(outcome, kept, 2 * predicted)
    assert again == pytest.approx(value)
    np.testing.assert_allclose(same, drawn)


def test_the_score_of_others_knows_nothing_of_the_group_itself() -> None:
    draw, groups = np.random.default_rng(2), 8
    kept = draw.uniform(size=(400, groups)) < 0.5
    alone = np.eye(groups)
    outcome = 5 * kept + draw.normal(size=kept.shape)
    assert retraining.datamodelling(outcome, kept, alone) > 0.8
    assert np.isnan(retraining.datamodelling(outcome, kept, alone, others=True))
    mixed = alone + 0.1 * draw.normal(size=alone.shape)
    assert abs(retraining.datamodelling(outcome, kept, mixed, others=True)) < 0.1
    assert retraining.outcomes_agree(kept, others=True)(outcome, outcome) == pytest.approx(1)


@pytest.mark.parametrize("classes", [1, 3])
def test_relations_part_the_entries(classes: int) -> None:
    found = retraining.relations(classes, 4)
    total = found["within a class"].sum() + found.get("between classes", np.zeros(1)).sum() + classes * 4
    assert total == found["all"].sum() == (classes * 4) ** 2
    assert ("between classes" in found) == (classes > 1)


def test_a_strong_diagonal_agrees_with_any_other_and_off_it_with_none() -> None:
    """Why a measure has to beat what knows no network, and off the diagonal."""
    draw, shape = np.random.default_rng(0), (2, 12, 12)
    memoriser = np.eye(12) + 1e-3 * draw.normal(size=shape)
    unrelated = 5 * np.eye(12) + draw.normal(size=shape)
    masks = retraining.relations(3, 4)
    value, low, high = retraining.agreement(memoriser, unrelated, masks["all"])
    assert low < value < high
    assert value > 0.2
    off, low, high = retraining.agreement(memoriser, unrelated, masks["off the diagonal"])
    assert low < 0 < high
    assert abs(off) < 0.2
    assert retraining.agreement(memoriser, memoriser, masks["all"])[0] == pytest.approx(1)


def test_effects_sum_and_helps_are_medians_by_group() -> None:
    draw = np.random.default_rng(0)
    window = np.array([0, 0, 1, 1, 1])
    error = np.exp(draw.normal(size=(4, 2, 2, 3, 5)))
    everything = np.exp(draw.normal(size=(2, 2, 3, 5)))
    found = retraining.effects(error, everything, window)
    assert found.shape == (2, 4, 4)
    expected = np.median(np.log(error[2, 1, 1][:, 2:] / everything[1, 1][:, 2:]))
    assert found[1, 3, 2] == pytest.approx(expected)
    sums = retraining.summed(found, 2, 2)
    assert sums["class"][0, 1, 0] == pytest.approx(found[0, 2:, :2].sum() / 2)
    assert sums["window"][0, 1, 0] == pytest.approx(found[0][np.ix_([1, 3], [0, 2])].sum() / 2)
    h, responds, steps = draw.normal(size=(6, 8)), np.repeat([0, 1], 3), np.arange(8) % 2
    found = retraining.helped(h, responds, steps, np.array([4, 12]))
    assert found[1, 0] == pytest.approx(np.median(h[3:, ::2].sum(axis=1)))
    # Of the other group a third of the times was taken.
    assert found[1, 1] == pytest.approx(3 * np.median(h[3:, 1::2].sum(axis=1)))


def test_locking_of_maps_whose_answer_is_known() -> None:
    """A memoriser, one that cannot memorise, and one whose help falls by half with each window."""
    windows = np.arange(4)
    memoriser = np.eye(12)
    assert retraining.locking(memoriser, 3, 4, 4) == {
        "off_diagonal_ratio": 0,
        "class_transfer": 0,
        "half_life": pytest.approx(2),
    }
    assert all(np.isnan(list(retraining.locking(np.zeros((12, 12)), 3, 4, 4).values())))
    even = retraining.locking(np.ones((12, 12)), 3, 4, 4)
    assert even == {"off_diagonal_ratio": 3, "class_transfer": 1, "half_life": np.inf}
    decays = np.kron(np.eye(3), 0.5 ** np.abs(np.subtract.outer(windows, windows)))
    assert retraining.locking(decays + 1e-9 * np.eye(12), 3, 4, 4)["half_life"] == pytest.approx(4, rel=1e-6)


def test_the_share_of_the_gain_that_is_kept() -> None:
    persistence, everything = np.full(4, 5.0), np.full(4, 1.0)
    assert retraining.gain_kept(np.full(4, 2.0), everything, persistence) == 0.75
    assert retraining.gain_kept(np.full(4, 6.0), everything, persistence) == -0.25
    assert np.isnan(retraining.gain_kept(everything, persistence, persistence))
    said = retraining.nearest_other(np.array([[2.0, 1.0, -1.0], [0.0, -1.0, 3.0], [1.0, 4.0, 4.0]]))
    np.testing.assert_array_equal(said, [0.5, np.nan, 1.0])


def test_noise_between_seeds_beside_the_spread_of_entries() -> None:
    draw = np.random.default_rng(0)
    maps = 3 * draw.normal(size=(60, 60)) + draw.normal(size=(4, 60, 60))
    found = retraining.noise(maps, np.ones((60, 60), dtype=bool))
    assert found["seed_noise"] == pytest.approx(1, abs=0.05)
    assert found["spread"] == pytest.approx(np.sqrt(9.25), abs=0.15)
    assert np.isnan(retraining.noise(maps[:1], np.ones((60, 60), dtype=bool))["seed_noise"])
