"""Statistics of standardised influence: over times, classes, lags and distances (arXiv 2509.00024).

Every function takes H_std as (n, C, T, C, T): n probe batches (of all seeds), response class and time,
perturbation class and time. It gives a table with the quartiles q25, median, q75.
"""

import numpy as np
import pandas as pd

QUARTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}
MAX_LAG = 11


def quartiles(values: np.ndarray) -> dict[str, float]:
    """Lower quartile, median and upper quartile of all values. Raises ValueError on NaN or no values.

    Where some values are infinite (a rollout that blew up) nothing can be interpolated: the next value above is taken.
    """
    if not values.size or np.isnan(values).any():
        raise ValueError(f"quartiles of {values.size} values, {int(np.isnan(values).sum())} of them NaN")
    shares = list(QUARTILES.values())
    exact = np.isfinite(values).all()
    found = np.quantile(values, shares) if exact else np.quantile(values, shares, method="higher")
    return dict(zip(QUARTILES, map(float, found), strict=True))


def two_time(h: np.ndarray) -> pd.DataFrame:
    """For each (perturbation time t, response time τ): H[(c, τ), (c, t)] over classes c and batches."""
    same = np.einsum("nctcs->ncts", h)
    times = range(h.shape[2])
    return pd.DataFrame(
        [{"perturbation_time": t, "response_time": tau} | quartiles(same[:, :, tau, t]) for t in times for tau in times]
    )


def class_transfer(h: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """For each (perturbation class b, response class a): H[(a, t), (b, t)] over times t and batches."""
    same = np.einsum("natbt->nabt", h)
    return pd.DataFrame(
        [
            {"perturbation_class": name_b, "response_class": name_a} | quartiles(same[:, a, b])
            for b, name_b in enumerate(classes)
            for a, name_a in enumerate(classes)
        ]
    )


def time_lag(h: np.ndarray) -> pd.DataFrame:
    """For each lag d = τ - t up to 11 steps: H over all pairs of that lag, within a class and between classes."""
    classes, times = h.shape[1:3]
    same_class = np.eye(classes, dtype=bool)
    reach = min(MAX_LAG, times - 1)
    rows = []
    for lag in range(-reach, reach + 1):
        pairs = np.diagonal(h, offset=-lag, axis1=2, axis2=4)
        for relation, chosen in (("intra-class", same_class), ("inter-class", ~same_class)):
            rows.append({"relation": relation, "lag": lag} | quartiles(pairs[:, chosen]))
    return pd.DataFrame(rows)


def distance_bins(distances: np.ndarray, count: int, half_width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-spaced overlapping bins over the non-zero distances: centres, lower and upper edges, (count,) each.

    A bin reaches `half_width` spacings of the centres to either side.
    """
    positive = distances[distances > 0]
    centres = np.linspace(np.log(positive.min()), np.log(positive.max()), count)
    reach = half_width * (centres[1] - centres[0])
    return np.exp(centres), np.exp(centres - reach), np.exp(centres + reach)


def interpolation(h: np.ndarray, distances: np.ndarray, count: int, half_width: int) -> pd.DataFrame:
    """Influence against feature-space distance of the two inputs: per batch the mean in each bin, then quartiles.

    h, distances: (n, C, T, C, T). A sample's distance to itself, zero, is in no bin. A bin that fewer than half
    of the batches reach is left out.
    """
    flat_h, flat_d = (values.reshape(len(values), -1) for values in (h, distances))
    rows = []
    for centre, lower, upper in zip(*distance_bins(distances, count, half_width), strict=True):
        inside = (flat_d > 0) & (flat_d >= lower) & (flat_d <= upper)
        reached = inside.any(axis=1)
        if 2 * reached.sum() < len(reached):
            continue
        means = np.array([row[mask].mean() for row, mask in zip(flat_h[reached], inside[reached], strict=True)])
        rows.append({"distance": float(centre)} | quartiles(means))
    return pd.DataFrame(rows)


def first_crossing(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Where y first falls below `level`, by linear interpolation; infinity if it never does."""
    below = np.flatnonzero(y < level)
    if not below.size:
        return np.inf
    i = int(below[0])
    if i == 0:
        return float(x[0])
    return float(x[i - 1] + (y[i - 1] - level) / (y[i - 1] - y[i]) * (x[i] - x[i - 1]))
