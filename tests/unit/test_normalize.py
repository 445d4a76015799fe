"""Every normalisation against its formula by independent code, and where it is not defined."""

import numpy as np
import pytest

from surroscope.influence.normalize import NORMALIZATIONS, UNITS, epsilon_share, standard

SIZE = 6


def influence(seed: int, *lead: int) -> np.ndarray:
    """Random symmetric positive definite matrices (*lead, SIZE, SIZE)."""
    root = np.random.default_rng(seed).normal(size=(*lead, SIZE, SIZE + 2))
    return root @ root.swapaxes(-1, -2)


def sample_deviation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5


def standardised(h: np.ndarray, j: int, i: int) -> float:
    return h[j, i] / (sample_deviation(list(h[j])) + 1e-6)


FORMULAS = {
    "standard": standardised,
    "none": lambda h, j, i: h[j, i],
    "cosine": lambda h, j, i: h[j, i] / (h[j, j] * h[i, i]) ** 0.5,
    "row": lambda h, j, i: h[j, i] / h[j, j],
    "column": lambda h, j, i: h[j, i] / h[i, i],
    "trace": lambda h, j, i: h[j, i] / (sum(h[k, k] for k in range(SIZE)) / SIZE),
    "softmax": lambda h, j, i: np.exp(standardised(h, j, i)) / sum(np.exp(standardised(h, j, k)) for k in range(SIZE)),
}


def test_every_normalisation_has_its_formula_here() -> None:
    assert set(FORMULAS) == set(NORMALIZATIONS) == set(UNITS)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_the_formula_entry_by_entry_for_every_matrix_of_a_stack(name: str, lead: tuple[int, ...]) -> None:
    h = influence(0, *lead)
    before = h.copy()
    found = NORMALIZATIONS[name](h)
    assert found.shape == h.shape
    assert np.array_equal(h, before)
    for place in np.ndindex(lead):
        expected = [[FORMULAS[name](h[place], j, i) for i in range(SIZE)] for j in range(SIZE)]
        assert np.allclose(found[place], expected, rtol=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_the_order_of_samples_and_the_scale_of_the_cost_do_not_matter(name: str) -> None:
    normalize, h = NORMALIZATIONS[name], influence(1)
    order = np.ix_(*[np.random.default_rng(2).permutation(SIZE)] * 2)
    assert np.allclose(normalize(h[order]), normalize(h)[order], rtol=1e-12)
    # A cost c times as large has an influence c² times as large; the 1e-6 of a standardised row is all that is left.
    if name != "none":
        assert np.allclose(normalize(9 * h), normalize(h), rtol=1e-5)


def test_the_share_of_a_scale_that_is_epsilon_is_what_a_standardised_row_lacks() -> None:
    h = influence(3, 2)
    rows = h.reshape(-1, SIZE)
    for number, spread in enumerate((1e-6, 1e-5, 1e3, 0.0)):
        rows[number] *= spread / rows[number].std(ddof=1)
    share, lost = epsilon_share(h), 1 - standard(h).std(axis=-1, ddof=1).ravel()
    assert share[:3] == pytest.approx([1 / 2, 1 / 11, 1e-9])
    assert np.allclose(share, np.delete(lost, 3), atol=1e-12)


def test_standardised_rows_have_unit_spread() -> None:
    assert np.allclose(standard(influence(3, 4)).std(axis=-1, ddof=1), 1, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_cosine_is_one_with_itself_and_never_more_and_attention_sums_to_one(seed: int) -> None:
    h = influence(seed)
    cosine, softmax = NORMALIZATIONS["cosine"](h), NORMALIZATIONS["softmax"](h)
    assert np.allclose(np.diag(cosine), 1, rtol=1e-12)
    assert np.abs(cosine).max() <= 1 + 1e-12
    assert np.allclose(softmax.sum(axis=-1), 1, rtol=1e-12)
    assert (softmax > 0).all()


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"softmax"}))
def test_a_zero_row_and_column_stay_zero_and_leave_the_others(name: str) -> None:
    h = influence(5)
    h[2], h[:, 2] = 0.0, 0.0
    found = NORMALIZATIONS[name](h)
    assert (found[2] == 0).all()
    assert (found[:, 2] == 0).all()
    others = [place for place in range(SIZE) if place != 2]
    expected = [[FORMULAS[name](h, j, i) for i in others] for j in others]
    assert np.allclose(found[np.ix_(others, others)], expected, rtol=1e-12)


def test_a_response_that_is_zero_to_steps_that_are_not_stays_zero() -> None:
    h = influence(6)
    h[2] = 0.0
    for name in ("standard", "row"):
        assert (NORMALIZATIONS[name](h)[2] == 0).all()
    for name in ("column", "cosine"):
        with pytest.raises(ValueError, match="row 2 has no self-influence"):
            NORMALIZATIONS[name](h)


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"none"}))
def test_a_matrix_that_is_zero_throughout_has_no_scale(name: str) -> None:
    with pytest.raises(ValueError, match=r"row 0 has no|trace is not positive"):
        NORMALIZATIONS[name](np.zeros((SIZE, SIZE)))


def flat(h: np.ndarray) -> None:
    h[2] = 5.0


def without_self(h: np.ndarray) -> None:
    h[2, 2] = 0.0


def negative_self(h: np.ndarray) -> None:
    h[2, 2] = -1e-12


def unknown(h: np.ndarray) -> None:
    h[2] = np.nan


def unknown_self(h: np.ndarray) -> None:
    h[2, 2] = np.nan


def without_trace(h: np.ndarray) -> None:
    h -= np.trace(h) / SIZE * np.eye(SIZE)
    h[0, 0] -= 1.0


UNDEFINED = [
    *[(name, spoil, "row 2 has no variance") for name in ("standard", "softmax") for spoil in (flat, unknown)],
    *[
        (name, spoil, "row 2 has no self-influence")
        for name in ("cosine", "row", "column")
        for spoil in (without_self, negative_self, unknown_self)
    ],
    ("trace", without_trace, "trace is not positive"),
    ("trace", unknown_self, "trace is not positive"),
]


@pytest.mark.parametrize(("name", "spoil", "problem"), UNDEFINED)
def test_where_the_scale_is_not_defined_the_matrix_and_its_row_are_named(name, spoil, problem) -> None:
    h = influence(4, 3, 2)
    spoil(h[1, 0])
    with pytest.raises(ValueError, match=rf"influence matrix \[1, 0\]: .*{problem}"):
        NORMALIZATIONS[name](h)
    with pytest.raises(ValueError, match=rf"influence matrix.*: .*{problem}"):
        NORMALIZATIONS[name](h[1, 0])
    assert np.isfinite(NORMALIZATIONS[name](h[0])).all()
