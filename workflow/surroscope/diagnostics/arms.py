"""Networks that differ in how they are trained ("arms"): what each ended at, and how it compares with a baseline.

Every comparison is paired: the same seed, test trajectory, class and start. docs/remedies.md has the definitions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surroscope.diagnostics import bootstrap


@dataclass(frozen=True)
class Flown:
    """Rollouts of one network at one epoch, of n units (a test trajectory of every class, of a seed).

    seeds: (n,); error: SMSE of each step (n, C, start, snapshot), NaN where snapshot <= start, infinite if it blew up
    drift: of conserved totals in the rollout from the first start (n, C, step, conserved), of which there may be none
    first: the snapshot of the first start; times: transitions from there that are trained on and probed
    """

    seeds: np.ndarray
    error: np.ndarray
    drift: np.ndarray
    first: int
    times: int

    @property
    def counts(self) -> dict[str, int]:
        """How many seeds there are, and trajectories of each class."""
        n_seeds = len(set(self.seeds.tolist()))
        return {"n_seeds": n_seeds, "n_trajectories": len(self.seeds) // n_seeds}

    def by_seed(self, values: np.ndarray) -> np.ndarray:
        """Median of (n, ...) over all of each seed, (seeds,), in their order."""
        return np.array([np.median(values[self.seeds == seed]) for seed in dict.fromkeys(self.seeds.tolist())])

    def cumulative(self, steps: int, classes: Sequence[int], later: int = 0) -> np.ndarray:
        """SMSE summed over so many steps, of every start that has them, from the `later`-th: (n, classes, starts)."""
        error = self.error[:, classes]
        starts = range(later, error.shape[2] + 1 - steps)
        sums = [error[:, :, t, t + 1 : t + 1 + steps].sum(axis=-1) for t in starts]
        return np.stack(sums, axis=-1) if sums else np.full((*error.shape[:2], 1), np.nan)


def outcomes(arm: Flown, first: int, steps: int, classes: Sequence[int]) -> dict[str, np.ndarray]:
    """What a network ended at, (n, classes, pairs) each, the smaller the better; starts are from snapshot `first` on.

    rollout: SMSE summed over so many steps, of every start that has them; one_step: of the probed times; beyond: of the
    rollout from the first start, summed over the snapshots after those trained on; drift: of the conserved total that
    drifts most, after so many steps of the rollout from the network's own first start. What a study lacks is left out.
    """
    later, last = first - arm.first, arm.times
    found = {"rollout": arm.cumulative(steps, classes, later)}
    found["one_step"] = np.stack([arm.error[:, classes, t, t + 1] for t in range(later, last)], axis=-1)
    if arm.error.shape[-1] > last + 1:
        found["beyond"] = arm.error[:, classes, later, last + 1 :].sum(axis=-1, keepdims=True)
    if arm.drift.shape[-1]:
        found["drift"] = arm.drift[:, classes, steps - 1].max(axis=-1)[..., None]
    return found


def log_ratio(arm: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """ln(arm / baseline), of one shape; 0 where both are equal, as of two rollouts that blew up."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(arm == baseline, 0.0, np.log(arm) - np.log(baseline))


def compared(arm: np.ndarray, baseline: np.ndarray, seeds: np.ndarray) -> dict[str, float]:
    """One outcome of an arm, (n, classes, pairs), and its ratio to the baseline's, with intervals over the n units.

    ratio: exp of the median of ln(arm / baseline) over all pairs, which a few rollouts that blew up do not move
    geometric: exp of its mean, which they make infinite; better: share of pairs in which the arm errs less, ties half
    blown_up, baseline_blown_up: share of rollouts that left the floating-point numbers
    """
    logs = log_ratio(arm, baseline)
    low, high = bootstrap.median_interval(logs, seeds)
    error_low, error_high = bootstrap.median_interval(arm, seeds, positive=True)
    with np.errstate(over="ignore", invalid="ignore"):
        geometric = float(np.exp(logs.mean()))
    return {
        **{"error": float(np.median(arm)), "error_low": error_low, "error_high": error_high},
        **{"ratio": float(np.exp(np.median(logs))), "low": float(np.exp(low)), "high": float(np.exp(high))},
        "geometric": geometric,
        "better": float((logs < 0).mean() + (logs == 0).mean() / 2),
        "blown_up": float(np.isinf(arm).mean()),
        "baseline_blown_up": float(np.isinf(baseline).mean()),
    }
