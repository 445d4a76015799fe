"""The numbers that sum a checkpoint up. docs/scalars.md has each one's formula.

Every scalar is a function of what was measured at one epoch of one network, pooled over its units (probe batches of
seeds): over those of one seed it is the checkpoint's own number, over all it is the study's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from surroscope.diagnostics import coherence
from surroscope.symmetry import D4, IDENTITY

LAGS = (0, 1, 2, 8)
NEAR = 0.3


@dataclass(frozen=True)
class Measured:
    """What was measured at one epoch of one network: n units along the first axis of every array.

    seeds: (n,); influence: H of the cost on itself, not normalised (n, C, T, C, T); standardised: H_std, the same
    centres, binned: distances (k,), and the mean of H_std of each unit there (n, k), see `coherence.binned`
    eigenvalue: of η̂, NaN past its rank (n, modes); outputs: M
    error, persistence: of rollouts (n, C, start, snapshot), NaN where snapshot <= start
    image_error: SMSE at the image of each sample (n, A, C, T) under each of `actions`
    drift: of conserved totals (n, C, steps, conserved), of which there may be none
    zero_gradients: samples whose gradient of each of `observables` is exactly zero (n, observables)
    first: the snapshot that the first transition starts from, T - 1 of a network that is given T; rollouts from earlier
        ones there are none, and starts and snapshots are counted from it
    shared: up to which lag transitions share snapshots, and the half-life leaves them out
    """

    seeds: np.ndarray
    influence: np.ndarray
    standardised: np.ndarray
    centres: tuple[float, ...]
    binned: np.ndarray
    eigenvalue: np.ndarray
    outputs: int
    error: np.ndarray
    persistence: np.ndarray
    image_error: np.ndarray
    actions: tuple[str, ...]
    drift: np.ndarray
    zero_gradients: np.ndarray
    observables: tuple[str, ...]
    first: int = 0
    shared: int = 0

    def take(self, units: np.ndarray) -> "Measured":
        """Some of the units, which may repeat."""
        whole = {field.name: getattr(self, field.name) for field in fields(self)}
        return Measured(**{k: v[units] if isinstance(v, np.ndarray) else v for k, v in whole.items()})

    @property
    def classes(self) -> int:
        """How many there are."""
        return self.influence.shape[1]

    @property
    def counts(self) -> dict[str, int]:
        """How many seeds there are, and probe batches of each."""
        n_seeds = len(set(self.seeds.tolist()))
        return {"n_seeds": n_seeds, "n_probes": len(self.seeds) // n_seeds}

    @cached_property
    def lags(self) -> dict[str, np.ndarray]:
        """See `lag_medians`, of H_std."""
        return lag_medians(self.standardised)

    @cached_property
    def class_medians(self) -> tuple[np.ndarray, np.ndarray]:
        """See `class_medians`, of H_std."""
        return class_medians(self.standardised)

    @cached_property
    def by_distance(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances of the bins that any unit reaches, and the median over units of H_std in each."""
        reached = ~np.isnan(self.binned).all(axis=0)
        return np.array(self.centres)[reached], np.nanmedian(self.binned[:, reached], axis=0)


def lag_medians(h: np.ndarray) -> dict[str, np.ndarray]:
    """Median of H (n, C, T, C, T) at each lag, intra and inter-class, see `coherence.by_lag`."""
    found: dict[str, list[float]] = {"intra": [], "inter": []}
    for relation, _, values in coherence.by_lag(h):
        found[relation].append(np.median(values))
    return {relation: np.array(medians) for relation, medians in found.items()}


def class_matrix(h: np.ndarray) -> np.ndarray:
    """Median same-time H (n, C, T, C, T) of each class at each, (C, C)."""
    same_time = np.einsum("natbt->abnt", h)
    return np.median(same_time.reshape(*same_time.shape[:2], -1), axis=-1)


