"""Statistics of influence that keep its labels, of arrays as `open_study` and `influence_matrix` give them.

The functions that make the tables make these numbers. A matrix has either the dimensions (response, perturbation), or
response_class, response_time, perturbation_class and perturbation_time.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics import coherence
from surroscope.errors import UserError
from surroscope.influence.normalize import standard
from surroscope.influence.responses import MATRIX

SIDES = ("response", "perturbation")
# What intervals resample, the outer first.
UNITS = ("seed", "probe")


def standardised(h: xr.DataArray) -> xr.DataArray:
    """H[j, i] / (std over all perturbations i of H[j, :] + 1e-6), the sample standard deviation (arXiv 2509.00024).

    h: influence; along dimensions beside those of a matrix each matrix is standardised by itself

    Gives the same dimensions and labels, without units. A row that is zero throughout stays zero. A matrix that is NaN
    throughout, which a study has where a checkpoint has no such number, stays NaN. Raises UserError where a row does
    not vary, and where a part of a matrix is not finite.
    """
    dims = SIDES if "perturbation" in h.dims else MATRIX
    _require(h, dims)
    last = h.transpose(..., *dims)
    rows, columns = (prod(h.sizes[name] for name in half) for half in (dims[: len(dims) // 2], dims[len(dims) // 2 :]))
    values = np.array(last.values, dtype=np.float64).reshape(-1, rows, columns)
    there = ~np.isnan(values).all(axis=(1, 2))
    if not np.isfinite(values[there]).all():
        raise UserError("a part of an influence matrix is not finite; leave out what responds or is stepped on there")
    try:
        values[there] = standard(values[there])
    except ValueError as error:
        raise UserError(f"{error}; leave that transition out") from None
    about = {"long_name": "standardised influence", "units": "1"}
    return last.copy(data=values.reshape(last.shape)).transpose(*h.dims).assign_attrs(about)


def by_lag(h: xr.DataArray) -> xr.Dataset:
    """H against the lag τ - t between response time τ and perturbation time t, as the table time_lag has it.

    h: a matrix of every class and time, and of seeds and probe batches, which are pooled

    Gives q25, median and q75 over all pairs of transitions, and the ends low and high of a 95 % bootstrap interval of
    the median over seeds and probe batches, NaN of a single one; with the dimensions relation ("intra-class",
    "inter-class") and lag, in steps from one time to the next, up to 11 either way. Raises UserError where h has other
    dimensions, or numbers are missing.
    """
    values, seeds, _ = _units(h)
    return _labelled(coherence.time_lag, values, seeds, keys=["relation", "lag"], of=h)


def class_matrix(h: xr.DataArray) -> xr.Dataset:
    """H between classes at equal times, as the table class_transfer has it.

    h: see `by_lag`

    Gives the same five numbers, with dimensions response_class and perturbation_class. Raises UserError as `by_lag`.
    """
    values, seeds, classes = _units(h)
    found = _labelled(coherence.class_transfer, values, seeds, classes, keys=[MATRIX[0], MATRIX[2]], of=h)
    return found.reindex({MATRIX[0]: classes, MATRIX[2]: classes})


def _labelled(
    statistic: Callable[..., pd.DataFrame], values: np.ndarray, *known: Any, keys: list[str], of: xr.DataArray
) -> xr.Dataset:
    """A table of `coherence` with its keys as dimensions, and with the name and units of `of`."""
    try:
        table = statistic(values, *known)
    except ValueError as error:
        raise UserError(f"{error}; expected a number for every class at every time") from None
    found = table.set_index(keys).to_xarray()
    for variable in found.data_vars.values():
        variable.attrs = {name: of.attrs[name] for name in ("long_name", "units") if name in of.attrs}
    return found


def _units(h: xr.DataArray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Matrices (n, C, T, C, T) of n units, the seed of each (n,), and the classes. What is all NaN is left out."""
    if "perturbation" in h.dims:
        h = _unstacked(h)
    _require(h, MATRIX)
    other = {str(name): h.sizes[name] for name in h.dims if name not in (*UNITS, *MATRIX)}
    if several := [name for name, size in other.items() if size > 1]:
        raise UserError(
            f"h has {', '.join(f'{other[name]} of {name}' for name in several)}; seeds and probe batches are pooled, "
            f"of others choose one: h.sel({several[0]}=...)"
        )
    h = h.squeeze(list(other), drop=True)
    for of, by in ((MATRIX[0], MATRIX[2]), (MATRIX[1], MATRIX[3])):
        if set(h[of].values.tolist()) != set(h[by].values.tolist()):
            raise UserError(
                f"h has {of} {', '.join(map(str, h[of].values))} and {by} {', '.join(map(str, h[by].values))}; "
                "expected the same on both sides: select those that both have"
            )
        h = h.sel({by: h[of].values})
    h = h.expand_dims([name for name in UNITS if name not in h.dims]).transpose(*UNITS, *MATRIX)
    values = h.values.reshape(-1, *h.shape[2:])
    there = ~np.isnan(values).all(axis=(1, 2, 3, 4))
    if not there.any():
        raise UserError("h is NaN throughout: there is no such number")
    seeds = np.repeat(np.arange(h.sizes["seed"]), h.sizes["probe"])
    return values[there], seeds[there], [str(name) for name in h[MATRIX[0]].values]


def _unstacked(h: xr.DataArray) -> xr.DataArray:
    """A matrix (response, perturbation) by class, in the order in which classes come first, and by time, ascending."""
    levels = {side: [f"{side}_class", f"{side}_time"] for side in SIDES}
    if missing := [name for names in levels.values() for name in names if name not in h.coords]:
        raise UserError(
            f"h has no {', '.join(missing)}; give influence_matrix labels={{'class': [...], 'time': [...]}}, one "
            "of each a sample"
        )
    order = {name: (np if name.endswith("time") else pd).unique(h[name].values) for name in MATRIX}
    try:
        found = h.set_index(levels).unstack()
    except ValueError as error:
        raise UserError(
            f"two samples are of one class at one time ({error}); take one trajectory of each class at a time, and put "
            "the matrices together: xarray.concat(matrices, 'probe')"
        ) from None
    return found.reindex(order)


def _require(h: xr.DataArray, dims: tuple[str, ...]) -> None:
    if missing := [name for name in dims if name not in h.dims]:
        raise UserError(
            f"h has dimensions {', '.join(map(str, h.dims))}, without {', '.join(missing)}; expected those of a "
            f"matrix: {' and '.join(SIDES)}, or {', '.join(MATRIX)}"
        )
