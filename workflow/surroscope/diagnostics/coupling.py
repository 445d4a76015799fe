"""The numbers that say what a network shares between inputs, from the kernel alone. docs/coupling.md defines them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from surroscope.diagnostics.scalars import Scalar, class_medians
from surroscope.influence.coupling import standard_error

LAG = 8


@dataclass(frozen=True)
class Coupled:
    """What was measured of the kernel at one epoch of one network, trained or not: n units (a probe batch of a seed).

    seeds: (n,); noises: (E,)
    explained: τ of one input by another (n, E, C, T, C, T); explained_class, explained_window, explained_group:
        of groups (n, E, G, G), see `influence.coupling.explained`
    coupling, matched_white, matched_residual: κ and ρ for η = I, then damped by each noise (n, 1 + E, C, T, C, T)
    alignment: cosine of the residuals (n, C, T, C, T); distance: of the inputs, the same
    shared: up to which lag transitions share snapshots, see `scalars.half_life`
    """

    seeds: np.ndarray
    noises: tuple[float, ...]
    explained: np.ndarray
    explained_class: np.ndarray
    explained_window: np.ndarray
    explained_group: np.ndarray
    coupling: np.ndarray
    matched_white: np.ndarray
    matched_residual: np.ndarray
    alignment: np.ndarray
    distance: np.ndarray
    shared: int = 0

    def take(self, units: np.ndarray) -> "Coupled":
        """Some of the units, which may repeat."""
        whole = {field.name: getattr(self, field.name) for field in fields(self)}
        return Coupled(**{k: v[units] if isinstance(v, np.ndarray) else v for k, v in whole.items()})

    @property
    def classes(self) -> int:
        """How many there are."""
        return self.explained.shape[2]

    @property
    def counts(self) -> dict[str, int]:
        """How many seeds there are, and probe batches of each."""
        n_seeds = len(set(self.seeds.tolist()))
        return {"n_seeds": n_seeds, "n_probes": len(self.seeds) // n_seeds}

    def between_inputs(self, measure: str) -> np.ndarray:
        """A measure between inputs (n, C, T, C, T): κ and ρ with η = I, τ relative to the input's own."""
        if measure == "alignment":
            return self.alignment
        values = getattr(self, measure)[:, 0]
        if measure != "explained":
            return values
        size = values.shape[1] * values.shape[2]
        return relative(values.reshape(-1, size, size)).reshape(values.shape)


def relative(share: np.ndarray) -> np.ndarray:
    """τ(a|b) / τ(a|a), (..., G, G): what b tells of a, in units of what a tells of itself; NaN of nothing."""
    own = np.diagonal(share, axis1=-2, axis2=-1)[..., None]
    return np.divide(share, own, out=np.full_like(share, np.nan), where=own > 0)


def pairs_of_classes(c: Coupled, noise: int = 0) -> np.ndarray:
    """Median over units of the kernel transfer between classes (C, C): [a, b] is that to a from b."""
    return np.median(relative(c.explained_class[:, noise]), axis=0)


def transfer_class(c: Coupled, noise: int = 0) -> float:
    """Median over ordered pairs of classes."""
    transfer = pairs_of_classes(c, noise)
    return float(np.median(transfer[~np.eye(len(transfer), dtype=bool)]))


def transfer_least(c: Coupled) -> float:
    """Of the pair of classes that shares least, the mean of both directions."""
    transfer = pairs_of_classes(c)
    return float(((transfer + transfer.T) / 2)[~np.eye(len(transfer), dtype=bool)].min())


def transfer_time(c: Coupled, noise: int = 0) -> float:
    """Between the first and the last window of times, mean of both directions, median over units."""
    transfer = relative(c.explained_window[:, noise])
    return float(np.median((transfer[:, 0, -1] + transfer[:, -1, 0]) / 2))


def same_time(values: Callable[[Coupled], np.ndarray]) -> Callable[[Coupled], float]:
    """Median over pairs of classes of the median over times."""
    return lambda c: float(np.median(class_medians(values(c))[1]))


def at_lag(values: Callable[[Coupled], np.ndarray]) -> Callable[[Coupled], float]:
    """Median between inputs of one class LAG steps apart, either way; NaN if there are none."""

    def value(c: Coupled) -> float:
        between = values(c)
        same = np.eye(between.shape[1], dtype=bool)
        ways = [np.diagonal(between, offset=offset, axis1=2, axis2=4)[:, same] for offset in (-LAG, LAG)]
        return float(np.mean([np.median(way) for way in ways])) if ways[0].size else np.nan

    return value


def _of_inputs(name: str, words: str, values: Callable[[Coupled], np.ndarray], positive: bool) -> dict[str, Scalar]:
    return {
        f"{name}_class": Scalar(same_time(values), f"{words}, of two classes at equal times", positive, True),
        f"{name}_lag_{LAG}": Scalar(at_lag(values), f"{words}, of one class {LAG} steps apart", positive),
    }


TRANSFER = {
    "kernel_transfer_class": Scalar(
        transfer_class, "share of what random steps change at one class that another class tells", True, between=True
    ),
    "kernel_transfer_class_least": Scalar(
        transfer_least, "the same, of the two classes that share least", positive=True, between=True
    ),
    "kernel_transfer_time": Scalar(
        transfer_time,
        "share of what random steps change in the first times that the last tell, and back",
        positive=True,
    ),
}


def _metric(measure: str, row: int) -> Callable[[Coupled], np.ndarray]:
    return lambda c: getattr(c, measure)[:, row]


SCALARS: dict[str, Scalar] = {
    **TRANSFER,
    **_of_inputs("explained", "share that one input tells of another", lambda c: c.between_inputs("explained"), True),
    **{
        name: scalar
        for measure, words in (
            ("coupling", "coupling κ"),
            ("matched_white", "matched transfer ρ of white noise"),
            ("matched_residual", "matched transfer ρ of the study's residuals"),
        )
        for row, metric in enumerate(("", "_damped"))
        for name, scalar in _of_inputs(
            f"{measure}{metric}",
            f"{words}, {'damped metric' if row else 'no metric'}",
            _metric(measure, row),
            measure == "coupling",
        ).items()
    },
    **_of_inputs("alignment", "cosine of the residuals", lambda c: c.alignment, False),
}


def errors(replicates: Sequence[Coupled], names: Sequence[str]) -> dict[str, float]:
    """Jackknife standard error over the random draws of each number, from all draws and the replicates."""
    values = np.array([[SCALARS[name].value(c) for name in names] for c in replicates])
    return dict(zip(names, standard_error(values).tolist(), strict=True))
