"""Influence matrices labelled by what responds, batch, class and time."""

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from surroscope.influence import compute
from surroscope.influence.compute import Rules
from surroscope.influence.responses import MATRIX, Grams, Response, Responses
from surroscope.influence.solvers import SOLVERS


def grams_of(source: xr.Dataset, probe: int) -> Grams:
    """The Gram matrices of one probe batch."""
    at = source.sel(probe=probe)
    adam = at["adam"].values if "adam" in at else None
    return Grams(at["k"].values, at["b"].values, adam, precision=source.attrs["precision"])


def label(
    probes: Sequence[Grams],
    *,
    responses: Sequence[Response],
    solvers: Sequence[str],
    shape: tuple[int, int],
    rules: Rules,
    modes: int = 0,
) -> xr.Dataset:
    """Influence of every solver that needs Gram matrices alone, for all probe batches.

    shape: (classes, times), with N = classes x times; modes: of the solver low_rank
    Variables: influence (solver, response, probe, *MATRIX), and of the span of each response: eigenvalue (response,
    probe, mode), NaN past its rank; rank and discarded_share (response, probe); damping (probe). zero_gradients
    (response, probe) counts the samples whose gradient of the response's observable is exactly zero.
    Raises ValueError naming probe and response where a matrix cannot be solved.
    """
    samples, rows = shape[0] * shape[1], Responses(responses)
    lead = (len(responses), len(probes))
    influence = np.empty((len(solvers), *lead, *shape, *shape))
    eigenvalue = np.full((*lead, 2 * samples), np.nan)
    rank, share, damping = np.empty(lead, int), np.empty(lead), np.empty(len(probes))
    zero = np.empty(lead, int)
    for p, grams in enumerate(probes):
        damping[p] = rules.absolute(grams, samples)
        for r, response in enumerate(responses):
            j, i = (rows.place(name, samples) for name in (response.observable, response.step))
            try:
                within, span = compute.influence(grams, j, i, rules, damping[p])
                for s, solver in enumerate(solvers):
                    solve, matrix = SOLVERS[solver].solve, within
                    if solve:
                        matrix = solve(grams, j, i)
                    elif SOLVERS[solver].needs == "modes":
                        matrix, _ = compute.influence(grams, j, i, rules, damping[p], modes)
                    influence[s, r, p] = matrix.reshape(*shape, *shape)
            except ValueError as error:
                raise ValueError(f"probe batch {p}, {response}: {error}") from None
            eigenvalue[r, p, : len(span.eigenvalues)] = span.eigenvalues
            rank[r, p], share[r, p] = len(span.eigenvalues), span.discarded_share
            zero[r, p] = np.count_nonzero(grams.k[j, j] == 0)
    pair = ("response", "probe")
    return xr.Dataset(
        {
            "influence": (("solver", *pair, *MATRIX), influence),
            "eigenvalue": ((*pair, "mode"), eigenvalue),
            "rank": (pair, rank),
            "discarded_share": (pair, share),
            "zero_gradients": (pair, zero),
            "damping": ("probe", damping),
        },
        attrs={"span": rules.span},
    )


def responses_of(dataset: xr.Dataset) -> list[Response]:
    """The responses along a dataset's axis `response`, which its attribute `responses` holds as JSON."""
    return [Response(**entry) for entry in json.loads(dataset.attrs["responses"])]
