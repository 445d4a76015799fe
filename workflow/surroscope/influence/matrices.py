"""Influence matrices labelled by what responds, batch, class and time."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from surroscope.influence.responses import Response, Rows
from surroscope.influence.span import Span, solve_span

MATRIX = ("response_class", "response_time", "perturbation_class", "perturbation_time")


@dataclass(frozen=True)
class Grams:
    """One batch of N samples: R = (gradients of a sample) x N rows, the first D of them directions of tangents.

    k: G Gᵀ (R, R); b: (J Gᵀ)ᵀ (J Gᵀ) / M (D, D); adam: G diag(1 / (sqrt v̂ + ε)) Gᵀ (R, R), or None
    """

    k: np.ndarray
    b: np.ndarray
    adam: np.ndarray | None = None


def grams_of(source: xr.Dataset, probe: int) -> Grams:
    """The Gram matrices of one probe batch."""
    at = source.sel(probe=probe)
    return Grams(at["k"].values, at["b"].values, at["adam"].values if "adam" in at else None)


@dataclass(frozen=True)
class Rules:
    """How the span's response is regularised.

    span: "ket", the gradients that are stepped on; or "joint", those and the responses'
    discarded_share: see `subspace.solve`; damping: ε, absolute, or a multiple of the metric's largest eigenvalue in
    the span of the cost's gradients
    """

    span: str
    discarded_share: float
    damping: float
    damping_scale: str

    def absolute(self, grams: Grams, samples: int) -> float:
        if self.damping_scale == "absolute":
            return self.damping
        own = slice(samples)
        span = solve_span(grams.k[own, own], grams.b[own, own], discarded_share=self.discarded_share)
        return self.damping * span.eigenvalues[0]


def span_influence(
    grams: Grams, bra: np.ndarray, ket: np.ndarray, rules: Rules, damping: float
) -> tuple[np.ndarray, Span]:
    """H[j, i] = g_j · η⁻¹ g_i in the span that the rules name, for rows `bra` and `ket`, and the span."""
    rows = ket if rules.span == "ket" else np.concatenate([ket, bra[~np.isin(bra, ket)]])
    span = solve_span(grams.k[np.ix_(rows, rows)], grams.b[np.ix_(rows, rows)], discarded_share=rules.discarded_share)
    return span.influence(grams.k[np.ix_(bra, rows)], grams.k[np.ix_(ket, rows)], damping), span


def baseline(solver: str, grams: Grams, bra: np.ndarray, ket: np.ndarray) -> np.ndarray:
    """Influence without the network's metric, for rows `bra` and `ket`; zero where a gradient is zero.

    euclidean: g_j · g_i, the stiffness of Fort et al. 2019 (arXiv 1901.09491); cosine: of the angle between them;
    adam: g_j · g_i / (sqrt v̂ + ε), the step that Adam would take. Raises ValueError if the optimiser's moments are
    missing (adam).
    """
    block = np.ix_(bra, ket)
    if solver == "euclidean":
        return grams.k[block]
    if solver == "cosine":
        norms = np.sqrt(np.diagonal(grams.k))
        norms = np.where(norms == 0, 1.0, norms)
        return grams.k[block] / np.outer(norms[bra], norms[ket])
    if grams.adam is None:
        raise ValueError("no second moments of the optimiser; take 'adam' out of influence.solvers")
    return grams.adam[block]


def label(
    probes: Sequence[Grams],
    *,
    responses: Sequence[Response],
    solvers: Sequence[str],
    shape: tuple[int, int],
    rules: Rules,
) -> xr.Dataset:
    """Influence of every solver that needs Gram matrices alone, for all probe batches.

    shape: (classes, times), with N = classes x times
    Variables: influence (solver, response, probe, *MATRIX), and of the span of each response: eigenvalue (response,
    probe, mode), NaN past its rank; rank and discarded_share (response, probe); damping (probe). zero_gradients
    (response, probe) counts the samples whose gradient of the response's observable is exactly zero.
    Raises ValueError naming probe and response where a matrix cannot be solved.
    """
    samples, rows = shape[0] * shape[1], Rows(responses)
    lead = (len(responses), len(probes))
    influence = np.empty((len(solvers), *lead, *shape, *shape))
    eigenvalue = np.full((*lead, 2 * samples), np.nan)
    rank, share, damping = np.empty(lead, int), np.empty(lead), np.empty(len(probes))
    zero = np.empty(lead, int)
    for p, grams in enumerate(probes):
        damping[p] = rules.absolute(grams, samples)
        for r, response in enumerate(responses):
            bra = rows.place(response.observable, samples)
            ket = rows.place(response.step, samples)
            try:
                matrix, span = span_influence(grams, bra, ket, rules, damping[p])
                for s, solver in enumerate(solvers):
                    found = matrix if solver == "subspace" else baseline(solver, grams, bra, ket)
                    influence[s, r, p] = found.reshape(*shape, *shape)
            except ValueError as error:
                raise ValueError(f"probe batch {p}, {response}: {error}") from None
            eigenvalue[r, p, : len(span.eigenvalues)] = span.eigenvalues
            rank[r, p], share[r, p] = len(span.eigenvalues), span.discarded_share
            zero[r, p] = np.count_nonzero(grams.k[bra, bra] == 0)
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
