"""Which measure orders networks by what they are known to share between classes, or between times? docs/dial.md.

A measure is tried on control networks, of which a known share of the parameters is used by every group. Its area under
the ROC curve is the chance that it puts a network that shares more above one that shares less.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import spearmanr

from surroscope.diagnostics.coupling import LAG
from surroscope.diagnostics.scalars import class_medians, class_transfer, defined_median, half_life, lag_medians
from surroscope.diagnostics.scalars import off_diagonal_ratio as intra_ratio
from surroscope.influence.normalize import NORMALIZATIONS

# A network that has at least this share in common counts as one that shares.
SHARES = 0.5


def centred(influence: np.ndarray) -> np.ndarray:
    """H less the mean of its row: what convergence implies, Σ_i H[j, i] = 0 over a training set, at every stage."""
    return influence - influence.mean(axis=-1, keepdims=True)


# What is done to each matrix (..., N, N) before a measure is taken.
TREATMENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = NORMALIZATIONS | {"centred": centred}


def lag_ratio(h: np.ndarray) -> float:
    """Median intra-class H (n, C, T, C, T) LAG steps away, either way, over that at lag 0; NaN if there are none."""
    intra = lag_medians(h)["intra"]
    reach = len(intra) // 2
    if reach < LAG:
        return np.nan
    return float((intra[reach + LAG] + intra[reach - LAG]) / 2 / intra[reach])


# Each of (n, C, T, C, T), the larger the more is shared.
MEASURES: dict[str, Callable[[np.ndarray], float]] = {
    "class_transfer_ratio": lambda h: class_transfer(*class_medians(h)),
    "half_life": lambda h: half_life(lag_medians(h)["intra"]),
    "lag_ratio": lag_ratio,
    "off_diagonal_ratio": lambda h: defined_median(intra_ratio(h)),
}
# Numbers of a checkpoint that are smaller where more is shared.
REVERSED = {
    "two_time_diagonal",
    "intra_class_lag_0",
    "class_diagonal",
    "diagonal_mean",
    "participation_ratio",
    "rank",
    "validation",
    "train",
}


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: P(a positive's score > a negative's) + P(equal) / 2; NaN without one of either.

    scores: (n,), infinities allowed, no NaN; positive: (n,) bool
    """
    high, low = scores[positive], scores[~positive]
    if not high.size or not low.size:
        return np.nan
    return float(((high[:, None] > low).mean() + (high[:, None] >= low).mean()) / 2)


def roc(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds, descending, and the shares of negatives and of positives with a score of at least that.

    The first point is that of a threshold above every score.
    """
    thresholds = np.unique(scores)[::-1]
    above = scores >= thresholds[:, None]
    false, true = (np.append(0.0, above[:, chosen].mean(axis=1)) for chosen in (~positive, positive))
    return np.append(np.inf, thresholds), false, true


def ordering(scores: np.ndarray, shares: np.ndarray) -> dict[str, float]:
    """How scores order networks by their true shares, both (n,); networks without a score are left out.

    auc: of sharing at least SHARES; auc_extremes: of sharing all, among those that share all or nothing; spearman; n
    """
    known = ~np.isnan(scores)
    scores, shares = scores[known], shares[known]
    ends = (shares == 0) | (shares == 1)
    varied = len(np.unique(scores)) > 1 and len(np.unique(shares)) > 1
    return {
        "auc": auc(scores, shares >= SHARES),
        "auc_extremes": auc(scores[ends], shares[ends] == 1),
        "spearman": float(spearmanr(scores, shares).statistic) if varied else np.nan,
        "n": len(scores),
    }
