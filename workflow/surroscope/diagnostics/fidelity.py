"""How well a quantity foretells what a real step does: measured changes of cost against first-order predictions.

For a step of some kind on sample i whose own cost falls by f_i to first order, a quantity H predicts the change
P[i, j] = -f_i H[j, i] / H[i, i] of every other cost: its one free scale is set by the step's own cost. For the quantity
whose step it is, that is g_j · δ_i without any scale fitted.
"""

from collections.abc import Iterator

import numpy as np
from scipy.stats import rankdata

STATISTICS = ("slope", "r2", "spearman", "sign")


def predictions(matrix: np.ndarray, own: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """P (I, N) from columns H[j, i] as (I, N), the step's own first-order changes (I,) and its sample's number (I,)."""
    return matrix * (own / matrix[np.arange(len(samples)), samples])[:, None]


def statistics(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Of changes (n,): how well predictions fit. NaN where a statistic is not defined, as among equal values.

    slope: s of the line D = s P through zero, of least squares; r2: 1 - Σ (D - s P)² / Σ (D - mean D)², below zero
    where the line does worse than the mean; spearman: correlation of ranks; sign: share of right signs, of
    predictions that are not zero
    """
    moved, spread = (predicted**2).sum(), ((measured - measured.mean()) ** 2).sum()
    slope = (predicted * measured).sum() / moved if moved else np.nan
    r2 = 1 - ((measured - slope * predicted) ** 2).sum() / spread if spread else np.nan
    known = np.isfinite(predicted).all() and np.isfinite(measured).all() and predicted.any()
    ranks = rankdata(predicted), rankdata(measured)
    ordered = len(predicted) > 2 and np.ptp(ranks[0]) > 0 and np.ptp(ranks[1]) > 0
    return {
        "slope": float(slope),
        "r2": float(r2),
        "spearman": float(np.corrcoef(*ranks)[0, 1]) if ordered else np.nan,
        "sign": float((np.sign(predicted) == np.sign(measured))[predicted != 0].mean()) if known else np.nan,
    }


def by_relation(
    samples: np.ndarray, classes: np.ndarray, predicted: np.ndarray, measured: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Relation of the two samples, and each statistic of every perturbation over its responses j ≠ i: (4, I).

    samples (I,): numbers of the perturbations; classes (N,): of all samples; predicted, measured: (I, N)
    """
    others = np.arange(len(classes)) != samples[:, None]
    same = classes == classes[samples][:, None]
    for relation, mask in {"all": others, "intra-class": others & same, "inter-class": ~same}.items():
        if not mask.any():  # there is one class
            continue
        found = [list(statistics(p[m], d[m]).values()) for p, d, m in zip(predicted, measured, mask, strict=True)]
        yield relation, np.array(found).T


def by_lag(
    samples: np.ndarray, classes: np.ndarray, times: np.ndarray, predicted: np.ndarray, measured: np.ndarray
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Relation, distance in time, and each statistic over all pairs of that distance together, (4,).

    Both changes are taken per unit of the step's own first-order fall, so that every perturbation counts alike; those
    of which nothing is foretold, whose gradient is zero, are left out.
    """
    own = np.abs(predicted[np.arange(len(samples)), samples])[:, None]
    p, d = predicted / own, measured / own
    lag = np.abs(times - times[samples][:, None])
    same = classes == classes[samples][:, None]
    others = np.arange(len(classes)) != samples[:, None]
    for relation, mask in {"intra-class": same & others, "inter-class": ~same}.items():
        for steps in range(int(lag.max()) + 1):
            pairs = mask & (lag == steps) & np.isfinite(p).all(axis=1)[:, None]
            if pairs.any():
                yield relation, steps, np.array(list(statistics(p[pairs], d[pairs]).values()))
