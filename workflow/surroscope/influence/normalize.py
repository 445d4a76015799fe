"""Normalisations of influence matrices: (..., response j, perturbation i), one matrix a probe batch, to the same shape.

Each divides by a scale of the matrix itself, and raises ValueError where that scale is not defined. A row that is
zero throughout, of a transition whose gradient is zero, has no scale and stays zero; softmax gives it equal weights.
"""

from collections.abc import Callable

import numpy as np

EPSILON = 1e-6


def standard(influence: np.ndarray) -> np.ndarray:
    """H[j, i] / (std over all perturbations i of H[j, :] + 1e-6), sample standard deviation (arXiv 2509.00024)."""
    scale = influence.std(axis=-1, ddof=1, keepdims=True)
    _require((scale > 0) | _zero(influence, -1)[..., None], "row {} has no variance")
    return influence / (scale + EPSILON)


def epsilon_share(influence: np.ndarray) -> np.ndarray:
    """1e-6 / (std + 1e-6) of every row that `standard` scales, (rows,): near 1 it is the 1e-6 that H is divided by.

    Rows that are zero throughout have no scale and are left out.
    """
    scale = influence.std(axis=-1, ddof=1)[influence.any(axis=-1)]
    return EPSILON / (scale + EPSILON)


def none(influence: np.ndarray) -> np.ndarray:
    """H itself."""
    return influence


def cosine(influence: np.ndarray) -> np.ndarray:
    """H[j, i] / sqrt(H[j, j] H[i, i]): the cosine of two steps in the metric. Square matrices of one observable."""
    diagonal = _diagonal(influence, -1, -2)
    return influence / np.sqrt(diagonal[..., :, None] * diagonal[..., None, :])


def row(influence: np.ndarray) -> np.ndarray:
    """H[j, i] / H[j, j]: relative to what a response's own transition does for it."""
    return influence / _diagonal(influence, -1)[..., :, None]


def column(influence: np.ndarray) -> np.ndarray:
    """H[j, i] / H[i, i]: relative to what a step does for its own transition."""
    return influence / _diagonal(influence, -2)[..., None, :]


def trace(influence: np.ndarray) -> np.ndarray:
    """H[j, i] / mean over j of H[j, j]."""
    mean = np.trace(influence, axis1=-2, axis2=-1)[..., None, None] / influence.shape[-1]
    _require(mean > 0, "its trace is not positive")
    return influence / mean


def softmax(influence: np.ndarray) -> np.ndarray:
    """exp H[j, i] / Σ_i exp H[j, i]: each response's attention over perturbations, of the standardised matrix."""
    weights = standard(influence)
    weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


NORMALIZATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    function.__name__: function for function in (standard, none, cosine, row, column, trace, softmax)
}
# Normalisation -> what H is then called, and what its values are, as captions say it.
UNITS = {
    "standard": ("standardised influence", "in units of the standard deviation of its row"),
    "none": ("influence", "how much a unit step lowers the error"),
    "cosine": ("cosine of influence", "relative to the geometric mean of the two self-influences"),
    "row": ("influence", "relative to the self-influence of the response"),
    "column": ("influence", "relative to the self-influence of the step"),
    "trace": ("influence", "relative to the mean self-influence"),
    "softmax": (
        "attention by influence",
        "an exponential weight among the perturbations of its row, which add up to 1",
    ),
}


def _zero(influence: np.ndarray, axis: int) -> np.ndarray:
    """Which rows (axis -1) or columns (axis -2) are zero throughout; none of a matrix that is zero itself."""
    nonzero = np.asarray(influence.any(axis=axis))
    return nonzero.any(axis=-1, keepdims=True) & ~nonzero


def _diagonal(influence: np.ndarray, *axes: int) -> np.ndarray:
    """The self-influence of every transition; 1 where the row and column along `axes` are zero, and so stay zero."""
    zero = np.logical_and.reduce([_zero(influence, axis) for axis in axes])
    diagonal = np.where(zero, 1.0, np.diagonal(influence, axis1=-2, axis2=-1))
    _require(diagonal[..., None] > 0, "row {} has no self-influence")
    return diagonal


def _require(holds: np.ndarray, problem: str) -> None:
    if not holds.all():
        place = [int(position) for position in np.argwhere(~holds)[0]]
        raise ValueError(f"influence matrix {place[:-2]}: {problem.format(place[-2])}")
