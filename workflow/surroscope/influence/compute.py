"""Influence from two arrays: the gradients of every sample, and how the network's predictions move along them.

With g_i = ∇_θ C_i the gradient of sample i, J the Jacobian of the M outputs of a batch in the parameters θ, and
η = JᵀJ / M the metric of the network's predictions,

    H[j, i] = g_j · (η + ε)⁻¹ g_i

is how much the cost of sample j falls per unit of a natural gradient step on sample i. Within the span of the
gradients this takes two small matrices: `grams` makes them, `influence` solves. `linearize` makes the arrays of a
network, `matrices` labels H.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import dask
import dask.array as da
import numpy as np

from surroscope.influence.gram import gram
from surroscope.influence.responses import Grams
from surroscope.influence.span import Span, solve_span


@dataclass(frozen=True)
class Rules:
    """How the response in the span is regularised.

    span: "perturbation", of the gradients that are stepped on; or "joint", of those and of the responses'
    discarded_share: see `span.solve_span`
    damping: ε, absolute, or a multiple of the metric's largest eigenvalue in the span of the cost's gradients
    """

    span: str
    discarded_share: float
    damping: float
    damping_scale: str

    def absolute(self, grams: Grams, samples: int) -> float:
        """ε, with the cost's gradients in the first rows."""
        if self.damping_scale == "absolute":
            return self.damping
        return self.damping * span_of(grams, np.arange(samples), self.discarded_share).eigenvalues[0]


def grams(gradients: da.Array, tangents: Sequence[da.Array]) -> Grams:
    """K and B of gradients (R, P) and their tangents (D, outputs), in as many parts as the batch has."""
    k, *parts = dask.compute(gram(gradients), *(gram(part) for part in tangents))
    b = np.sum(parts, axis=0) / sum(part.shape[1] for part in tangents)
    return Grams(k, b, precision=str(gradients.dtype))


def span_of(grams: Grams, rows: np.ndarray, discarded_share: float) -> Span:
    """The metric's modes in the span of some of the gradients."""
    block = np.ix_(rows, rows)
    return solve_span(grams.k[block], grams.b[block], discarded_share=discarded_share, precision=grams.precision)


def influence(
    grams: Grams,
    responses: np.ndarray,
    perturbations: np.ndarray,
    rules: Rules,
    damping: float,
    modes: int | None = None,
) -> tuple[np.ndarray, Span]:
    """H[j, i] = g_j · (η + ε)⁻¹ g_i for rows j of responses and i of perturbations, and the span that it is taken in.

    modes: how many of the span's the metric is known along, see `Span.low_rank`; None: it is that of the span
    Raises ValueError if a matrix is not finite or every gradient is zero.
    """
    rows = perturbations
    if rules.span == "joint":
        rows = np.concatenate([rows, responses[~np.isin(responses, rows)]])
    span = span_of(grams, rows, rules.discarded_share)
    left, right = grams.k[np.ix_(responses, rows)], grams.k[np.ix_(perturbations, rows)]
    if modes is None:
        return span.influence(left, right, damping), span
    return span.low_rank(left, right, grams.k[np.ix_(responses, perturbations)], damping, modes), span
