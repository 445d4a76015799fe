"""Statistics of standardised influence: over times, classes, lags and distances (arXiv 2509.00024).

Every function takes H_std as (n, C, T, C, T): n units (a probe batch of a seed), response class and time,
perturbation class and time; and seeds (n,), the seed of each unit. It gives a table with the quartiles q25, median,
q75, and the ends low, high of a bootstrap interval of the median.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from surroscope.diagnostics.bootstrap import median_interval

QUARTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}
ENDS = ("low", "high")
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


def summary(values: np.ndarray, seeds: np.ndarray, positive: bool = False) -> dict[str, float]:
    """Quartiles of all values (n, ...), and the 95 % bootstrap interval of their median, over seeds and units.

    positive: whether the values can by their definition not be negative
    """
    return quartiles(values) | dict(zip(ENDS, median_interval(values, seeds, positive), strict=True))


def two_time(h: np.ndarray, seeds: np.ndarray, first: int = 0) -> pd.DataFrame:
    """For each (perturbation time t, response time τ): H[(c, τ), (c, t)] over classes c and batches.

    first: the snapshot that the first transition starts from
    """
    same = np.einsum("nctcs->ncts", h)
    times = range(h.shape[2])
    return pd.DataFrame(
        [
            {"perturbation_time": first + t, "response_time": first + tau} | summary(same[:, :, tau, t], seeds)
            for t in times
            for tau in times
        ]
    )


def class_transfer(h: np.ndarray, seeds: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """For each (perturbation class b, response class a): H[(a, t), (b, t)] over times t and batches."""
    same = np.einsum("natbt->nabt", h)
    return pd.DataFrame(
        [
            {"perturbation_class": name_b, "response_class": name_a} | summary(same[:, a, b], seeds)
            for b, name_b in enumerate(classes)
            for a, name_a in enumerate(classes)
        ]
    )


def time_lag(h: np.ndarray, seeds: np.ndarray, first: int = 0) -> pd.DataFrame:
    """For each lag d = τ - t up to 11 steps: H over all pairs of that lag, within a class and between classes.

    first: the snapshot that the first transition starts from; if it is not 0, a column says at which lags two
    transitions of a trajectory share snapshots that the network is given
    """
    table = pd.DataFrame(
        [{"relation": f"{relation}-class", "lag": lag} | summary(values, seeds) for relation, lag, values in by_lag(h)]
    )
    if first:
        own = (table["relation"] == "intra-class") & (table["lag"] != 0)
        table.insert(2, "shares_snapshots", own & (table["lag"].abs() <= first))
    return table


def by_lag(h: np.ndarray) -> Iterator[tuple[str, int, np.ndarray]]:
    """Relation (intra or inter), lag from -11 to 11 or as far as there are, and H of its pairs, (n, pairs, times)."""
    same = np.eye(h.shape[1], dtype=bool)
    reach = min(MAX_LAG, h.shape[2] - 1)
    for lag in range(-reach, reach + 1):
        # The offset of a diagonal is minus the lag.
        pairs = np.diagonal(h, offset=-lag, axis1=2, axis2=4)
        yield "intra", lag, pairs[:, same]
        if len(same) > 1:
            yield "inter", lag, pairs[:, ~same]


def distance_bins(distances: np.ndarray, count: int, half_width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-spaced overlapping bins over the non-zero distances: centres, lower and upper edges, (count,) each.

    A bin reaches `half_width` spacings of the centres to either side.
    """
    positive = distances[distances > 0]
    centres = np.linspace(np.log(positive.min()), np.log(positive.max()), count)
    reach = half_width * (centres[1] - centres[0])
    return np.exp(centres), np.exp(centres - reach), np.exp(centres + reach)


def binned(h: np.ndarray, distances: np.ndarray, count: int, half_width: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean influence of each unit in bins of feature-space distance of the two inputs: centres (k,), means (n, k).

    h, distances: (n, C, T, C, T). A sample's distance to itself, zero, is in no bin. A unit that does not reach a bin
    has NaN there; a bin that fewer than half of the units reach is left out.
    """
    flat_h, flat_d = (values.reshape(len(values), -1) for values in (h, distances))
    centres, means = [], []
    for centre, lower, upper in zip(*distance_bins(distances, count, half_width), strict=True):
        inside = (flat_d > 0) & (flat_d >= lower) & (flat_d <= upper)
        reached = inside.sum(axis=1)
        if 2 * (reached > 0).sum() >= len(reached):
            total = (flat_h * inside).sum(axis=1)
            means.append(np.divide(total, reached, out=np.full(len(reached), np.nan), where=reached > 0))
            centres.append(centre)
    return np.array(centres), np.stack(means, axis=1)


def interpolation(h: np.ndarray, seeds: np.ndarray, distances: np.ndarray, count: int, half_width: int) -> pd.DataFrame:
    """Influence against feature-space distance of the two inputs: per batch the mean in each bin, then quartiles."""
    rows = []
    for centre, means in zip(*(part.T for part in binned(h, distances, count, half_width)), strict=True):
        ends = dict(zip(ENDS, median_interval(means, seeds), strict=True))
        rows.append({"distance": float(centre)} | quartiles(means[~np.isnan(means)]) | ends)
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
