"""Tables of what a network shares between inputs: against lag, between classes and groups, and with distance."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics import coherence
from surroscope.diagnostics.coupling import Coupled, relative
from surroscope.diagnostics.scalars import Measured
from surroscope.influence.coupling import MEASURES, normalized, standard_error
from surroscope.tables.influence import BINS, pooled


def coupled(datasets: Sequence[xr.Dataset], weights: str, shared: int = 0) -> list[Coupled]:
    """The kernel of one network at one epoch, all seeds pooled: from all draws, then from those of each replicate.

    weights: "trained" or "untrained"; none if no dataset has it; shared: see `Coupled`
    """
    if not all(weights in dataset["weights"].values for dataset in datasets):
        return []
    # The untrained network is looked at in the first probe batches.
    of = [dataset.sel(weights=weights).dropna("probe", how="all") for dataset in datasets]
    seeds = np.repeat([dataset.attrs["seed"] for dataset in of], of[0].sizes["probe"])
    arrays = {
        field.name: pooled(of, field.name, ...)
        for field in fields(Coupled)
        if field.name not in ("seeds", "noises", "shared")
    }
    noises = tuple(map(float, of[0]["noise"].values))

    def of_draws(number: int) -> Coupled:
        own = {n: v if n in ("alignment", "distance") else v[:, number] for n, v in arrays.items()}
        return Coupled(seeds=seeds, noises=noises, shared=shared, **own)

    return [of_draws(number) for number in range(of[0].sizes["replicate"])]


def of_model(
    trained: Sequence[Coupled], untrained: Sequence[Coupled], m: Measured, classes: list[str], system: str
) -> dict[str, pd.DataFrame]:
    """The tables of one model at its last probed epoch.

    m: its influence, which stands beside the kernel as H[j, i] / sqrt(H[j, j] H[i, i]), the cosine of the two steps
    """
    size = m.influence.shape[1] * m.influence.shape[2]
    cosine = np.stack([normalized(h, 0.5) for h in m.influence.reshape(-1, size, size)]).reshape(m.influence.shape)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in ("lag", "classes", "groups", "distance")}

    def keep(kind: str, table: pd.DataFrame, measure: str, weights: str, of: Measured | Coupled) -> None:
        table.insert(0, "weights", weights)
        table.insert(0, "measure", measure)
        parts[kind].append(table.assign(**of.counts))

    for weights, replicates in (("trained", trained), ("untrained", untrained)):
        if not replicates:
            continue
        whole = replicates[0]
        between = {name: [c.between_inputs(name) for c in replicates] for name in (*MEASURES, "alignment")}
        if weights == "trained":
            between["influence"] = [cosine]
        for name, values in between.items():
            seeds = m.seeds if name == "influence" else whole.seeds
            found = {
                "lag": by_lag(values, seeds, m.first),
                "classes": by_class([np.median(np.einsum("natbt->nabt", v), axis=-1) for v in values], seeds, classes),
            }
            if name != "influence":
                bins = BINS.get(system, BINS["CE"])
                found["distance"] = coherence.interpolation(values[0], seeds, whole.distance, *bins)
            for kind, table in found.items():
                keep(kind, table, name, weights, m if name == "influence" else whole)
        groups = [relative(c.explained_class[:, 0]) for c in replicates]
        keep("classes", by_class(groups, whole.seeds, classes), "kernel_transfer", weights, whole)
        keep("groups", by_group(replicates, classes), "kernel_transfer", weights, whole)
    return {f"coupling_{name}": pd.concat(tables, ignore_index=True) for name, tables in parts.items()}


def draws_error(replicates: Sequence[float]) -> float:
    """Standard error over the random draws of a median; NaN of what has none."""
    return float(standard_error(np.array(replicates))) if len(replicates) > 1 else np.nan


def by_lag(replicates: Sequence[np.ndarray], seeds: np.ndarray, first: int) -> pd.DataFrame:
    """A measure (n, C, T, C, T) against lag, within a class and between classes; first: see `coherence.time_lag`."""
    table = coherence.time_lag(replicates[0], seeds, first)
    medians = [[np.median(values) for _, _, values in coherence.by_lag(part)] for part in replicates]
    return table.assign(error=[draws_error(one) for one in zip(*medians, strict=True)])


def by_class(replicates: Sequence[np.ndarray], seeds: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """A measure between classes (n, C, C)."""
    return pd.DataFrame(
        [
            {"response_class": name_a, "perturbation_class": name_b}
            | coherence.summary(replicates[0][:, a, b], seeds)
            | {"error": draws_error([np.median(part[:, a, b]) for part in replicates])}
            for b, name_b in enumerate(classes)
            for a, name_a in enumerate(classes)
        ]
    )


def by_group(replicates: Sequence[Coupled], classes: list[str]) -> pd.DataFrame:
    """Kernel transfer between windows of times of each class."""
    whole = replicates[0]
    values = [relative(c.explained_group[:, 0]) for c in replicates]
    windows = values[0].shape[1] // len(classes)
    names = [(name, window) for name in classes for window in range(windows)]
    return pd.DataFrame(
        [
            {"response_class": name_a, "response_window": window_a}
            | {"perturbation_class": name_b, "perturbation_window": window_b}
            | coherence.summary(values[0][:, a, b], whole.seeds)
            | {"error": draws_error([np.median(part[:, a, b]) for part in values])}
            for b, (name_b, window_b) in enumerate(names)
            for a, (name_a, window_a) in enumerate(names)
        ]
    )
