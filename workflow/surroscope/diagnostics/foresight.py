"""Does a number foretell an outcome? Rank correlations over few items, their exact null distribution, many tests.

Definitions: Spearman's ρ is the correlation of ranks, equal values sharing their mean rank, infinite ones first or
last; what has no value is left out. docs/remedies.md says how they are used.
"""

from functools import cache
from math import comb

import numpy as np
from scipy import stats

from surroscope.diagnostics import ranks
from surroscope.diagnostics.ranks import FEWEST

LEVEL = 0.05
# Up to here the distribution of ρ is counted out; beyond it is near to that of Student's t.
COUNTED = 14


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """ρ of x and y, (n,) each; NaN where fewer than three have both, or one is constant."""
    known = ~(np.isnan(x) | np.isnan(y))
    return ranks.spearman(x[known], y[known])


def partial(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> float:
    """ρ of x and y given z: (r_xy - r_xz r_yz) / √((1 - r_xz²) (1 - r_yz²)); NaN where z orders x or y alone.

    All of those that have all three values.
    """
    known = ~(np.isnan(x) | np.isnan(y) | np.isnan(z))
    xy, xz, yz = (spearman(a[known], b[known]) for a, b in ((x, y), (x, z), (y, z)))
    left = (1 - xz**2) * (1 - yz**2)
    return float(np.clip((xy - xz * yz) / np.sqrt(left), -1, 1)) if left > 1e-12 else np.nan


@cache
def null(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Every ρ that n items without ties can have, ascending, and its probability if all orders are equally likely.

    Permutations are counted by the sum of squared differences of ranks D, ρ = 1 - 6 D / (n³ - n), rank by rank: of the
    first k ranks, which places are taken says all that the others have to know.
    """
    most = n * (n * n - 1) // 3
    counts = {0: np.eye(1, most + 1, dtype=np.int64)[0]}
    for rank in range(n):
        later: dict[int, np.ndarray] = {}
        for taken, so_far in counts.items():
            for place in range(n):
                if not taken >> place & 1:
                    moved = later.setdefault(taken | 1 << place, np.zeros(most + 1, np.int64))
                    shift = (rank - place) ** 2
                    moved[shift:] += so_far[: most + 1 - shift]
        counts = later
        assert len(counts) == comb(n, rank + 1)
    (of_all,) = counts.values()
    there = np.flatnonzero(of_all)[::-1]
    return 1 - 6 * there / (n**3 - n), of_all[there] / of_all.sum()


def chance(rho: float, n: int) -> float:
    """Probability of |ρ| or more, of either sign, over n items in random order; NaN without a ρ.

    Ties count as if there were none.
    """
    if np.isnan(rho) or n < FEWEST:
        return np.nan
    if n > COUNTED:
        with np.errstate(divide="ignore"):
            t = abs(rho) * np.sqrt((n - 2) / np.maximum(1 - rho**2, 0))
        return float(2 * stats.t.sf(t, n - 2))
    values, probability = null(n)
    return float(probability[np.abs(values) >= abs(rho) - 1e-9].sum())


def critical(n: int) -> float:
    """The smallest |ρ| over n items that chance gives in 5 % of cases or fewer; NaN where it always gives more."""
    if n > COUNTED:
        t = float(stats.t.isf(LEVEL / 2, n - 2))
        return t / np.sqrt(n - 2 + t**2)
    reached = [float(rho) for rho in null(n)[0] if rho > 0 and chance(float(rho), n) <= LEVEL] if n >= FEWEST else []
    return min(reached, default=np.nan)


def holm(p: np.ndarray) -> np.ndarray:
    """p values (k,) of k tests, corrected so that any is below a level with at most that probability; NaN stays.

    The i-th smallest of k times k - i + 1, and none smaller than one before it (Holm 1979).
    """
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return corrected


def at_error(errors: np.ndarray, values: np.ndarray, target: float) -> float:
    """A number at the moment when the error first falls to a target, linear in log error between epochs.

    errors, values: (epochs,), in the order of training; NaN where it never does, or was there before the first
    """
    log, goal = np.log(errors), np.log(target)
    reached = np.flatnonzero(log <= goal)
    if not reached.size or (reached[0] == 0 and log[0] < goal):
        return np.nan
    after = int(reached[0])
    if log[after] == goal:
        return float(values[after])
    share = (log[after - 1] - goal) / (log[after - 1] - log[after])
    with np.errstate(invalid="ignore"):  # between two infinite values there is one
        between = values[after - 1] + share * (values[after] - values[after - 1])
    return float(values[after] if values[after] == values[after - 1] else between)
