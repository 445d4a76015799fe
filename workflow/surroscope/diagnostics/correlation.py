"""Pearson's correlation over units and classes, pooled and within classes, with its bootstrap interval."""

from collections.abc import Callable

import numpy as np

from surroscope.diagnostics import bootstrap


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of the finite points of two samples; NaN where one is constant."""
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if not x.size or x.std() == 0 or y.std() == 0:
        return np.nan
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))


def within(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation within classes: Pearson's r of (n, C) values less the mean of their class, finite points alone.

    Classes that differ in both numbers correlate as a pool even where no class does by itself.
    """
    points = np.where(np.isfinite(x) & np.isfinite(y), np.stack([x, y]), np.nan)
    points = points[:, :, ~np.isnan(points).all(axis=(0, 1))]
    # Less one of them first, so that copies of one point become exactly zero.
    points = points - np.nanmin(points, axis=1, keepdims=True)
    return pearson(*(points - np.nanmean(points, axis=1, keepdims=True)))


def estimate(
    measure: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, y: np.ndarray, seeds: np.ndarray
) -> tuple[float, float, float]:
    """`pearson` or `within` of x and y, (n, C) each, and the ends of its 95 % interval; seeds (n,): that of each unit.

    The interval is of Fisher's z = artanh r, so that no end leaves the range of a correlation.
    """

    def z(units: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):  # of a perfect correlation it is infinite
            return np.arctanh(measure(x[units], y[units]))

    low, high = np.tanh(bootstrap.interval(z, seeds))
    return float(np.tanh(z(np.arange(len(seeds))))), float(low), float(high)
