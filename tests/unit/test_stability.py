"""How far maps agree, and the sectors of a class matrix, on matrices whose answer is known."""

import numpy as np
import pytest

from surroscope.diagnostics import stability

RANDOM = np.random.default_rng(0)
SEEDS = np.array([1, 1, 2, 2])


def test_sectors_are_orthogonal_and_make_up_the_whole() -> None:
    for size in (2, 3, 5):
        assert sum(stability.sectors(RANDOM.normal(size=(size, size))).values()) == pytest.approx(1, rel=1e-12)


def test_each_sector_is_what_it_says() -> None:
    row = np.array([1.0, -2.0, 1.0])
    turn = np.array([[0.0, 1, -1], [-1, 0, 1], [1, -1, 0]])
    symmetric = np.outer(row, row) - np.square(row).sum() / 2 * (np.eye(3) - 1 / 3)
    examples = {
        "mean": np.ones((3, 3)),
        "row": np.tile(row[:, None], 3),
        "column": np.tile(row, (3, 1)),
        "antisymmetric": turn,
        "trace": np.eye(3) - 1 / 3,
        "symmetric": symmetric,
    }
    for name, matrix in examples.items():
        assert stability.sectors(matrix)[name] == pytest.approx(1, rel=1e-12)


def test_equal_maps_agree_whatever_is_on_the_diagonal() -> None:
    maps = np.stack([RANDOM.normal(size=(4, 4))] * 4) + RANDOM.normal(size=(4, 1, 4)) * np.eye(4)
    assert stability.agreement(maps, SEEDS) == {"seeds": pytest.approx(1), "batches": pytest.approx(1)}
    assert stability.agreement(maps * np.array([1.0, 1, -1, -1])[:, None, None], SEEDS)["seeds"] == pytest.approx(-1)
    assert stability.correlation(maps, -2 * maps) == pytest.approx(-1)


def test_one_seed_one_batch_or_two_classes_have_no_agreement() -> None:
    maps = RANDOM.normal(size=(2, 4, 4))
    assert np.isnan(stability.agreement(maps, np.array([1, 1]))["seeds"])
    assert np.isnan(stability.agreement(maps, np.array([1, 2]))["batches"])
    assert np.isnan(stability.agreement(maps[:, :2, :2], np.array([1, 1]))["batches"])
    assert np.isnan(stability.correlation(maps[:, :2, :2], maps[:, :2, :2]))