def class_medians(h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median same-time H (n, C, T, C, T) of each class on itself (C,), and of each pair of classes (C (C - 1),)."""
    medians = class_matrix(h)
    own = np.eye(len(medians), dtype=bool)
    return medians[own], medians[~own]


def half_life(intra: np.ndarray, shared: int = 0) -> float:
    """Lag, either way, at which median intra-class H falls to half of its value at lag 0, in steps.

    intra: at lags -L to L, (2 L + 1,)
    shared: lags up to this one are left out, at which two transitions share snapshots that the network is given: NaN
        where it has fallen by the next, or there is none
    """
    reach = len(intra) // 2
    folded = (intra[reach:] + intra[reach::-1]) / 2
    start = shared + 1 if shared else 0
    if shared and (start > reach or folded[start] < folded[0] / 2):
        return np.nan
    return coherence.first_crossing(np.arange(start, reach + 1.0), folded[start:], folded[0] / 2)


def class_transfer(own: np.ndarray, others: np.ndarray) -> float:
    """Median off the diagonal over median on the diagonal of the class matrix's medians."""
    return float(np.median(others) / np.median(own))


def lag(relation: str, steps: int) -> Callable[[Measured], float]:
    """Median H_std so many steps after the perturbation; NaN beyond the largest lag."""

    def value(m: Measured) -> float:
        curve = m.lags[relation]
        reach = len(curve) // 2
        return float(curve[reach + steps]) if steps <= reach else np.nan

    return value


def two_time_diagonal(m: Measured) -> float:
    """Median H_std of a step on its own transition."""
    return float(np.median(np.einsum("nctct->nct", m.standardised)))


def defined_median(values: np.ndarray) -> float:
    """Median of the values that are not NaN; NaN if none is."""
    values = values[~np.isnan(values)]
    return float(np.median(values)) if values.size else np.nan


def off_diagonal_ratio(influence: np.ndarray) -> np.ndarray:
    """R = Σ of intra-class off-diagonal H / Σ of its diagonal, per unit and class: (n, C, T, C, T) to (n, C).

    NaN where every gradient of a class is zero.
    """
    own = np.einsum("nctcs->ncts", influence)
    diagonal = np.trace(own, axis1=2, axis2=3)
    rest = own.sum(axis=(2, 3)) - diagonal
    return np.divide(rest, diagonal, out=np.full_like(rest, np.nan), where=diagonal != 0)


def diagonal_mean(m: Measured) -> float:
    """Mean H of a step on its own transition, not normalised."""
    return float(np.einsum("nctct->nct", m.influence).mean())


def off_diagonal_mean(m: Measured) -> float:
    """Mean H of a step on all other transitions of its batch, not normalised."""
    size = m.influence.shape[1] * m.influence.shape[2]
    return float((m.influence.sum() / len(m.influence) - size * diagonal_mean(m)) / (size * (size - 1)))


def at_distance(m: Measured, distance: float) -> float:
    """Median H_std between inputs at a distance, linear in its logarithm between bins; NaN where there are none."""
    x, y = m.by_distance
    return float(np.interp(np.log(distance), np.log(x), y, left=np.nan, right=np.nan))


def largest_metric_eigenvalue(m: Measured) -> float:
    """Largest eigenvalue of M η̂, median over units."""
    return float(np.median(np.nanmax(m.eigenvalue, axis=1))) * m.outputs


def condition(m: Measured) -> float:
    """Largest over smallest eigenvalue of η̂, median over units; infinite where the smallest is not positive."""
    largest, smallest = np.nanmax(m.eigenvalue, axis=1), np.nanmin(m.eigenvalue, axis=1)
    ratios = np.divide(largest, smallest, out=np.full(len(largest), np.inf), where=smallest > 0)
    return float(np.median(ratios))


def participation_ratio(m: Measured) -> float:
    """(Σ λ)² / Σ λ² of the eigenvalues of η̂, median over units: how many directions share the metric."""
    return float(np.median(np.nansum(m.eigenvalue, axis=1) ** 2 / np.nansum(m.eigenvalue**2, axis=1)))


def rank(m: Measured) -> float:
    """Directions of the span that the rank cut kept, median over units."""
    return float(np.median((~np.isnan(m.eigenvalue)).sum(axis=1)))


def one_step_gain(m: Measured, seen: bool) -> float:
    """Error of one step over that of no change, at the snapshots after those trained on, or the last as many before.

    Median over units, classes and starts, but for states at rest; NaN where a study has no later snapshots.
    """
    trained, starts = m.influence.shape[2], m.error.shape[2]
    later = np.arange(trained, starts)
    at = later - len(later) * seen
    at = at[at >= 0]
    error, none = (values[:, :, at, at + 1] for values in (m.error, m.persistence))
    return defined_median(np.divide(error, none, out=np.full_like(error, np.nan), where=none > 0))


def trust_horizon(m: Measured) -> float:
    """First step of a rollout from snapshot 0 whose error passes that of no change, median; infinite if none does.

    Rollouts of a state at rest, which no change predicts without error, are left out; NaN if all are.
    """
    persistence = m.persistence[:, :, 0, 1:]
    passed = m.error[:, :, 0, 1:] >= persistence
    first = np.where(passed.any(axis=-1), passed.argmax(axis=-1) + 1.0, np.inf)
    return defined_median(np.where((persistence == 0).all(axis=-1), np.nan, first))


def conservation_drift(m: Measured) -> float:
    """Drift of the conserved total that drifts most, at the last probed time of a rollout from snapshot 0, median."""
    return float(np.median(m.drift[:, :, m.influence.shape[2] - 1].max(axis=-1))) if m.drift.shape[-1] else np.nan


def relative_errors(m: Measured) -> np.ndarray:
    """SMSE(g s) / SMSE(s) of every unit, action, class and time (n, A, C, T); 1 where the two are equal."""
    own = np.broadcast_to(m.image_error[:, [m.actions.index(IDENTITY)]], m.image_error.shape)
    same = m.image_error == own
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(same, 1.0, m.image_error / own)


def equivariance_error(m: Measured) -> float:
    """Median SMSE(g s) / SMSE(s) over the turns and mirror images of D4; 1 for an equivariant network."""
    chosen = [m.actions.index(name) for name in D4[1:] if name in m.actions]
    return float(np.median(relative_errors(m)[:, chosen])) if chosen else np.nan


@dataclass(frozen=True)
class Scalar:
    """A number of what was measured.

    positive: its definition allows no negative value, so nor may its interval; between: it is of several classes
    """

    value: Callable[[Any], float]
    description: str
    positive: bool = False
    between: bool = False


def of_classes(scalars: Mapping[str, Scalar], count: int) -> dict[str, Scalar]:
    """Those that there are where there are so many classes."""
    return {name: scalar for name, scalar in scalars.items() if count > 1 or not scalar.between}


SCALARS = {
    "two_time_diagonal": Scalar(two_time_diagonal, "influence of a step on its own transition", positive=True),
    **{
        f"{relation}_class_lag_{steps}": Scalar(
            lag(relation, steps),
            f"{relation}-class influence {steps} steps after the perturbation",
            positive=(relation, steps) == ("intra", 0),
            between=relation == "inter",
        )
        for relation in ("intra", "inter")
        for steps in LAGS
    },
    "half_life": Scalar(
        lambda m: half_life(m.lags["intra"], m.shared),
        "lag at which intra-class influence is half of that at lag 0, in steps",
        positive=True,
    ),
    "class_diagonal": Scalar(
        lambda m: float(np.median(m.class_medians[0])), "same-time influence within a class", positive=True
    ),
    "class_off_diagonal": Scalar(
        lambda m: float(np.median(m.class_medians[1])), "same-time influence between classes", between=True
    ),
    "class_transfer_ratio": Scalar(
        lambda m: class_transfer(*m.class_medians), "class_off_diagonal over class_diagonal", between=True
    ),
    "off_diagonal_ratio": Scalar(
        lambda m: defined_median(off_diagonal_ratio(m.influence)),
        "R, intra-class influence off the diagonal over that on it, sums, not normalised",
    ),
    "influence_nearest": Scalar(lambda m: float(m.by_distance[1][0]), "influence between the nearest distinct inputs"),
    "influence_near": Scalar(lambda m: at_distance(m, NEAR), f"influence between inputs at distance {NEAR}"),
    "dynamic_correlation_length": Scalar(
        lambda m: coherence.first_crossing(m.by_distance[0], m.by_distance[1], 0.0),
        "distance at which influence first crosses zero",
        positive=True,
    ),
    "diagonal_mean": Scalar(
        diagonal_mean, "mean influence of a step on its own transition, not normalised", positive=True
    ),
    "off_diagonal_mean": Scalar(off_diagonal_mean, "mean influence of a step on other transitions, not normalised"),
    "largest_metric_eigenvalue": Scalar(largest_metric_eigenvalue, "largest eigenvalue of M η̂", positive=True),
    "condition": Scalar(condition, "largest over smallest eigenvalue of η̂", positive=True),
    "participation_ratio": Scalar(participation_ratio, "directions that share the metric η̂", positive=True),
    "rank": Scalar(rank, "directions kept of the span", positive=True),
    "one_step_error_seen_times": Scalar(
        lambda m: one_step_gain(m, seen=True),
        "error of one step over that of no change, at the last times trained on, on test trajectories",
        positive=True,
    ),
    "one_step_error_unseen_times": Scalar(
        lambda m: one_step_gain(m, seen=False), "the same, at the later times that training never saw", positive=True
    ),
    "trust_horizon": Scalar(
        trust_horizon, "first rollout step whose error reaches that of predicting no change", positive=True
    ),
    "conservation_drift": Scalar(
        conservation_drift,
        "relative change of the worst conserved total in a rollout over the probed times",
        positive=True,
    ),
    "equivariance_error": Scalar(
        equivariance_error,
        "one-step error at turned and mirrored states over that at the states themselves",
        positive=True,
    ),
}
