"""Tables of influence: between times, classes and lags, with distance, and its metric's spectrum; all seeds pooled."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics import coherence
from surroscope.diagnostics.scalars import SCALARS, Measured
from surroscope.errors import UserError
from surroscope.influence.matrices import responses_of
from surroscope.influence.normalize import NORMALIZATIONS, standard
from surroscope.influence.responses import MATRIX, Response
from surroscope.influence.solvers import SOLVERS

BARS = 40
# Bins of distance and half their width in bins, as in arXiv 2509.00024; other systems get those of CE.
BINS = {"CE": (19, 1), "NS": (15, 2)}


def kind(matrices: Sequence[xr.Dataset]) -> str:
    """The kind of influence that these matrices hold, as the column `quantity` of a table names it."""
    return SOLVERS[str(matrices[0]["solver"].item())].metric


def pooled(datasets: Sequence[xr.Dataset], name: str, *dims: Any) -> np.ndarray:
    """A variable of all seeds, (n, *dims) with n = seeds x probe batches."""
    return np.concatenate([dataset[name].transpose("probe", *dims).values for dataset in datasets])


def seeds_of(datasets: Sequence[xr.Dataset]) -> np.ndarray:
    """The seed of each of the n = seeds x probe batches, (n,)."""
    return np.repeat([dataset.attrs["seed"] for dataset in datasets], datasets[0].sizes["probe"])


def measured(seeds: Sequence[tuple[xr.Dataset, xr.Dataset]], system: str, shared: int = 0) -> Measured:
    """Influence and evaluation of each seed at one epoch, pooled. Raises UserError on a row without variance.

    shared: see `Measured`
    """
    matrices, flights = zip(*seeds, strict=True)
    cost = [m.isel(response=responses_of(m).index(Response("smse"))) for m in matrices]
    influence = pooled(cost, "influence", *MATRIX)
    size = influence.shape[1] * influence.shape[2]
    first = first_of(matrices)
    try:
        standardised = standard(influence.reshape(-1, size, size)).reshape(influence.shape)
    except ValueError as error:
        about = "{model} on {system}, epoch {epoch}".format_map(matrices[0].attrs)
        raise UserError(f"{about}, influence of the error on itself: {error}; probe another epoch") from None
    distance = pooled(matrices, "distance", *MATRIX)
    centres, binned = coherence.binned(standardised, distance, *BINS.get(system, BINS["CE"]))
    return Measured(
        seeds=seeds_of(matrices),
        influence=influence,
        standardised=standardised,
        centres=tuple(centres),
        binned=binned,
        eigenvalue=pooled(cost, "eigenvalue", "mode"),
        outputs=matrices[0].attrs["outputs"],
        error=pooled(flights, "error", "class", "start", "snapshot")[:, :, first:, first:],
        persistence=pooled(flights, "persistence", "class", "start", "snapshot")[:, :, first:, first:],
        image_error=pooled(flights, "image_error", "action", "class", "time"),
        actions=tuple(str(name) for name in flights[0]["action"].values),
        drift=pooled(flights, "drift", "class", "step", "conserved"),
        zero_gradients=zero_gradients(matrices, responses_of(matrices[0])),
        observables=tuple(dict.fromkeys(response.observable for response in responses_of(matrices[0]))),
        first=first,
        shared=shared,
    )


def first_of(datasets: Sequence[xr.Dataset]) -> int:
    """The snapshot that the first transition starts from: one less than a network is given."""
    return int(datasets[0]["response_time"].values[0])


def zero_gradients(matrices: Sequence[xr.Dataset], responses: Sequence[Response]) -> np.ndarray:
    """How many samples have a gradient of exactly zero, by batch and observable; 0 in stores that do not count them."""
    first = {response.observable: number for number, response in reversed(list(enumerate(responses)))}
    columns = [first[name] for name in dict.fromkeys(response.observable for response in responses)]
    if "zero_gradients" not in matrices[0]:
        return np.zeros((len(seeds_of(matrices)), len(columns)), int)
    return pooled(matrices, "zero_gradients", "response")[:, columns]


def of_model(matrices: Sequence[xr.Dataset], system: str, normalization: str) -> dict[str, pd.DataFrame]:
    """The influence statistics of one model: matrices of all seeds pooled, a table part a response."""
    classes = [str(name) for name in matrices[0]["response_class"].values]
    seeds, first = seeds_of(matrices), first_of(matrices)
    parts: dict[str, list[pd.DataFrame]] = {"two_time": [], "class_transfer": [], "time_lag": [], "interpolation": []}
    for number, response in enumerate(responses_of(matrices[0])):
        # Only influence of an observable on itself has a diagonal to normalise by.
        by = normalization if response.observable == response.step else "standard"
        h = normalized(matrices, number, response, system, by)
        for name, table in (
            ("two_time", coherence.two_time(h, seeds, first)),
            ("class_transfer", coherence.class_transfer(h, seeds, classes)),
            ("time_lag", coherence.time_lag(h, seeds, first)),
        ):
            table.insert(0, "normalization", by)
            table.insert(0, "step", response.step)
            table.insert(0, "observable", response.observable)
            parts[name].append(table)
        if response == Response("smse"):
            distances = pooled(matrices, "distance", *MATRIX)
            table = coherence.interpolation(h, seeds, distances, *BINS.get(system, BINS["CE"]))
            table.insert(0, "normalization", by)
            parts["interpolation"].append(table)
    tables = {name: pd.concat(part, ignore_index=True) for name, part in parts.items()}
    for table in tables.values():
        table.insert(0, "quantity", kind(matrices))
    return tables


def normalized(
    matrices: Sequence[xr.Dataset], number: int, response: Response, system: str, normalization: str
) -> np.ndarray:
    """One response of all seeds and probes, (n, C, T, C, T), each matrix normalised."""
    raw = pooled([m.isel(response=number) for m in matrices], "influence", *MATRIX)
    size = raw.shape[1] * raw.shape[2]
    try:
        return NORMALIZATIONS[normalization](raw.reshape(-1, size, size)).reshape(raw.shape)
    except ValueError as error:
        raise UserError(
            f"{matrices[0].attrs['model']}, observable {response.observable}: {error}; a network that keeps it exactly "
            f"has no gradient of it. Leave it out of systems.{system}.observables"
        ) from None


def spectrum(by_epoch: Mapping[int, Measured]) -> pd.DataFrame:
    """Eigenvalues of η̂ in the cost's span, pooled over probes and seeds, a row a probed epoch."""
    rows = []
    for epoch, m in by_epoch.items():
        eigenvalues = m.eigenvalue[~np.isnan(m.eigenvalue)]
        rows.append(
            {"epoch": epoch, "minimum": float(eigenvalues.min())}
            | coherence.quartiles(eigenvalues)
            | {"maximum": float(eigenvalues.max())}
            | {name: SCALARS[name].value(m) for name in ("condition", "largest_metric_eigenvalue")}
        )
    return pd.DataFrame(rows)


