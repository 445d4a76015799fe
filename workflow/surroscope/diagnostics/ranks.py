"""Spearman's correlation. It is alone in its file, since it needs scipy, which what draws figures does without."""

import numpy as np
from scipy.stats import rankdata

from surroscope.diagnostics.correlation import pearson

FEWEST = 3


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of the ranks of two samples (n,), ties sharing theirs; NaN with a gap, of one constant, of n < 3."""
    if len(x) < FEWEST or np.isnan(x).any() or np.isnan(y).any():
        return np.nan
    return pearson(rankdata(x), rankdata(y))
