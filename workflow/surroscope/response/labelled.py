"""Influence matrices of a checkpoint's probe batches, labelled by observable, probe, class and time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from surroscope.response import subspace

MATRIX = ("response_class", "response_time", "perturbation_class", "perturbation_time")


@dataclass(frozen=True)
class ProbeGrams:
    """One probe batch of N samples, gradients of Q observables stacked, R = Q N, the cost's first.

    k: G Gᵀ (R, R); b: (J Gᵀ)ᵀ (J Gᵀ) (R, R), not yet divided by M; distance: between inputs (N, N)
    """

    probe: int
    k: np.ndarray
    b: np.ndarray
    distance: np.ndarray


def label(
    grams: Sequence[ProbeGrams],
    *,
    observables: Sequence[str],
    classes: Sequence[str],
    times: np.ndarray,
    outputs: int,
    discarded_share: float,
    damping: float,
) -> xr.Dataset:
    """Influence of every observable on the cost's steps, for all probe batches, as a labelled dataset.

    outputs: M, the number of outputs in a probe batch
    Variables: influence (observable, probe, *MATRIX), eigenvalue (observable, probe, mode) of the span's metric
    and NaN past its rank, rank and discarded_share (observable, probe), distance (probe, *MATRIX).
    Raises ValueError naming probe and observable where a matrix cannot be solved.
    """
    grams = sorted(grams, key=lambda entry: entry.probe)
    samples = len(classes) * len(times)
    lead, shape = ("observable", "probe"), (len(observables), len(grams))
    block = (len(classes), len(times)) * 2
    influence = np.empty((*shape, *block))
    eigenvalue = np.full((*shape, 2 * samples), np.nan)
    rank, share = np.empty(shape, int), np.empty(shape)
    ket = np.arange(samples)
    for o, p in np.ndindex(shape):
        entry = grams[p]
        try:
            matrix, response = subspace.cross(
                entry.k, entry.b / outputs, ket + o * samples, ket, discarded_share=discarded_share, damping=damping
            )
        except ValueError as error:
            raise ValueError(f"probe {entry.probe}, observable {observables[o]}: {error}") from None
        influence[o, p] = matrix.reshape(block)
        eigenvalue[o, p, : response.rank] = response.eigenvalues
        rank[o, p], share[o, p] = response.rank, response.discarded_share
    return xr.Dataset(
        {
            "influence": ((*lead, *MATRIX), influence),
            "eigenvalue": ((*lead, "mode"), eigenvalue),
            "rank": (lead, rank),
            "discarded_share": (lead, share),
            "distance": (("probe", *MATRIX), np.stack([entry.distance.reshape(block) for entry in grams])),
        },
        coords={"probe": [entry.probe for entry in grams], "response_time": times, "perturbation_time": times},
        attrs={
            "solver": "subspace",
            "quantity": "influence in the joint span of the cost's and the observable's gradients, neither rescaled",
            "outputs": outputs,
            "discarded_share": discarded_share,
            "damping": damping,
        },
    )
