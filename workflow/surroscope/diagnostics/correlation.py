"""Pearson's correlation over units and classes, with the ends of its bootstrap interval."""

import numpy as np

from surroscope.diagnostics import bootstrap


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of the finite points of two samples; NaN where one is constant."""
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if not x.size or x.std() == 0 or y.std() == 0:
        return np.nan
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))


def correlation(x: np.ndarray, y: np.ndarray, seeds: np.ndarray) -> dict[str, float]:
    """`value`, `low` and `high` of Pearson's r of all entries of x and y, (n, ...) each; seeds (n,): that of each unit.

    The interval is of Fisher's z = artanh r, so that no end leaves the range of a correlation.
    """

    def z(units: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):  # of a perfect correlation it is infinite
            return np.arctanh(pearson(x[units].ravel(), y[units].ravel()))

    low, high = np.tanh(bootstrap.interval(z, seeds))
    return {"value": np.tanh(z(np.arange(len(seeds)))), "low": low, "high": high}
