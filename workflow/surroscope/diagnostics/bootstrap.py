"""Bootstrap intervals that resample what is independent: seeds, and within each the probe batches.

Entries of one influence matrix share a network, a batch and a metric, so they are not resampled. A draw takes S of the
S seeds with replacement, and of each of these P of its P probe batches with replacement.
"""

import warnings
from collections.abc import Callable
from functools import cache

import numpy as np

DRAWS = 500
LEVEL = 0.95


def draws(seeds: np.ndarray) -> np.ndarray:
    """Resampled units, (DRAWS, n) indices of the n units; `seeds` (n,) says which seed each unit is of.

    The same units always give the same draws. Raises ValueError if seeds have different numbers of units.
    """
    return _draws(tuple(seeds.tolist()))


@cache
def _draws(seeds: tuple[int, ...]) -> np.ndarray:
    groups = [np.flatnonzero(np.array(seeds) == seed) for seed in dict.fromkeys(seeds)]
    if len({len(group) for group in groups}) != 1:
        raise ValueError(f"seeds have {sorted(len(group) for group in groups)} probe batches, expected as many of each")
    units = np.stack(groups)
    chosen, probes = units.shape
    generator = np.random.default_rng(0)
    rows = generator.integers(chosen, size=(DRAWS, chosen, 1))
    return units[rows, generator.integers(probes, size=(DRAWS, chosen, probes))].reshape(DRAWS, -1)


def sample(statistic: Callable[[np.ndarray], np.ndarray], seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A statistic of all units, and of the units of each draw, (DRAWS, ...); of one unit no draw has a value: NaN.

    statistic: of units (n,), indices of those to take; seeds (n,): the seed of each unit
    """
    estimate = np.asarray(statistic(np.arange(len(seeds))), float)
    if len(seeds) == 1:
        return estimate, np.full((DRAWS, *estimate.shape), np.nan)
    return estimate, np.stack([statistic(units) for units in draws(seeds)])


def interval(
    statistic: Callable[[np.ndarray], np.ndarray], seeds: np.ndarray, positive: np.ndarray | bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of the 95 % interval of a statistic (see `sample`), each of the statistic's own shape.

    positive: whether the statistic, or each of its entries, can by its definition not be negative
    """
    return ends(*sample(statistic, seeds), len(set(seeds.tolist())), positive)


def median_interval(values: np.ndarray, seeds: np.ndarray, positive: bool = False) -> tuple[float, float]:
    """Ends of the 95 % interval of the median of all values (n, ...), one entry of the first axis a unit; NaN: none.

    positive: whether the values can by their definition not be negative
    """
    flat = values.reshape(len(values), -1)
    if len(seeds) == 1:
        return np.nan, np.nan
    median = np.nanmedian if np.isnan(flat).any() else np.median
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        medians = median(flat[draws(seeds)].reshape(DRAWS, -1), axis=1)
        low, high = ends(np.asarray(median(flat)), medians, len(set(seeds.tolist())), positive)
    return float(low), float(high)


def ends(
    estimate: np.ndarray, drawn: np.ndarray, seeds: int, positive: np.ndarray | bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval, widened about the estimate by sqrt(S / (S - 1)); in the logarithm of what is positive.

    What may have either sign has the interval of minus the number mirrored, whatever signs the draws happen to have.
    S seeds drawn from S have only (S - 1) / S of the variance between seeds; of one seed the interval is about that
    seed alone. Draws without a value (NaN: a correlation among copies of one point) are left out; where none has one,
    or the estimate has none, the ends are NaN. An end is a draw, since draws may be infinite and then have nothing
    between them.
    """
    widening = np.sqrt(seeds / (seeds - 1)) if seeds > 1 else 1.0
    ordered = np.sort(drawn, axis=0)  # NaN last
    numbers = (~np.isnan(drawn)).sum(axis=0)
    lower = np.maximum(np.ceil((1 - LEVEL) / 2 * numbers).astype(int) - 1, 0)
    both = []
    for rank in (lower, np.maximum(numbers - 1 - lower, 0)):
        end = np.take_along_axis(ordered, rank[None], axis=0)[0]
        with np.errstate(invalid="ignore", divide="ignore"):
            moved = estimate + widening * (end - estimate)
            scaled = estimate * (end / estimate) ** widening
        moved = np.where(np.logical_and(positive, (estimate > 0) & (end >= 0)), scaled, moved)
        moved = np.where(np.isfinite(end) & np.isfinite(estimate), moved, end)
        both.append(np.where(np.isnan(estimate), np.nan, moved))
    return both[0], both[1]