def histogram(m: Measured) -> pd.DataFrame:
    """How often H_std of the cost lies in each of BARS bars of its 1 to 99 % range, within a class and between.

    density: per unit of H_std, of the pairs of that relation; a transition on itself is in neither
    """
    size = m.standardised.shape[1] * m.standardised.shape[2]
    h = m.standardised.reshape(-1, size, size)[:, ~np.eye(size, dtype=bool)]
    kind = np.arange(size) // m.standardised.shape[2]
    intra = (kind[:, None] == kind)[~np.eye(size, dtype=bool)]
    low, high = map(float, np.quantile(h, (0.01, 0.99)))
    if low == high:  # of a network that shares nothing all are zero
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BARS + 1)
    rows = []
    for relation, values in (("intra-class", h[:, intra]), ("inter-class", h[:, ~intra])):
        if not values.size:  # there is one class
            continue
        density = np.histogram(values, edges)[0] / (values.size * np.diff(edges))
        bars = zip(edges[:-1].tolist(), edges[1:].tolist(), density.tolist(), strict=True)
        rows += [{"relation": relation, "from": a, "to": b, "density": value} for a, b, value in bars]
    return pd.DataFrame(rows).assign(**m.counts)


def two_time_training(by_epoch: Mapping[int, Measured]) -> pd.DataFrame:
    """Standardised influence of the cost between times, epoch by epoch."""
    tables = [coherence.two_time(m.standardised, m.seeds, m.first).assign(epoch=epoch) for epoch, m in by_epoch.items()]
    return pd.concat(tables, ignore_index=True)
