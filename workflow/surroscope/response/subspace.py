"""Influence within the span of the batch's gradients.

With G the rows g_i (R, P), K = G Gᵀ and B = (J Gᵀ)ᵀ (J Gᵀ) / M, both (R, R), the metric restricted to the
span of the leading gradients is η̂ = Cᵀ B C with C = V_r S_r⁻¹ from K = V S² Vᵀ, and

    H = (K C) (η̂ + ε I)⁻¹ (K C)ᵀ.

This equals projecting on the left singular vectors Q of Gᵀ, without forming them (arXiv 2601.20172, app. D).
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class SpanResponse:
    """influence: H (R, R); coefficients: W (R, R) with η⁻¹ g_i = Σ_n W[n, i] g_n, so that H = K W;
    eigenvalues: of η̂, descending (rank,); discarded_share: of the gradients' squared singular values."""

    influence: np.ndarray
    coefficients: np.ndarray
    eigenvalues: np.ndarray
    discarded_share: float

    @property
    def rank(self) -> int:
        return len(self.eigenvalues)


def respond(k: np.ndarray, b: np.ndarray, *, discarded_share: float, damping: float) -> SpanResponse:
    """Solve in the span of R gradients.

    k: G Gᵀ (R, R); b: (J Gᵀ)ᵀ (J Gᵀ) / M (R, R)
    discarded_share: the trailing directions that together hold at most this share of trace(k) are left out
    damping: ε, added to the eigenvalues of η̂
    Raises ValueError if a matrix is not finite or every gradient is zero.
    """
    for name, matrix in (("G Gᵀ", k), ("(J Gᵀ)ᵀ (J Gᵀ) / M", b)):
        if not np.isfinite(matrix).all():
            row = int(np.argwhere(~np.isfinite(matrix))[0, 0])
            raise ValueError(f"{name} is not finite in row {row}")
    # Gradients that share no parameter are solved apart, so that their influence is zero and not round-off.
    _, label = connected_components((k != 0) | (b != 0), directed=False)
    parts = [np.flatnonzero(label == part) for part in range(label.max() + 1)]
    found = [np.linalg.eigh((k[np.ix_(rows, rows)] + k[np.ix_(rows, rows)].T) / 2) for rows in parts]
    floor, share = _cut(np.concatenate([squares for squares, _ in found]), discarded_share)

    influence, coefficients = np.zeros_like(k), np.zeros_like(k)
    spectra = []
    for rows, (squares, vectors) in zip(parts, found, strict=True):
        kept = squares >= floor
        block = np.ix_(rows, rows)
        c = vectors[:, kept] / np.sqrt(squares[kept])
        eigenvalues, modes = np.linalg.eigh(c.T @ b[block] @ c)
        projected = k[block] @ c @ modes
        influence[block] = (projected / (eigenvalues + damping)) @ projected.T
        coefficients[block] = (c @ modes / (eigenvalues + damping)) @ projected.T
        spectra.append(eigenvalues)
    return SpanResponse(influence, coefficients, np.sort(np.concatenate(spectra))[::-1], share)


def _cut(squares: np.ndarray, discarded_share: float) -> tuple[float, float]:
    """The smallest squared singular value that is kept, and the share that is discarded.

    Directions below the round-off of the largest carry no information and are never kept.
    """
    squares = np.sort(squares)[::-1]
    if squares[0] <= 0:
        raise ValueError("every gradient of the batch is zero")
    squares = np.where(squares > len(squares) * np.finfo(squares.dtype).eps * squares[0], squares, 0.0)
    tail = np.append(np.cumsum(squares[::-1])[::-1], 0.0) / squares.sum()
    rank = int(np.argmax(tail <= discarded_share)) or 1
    return float(squares[rank - 1]), float(tail[rank])


def cross(
    k: np.ndarray, b: np.ndarray, bra: np.ndarray, ket: np.ndarray, *, discarded_share: float, damping: float
) -> tuple[np.ndarray, SpanResponse]:
    """H_AB[j, i] = g_j^A · η⁻¹ g_i^B in the joint span of both sets of gradients, and the response it came from.

    k, b: Gram matrices over all gradients; bra, ket: rows of the gradients of A and of B.
    """
    rows = np.concatenate([ket, bra[~np.isin(bra, ket)]])
    response = respond(k[np.ix_(rows, rows)], b[np.ix_(rows, rows)], discarded_share=discarded_share, damping=damping)
    position = {row: place for place, row in enumerate(rows)}
    return response.influence[np.ix_([position[row] for row in bra], [position[row] for row in ket])], response
