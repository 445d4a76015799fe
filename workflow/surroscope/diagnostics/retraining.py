"""What training without a group of transitions does, and how well influence foretells it. docs/validation.md

A group is a class and a window of consecutive times, G = classes x windows of them, class by class. A[r, g] is the
effect on group r of leaving group g out of training; F[r, g] is what a measure says of it, the larger the more g helps.
"""

from collections.abc import Callable
from itertools import combinations

import numpy as np
from scipy.stats import rankdata

from surroscope.diagnostics import bootstrap, coherence
from surroscope.diagnostics.ranks import spearman

ALL, OTHERS = "all", "other groups"


def group_medians(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Medians over the transitions of each group: (..., C, N, T) of classes, trajectories, times to (..., G).

    window: of each time (T,), 0 to W - 1
    """
    parts = [values[..., window == w] for w in range(window.max() + 1)]
    medians = [np.median(part.reshape(*part.shape[:-2], -1), axis=-1) for part in parts]
    found = np.stack(medians, axis=-1)
    return found.reshape(*found.shape[:-2], -1)


def effects(without: np.ndarray, everything: np.ndarray, window: np.ndarray) -> np.ndarray:
    """A[r, g] = median over test transitions of group r of log C(trained without g) - log C(trained on all).

    without: errors of each of the G networks (G, ..., C, N, T); everything: of the one trained on all (..., C, N, T)
    Gives (..., G, G).
    """
    return np.moveaxis(group_medians(np.log(without) - np.log(everything), window), 0, -1)


def between_groups(values: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Medians of a measure between inputs, (n, C, T, C, T) over n probe batches, to that between groups (G, G)."""
    classes = values.shape[1]
    labels = (np.arange(classes)[:, None] * (window.max() + 1) + window).ravel()
    flat = values.reshape(len(values), labels.size, labels.size)
    count = labels.max() + 1
    found = [[np.median(flat[:, labels == r][..., labels == g]) for g in range(count)] for r in range(count)]
    return np.array(found)


def helped(influence: np.ndarray, responds: np.ndarray, steps: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """F[r, g]: mean over the steps of group g that were taken, times its length; median over responses of group r.

    influence: (responses, steps); responds, steps: the group of each row and of each column; lengths: how many times
    each group has (G,), of which steps may have been taken at some
    """
    sums = np.stack([influence[:, steps == g].mean(axis=1) * length for g, length in enumerate(lengths)], axis=1)
    return np.stack([np.median(sums[responds == r], axis=0) for r in range(len(lengths))])


def relations(classes: int, windows: int) -> dict[str, np.ndarray]:
    """Which entries (G, G) a comparison is over, by its name; of one class there are none between classes."""
    of = np.repeat(np.arange(classes), windows)
    same, itself = of[:, None] == of, np.eye(len(of), dtype=bool)
    found = {ALL: np.ones_like(same), "off the diagonal": ~itself}
    found |= {"within a class": same & ~itself, "between classes": ~same}
    return {name: mask for name, mask in found.items() if mask.any()}


def blocks(classes: int, windows: int) -> np.ndarray:
    """A trivial rival (G, G): the same class before any other, and within each the nearer windows before others."""
    of, window = np.divmod(np.arange(classes * windows), windows)
    return (of[:, None] == of) * float(windows) - np.abs(window[:, None] - window)


def agreement(effect: np.ndarray, predicted: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    """Spearman of the means over seeds of A and F, both (S, G, G), over the entries of a mask, with its 95 % interval.

    Entries of one map depend on each other. A draw takes seeds and groups with replacement, the same groups for rows
    and columns, each with all that it has to do with the others; what is on the diagonal of the maps stays there.
    """
    seeds, groups = effect.shape[:2]
    draw = np.random.default_rng(0)

    def z(chosen: np.ndarray, of: np.ndarray) -> float:
        inside = mask[np.ix_(of, of)]
        one, two = (m[chosen].mean(axis=0)[np.ix_(of, of)][inside] for m in (effect, predicted))
        with np.errstate(divide="ignore"):  # of a perfect one it is infinite
            return float(np.arctanh(spearman(one, two)))

    estimate = z(np.arange(seeds), np.arange(groups))
    of = [draw.integers(count, size=(bootstrap.DRAWS, count)) for count in (seeds, groups)]
    drawn = np.array([z(*chosen) for chosen in zip(*of, strict=True)])
    low, high = np.tanh(bootstrap.ends(np.array(estimate), drawn, seeds))
    return float(np.tanh(estimate)), float(low), float(high)


def spearman_brown(correlation: float, count: int) -> float:
    """Reliability of the mean of so many replicates, from the correlation of two: k r / (1 + (k - 1) r)."""
    return count * correlation / (1 + (count - 1) * correlation)


def ceiling(correlation: float, count: int) -> float:
    """The most that a prediction of what all replicates share can correlate with their mean: √ of its reliability.

    NaN where replicates do not agree at all: then the mean is noise.
    """
    return float(np.sqrt(spearman_brown(correlation, count))) if correlation > 0 else np.nan


def between_seeds(maps: np.ndarray, of: Callable[[np.ndarray, np.ndarray], float] = spearman) -> float:
    """Mean correlation of any two of the seeds' maps (S, ...); NaN of one seed."""
    found = [of(one, two) for one, two in combinations(maps, 2)]
    return float(np.mean(found)) if found else np.nan


def datamodelling(outcome: np.ndarray, kept: np.ndarray, predicted: np.ndarray, others: bool = False) -> np.ndarray:
    """Linear datamodelling score: Spearman over subsets of Σ_{g in S} F[r, g] with the measured outcome, mean over r.

    outcome: -median log C at group r of the network trained on each of m subsets, (..., m, G)
    kept: which groups it was trained on (..., m, G) bool; predicted: F (..., G, G)
    others: hold fixed whether r itself was trained on, which moves r most: correlation of the ranks less their means
        among the subsets with r, and among those without

    Gives (...), NaN where what is foretold of some r is the same for all subsets.
    """
    x, y = (_ranks(values, kept, others) for values in (kept @ predicted.swapaxes(-1, -2), outcome))
    return _correlations(x, y).mean(axis=-1)


def _ranks(values: np.ndarray, kept: np.ndarray, others: bool) -> np.ndarray:
    """Ranks over subsets (..., m, G) less their mean, or their means among the subsets with each group and without."""
    ranks = rankdata(values, axis=-2)
    ranks = ranks - ranks.mean(axis=-2, keepdims=True)
    if not others:
        return ranks
    own = kept - kept.mean(axis=-2, keepdims=True)
    power = (own**2).sum(axis=-2, keepdims=True)
    slope = np.divide((ranks * own).sum(axis=-2, keepdims=True), power, out=np.zeros_like(power), where=power > 0)
    return ranks - slope * own


def _correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each group over subsets: (..., m, G) of no mean to (..., G); NaN where one is the same throughout."""
    scale = (x**2).sum(axis=-2) * (y**2).sum(axis=-2)
    # Ranks are halves of whole numbers: what is less is round-off.
    return (x * y).sum(axis=-2) / np.sqrt(np.where(scale > 1e-9, scale, np.nan))


def datamodelled(
    outcome: np.ndarray, kept: np.ndarray, predicted: np.ndarray, others: bool = False
) -> tuple[float, np.ndarray]:
    """The score of the means over seeds of outcomes (S, m, G) and of F (S, G, G), and that of each draw (DRAWS,).

    A draw takes seeds and subsets with replacement; the same sizes always have the same draws, so that two measures
    are compared by what differs in each.
    """
    draw = np.random.default_rng(0)
    seeds, subsets = (draw.integers(count, size=(bootstrap.DRAWS, count)) for count in outcome.shape[:2])
    outcomes = np.take_along_axis(outcome[seeds].mean(axis=1), subsets[..., None], axis=1)
    estimate = datamodelling(outcome.mean(axis=0), kept, predicted.mean(axis=0), others)
    return float(estimate), datamodelling(outcomes, kept[subsets], predicted[seeds].mean(axis=1), others)


def outcomes_agree(kept: np.ndarray, others: bool = False) -> Callable[[np.ndarray, np.ndarray], float]:
    """How far outcomes (m, G) of two seeds agree, as `datamodelling` would have it if one foretold the other."""

    def mean(one: np.ndarray, two: np.ndarray) -> float:
        return float(_correlations(_ranks(one, kept, others), _ranks(two, kept, others)).mean())

    return mean


def summed(maps: np.ndarray, classes: int, windows: int) -> dict[str, np.ndarray]:
    """Maps (..., G, G) between classes (..., C, C), and between windows (..., W, W).

    Summed over what is left out, and the mean over what responds: effects add up, to first order, over what is lost.
    """
    split = maps.reshape(*maps.shape[:-2], classes, windows, classes, windows)
    return {"class": split.sum(axis=-1).mean(axis=-2), "window": split.sum(axis=-2).mean(axis=-3)}


def locking(maps: np.ndarray, classes: int, windows: int, length: int) -> dict[str, float]:
    """How far a map (G, G) is confined to its diagonal; NaN where that is not positive. length: of a window, in steps

    off_diagonal_ratio: sum within classes off the diagonal, over the sum on it; class_transfer: median between classes
    of the same window over the median on the diagonal; half_life: steps, by windows apart, at which the median within
    a class falls to half, infinite if it does not
    """
    split = maps.reshape(classes, windows, classes, windows)
    within = np.einsum("awav->awv", split)
    diagonal = np.einsum("aww->aw", within)
    if not np.median(diagonal) > 0 or not diagonal.sum() > 0:
        return dict.fromkeys(("off_diagonal_ratio", "class_transfer", "half_life"), np.nan)
    apart = np.abs(np.subtract.outer(np.arange(windows), np.arange(windows)))
    curve = np.array([np.median(within[:, apart == lag]) for lag in range(windows)])
    between = np.einsum("awbw->abw", split)[~np.eye(classes, dtype=bool)]
    return {
        "off_diagonal_ratio": float((within.sum() - diagonal.sum()) / diagonal.sum()),
        "class_transfer": float(np.median(between) / np.median(diagonal)) if between.size else np.nan,
        "half_life": coherence.first_crossing(length * np.arange(windows, dtype=float), curve, curve[0] / 2),
    }


def gain_kept(without: np.ndarray, everything: np.ndarray, persistence: np.ndarray) -> float:
    """(P - E without) / (P - E of all) of mean errors: 1 where nothing is lost, 0 where no change does as well.

    NaN where the network that was trained on all is not better than no change.
    """
    gain = persistence.mean() - everything.mean()
    return float((persistence.mean() - without.mean()) / gain) if gain > 0 else np.nan


def nearest_other(maps: np.ndarray) -> np.ndarray:
    """What a measure (n, n) says is kept of each that is left out: the most that another helps, relative to its own."""
    own = np.diagonal(maps)
    others = np.where(np.eye(len(maps), dtype=bool), -np.inf, maps).max(axis=1)
    return np.divide(others, own, out=np.full(len(own), np.nan), where=own > 0)


def noise(maps: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Of the entries of a mask in the maps of all seeds (S, G, G): how far they differ, and each of them between seeds.

    spread: standard deviation over entries of the mean over seeds; seed_noise: that over seeds of single entries, root
    mean square, NaN of one seed
    """
    values = maps[:, mask]
    between = np.sqrt(values.var(axis=0, ddof=1).mean()) if len(values) > 1 else np.nan
    return {"spread": float(values.mean(axis=0).std()), "seed_noise": float(between)}
