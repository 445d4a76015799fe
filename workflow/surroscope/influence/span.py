"""Influence within the span of a batch's gradients.

With G the rows g_i (R, P), K = G Gᵀ and B = (J Gᵀ)ᵀ (J Gᵀ) / M, both (R, R), the metric restricted to the
span of the leading gradients is η̂ = Cᵀ B C with C = V_r S_r⁻¹ from K = V S² Vᵀ, and

    H = (K C) (η̂ + ε I)⁻¹ (K C)ᵀ.

This equals projecting on the left singular vectors Q of Gᵀ, without forming them (arXiv 2601.20172, app. D).
It is the Galerkin restriction of the response in all parameters: H_span ≤ H_full at equal damping.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class Span:
    """The metric's modes in the span of R gradients.

    basis: A (R, r), so that Gᵀ A are orthonormal modes in parameter space: Aᵀ K A = I, Aᵀ B A = diag(eigenvalues)
    eigenvalues: of η̂, descending (r,); discarded_share: of the gradients' squared singular values
    """

    basis: np.ndarray
    eigenvalues: np.ndarray
    discarded_share: float

    def influence(self, responses: np.ndarray, perturbations: np.ndarray, damping: float) -> np.ndarray:
        """H[j, i] = g_j · (η̂ + ε)⁻¹ g_i, from the products of both kinds of gradients with the span's, (·, R) each."""
        return (responses @ self.basis / (self.eigenvalues + damping)) @ (perturbations @ self.basis).T

    def low_rank(
        self, responses: np.ndarray, perturbations: np.ndarray, dots: np.ndarray, damping: float, modes: int
    ) -> np.ndarray:
        """H[j, i] of a metric that is known along its k = `modes` leading modes v, and a multiple of 1 beside them:

            H = c g_j · g_i + Σ_k (1 / (λ_k + ε) - c) (g_j · v_k) (v_k · g_i),    c = 1 / (λ_{k+1} + ε)

        from the products that `influence` takes, and dots g_j · g_i. All modes that are not among the leading ones get
        the step of the first of them, the shortest: η is replaced by a larger metric, so that of perturbations on
        themselves H grows with k, from dot products at k = 0, times 1 / (λ_1 + ε), to that in the span at k = r, plus
        c times what of the dot products lies beyond the span. Written with the eigenvalues M λ of JᵀJ the bracket is
        M / (M λ) - c, which the authors of arXiv 2601.20172 publish with c = 1: there the unit of the data decides
        which directions count.
        """
        leading = self.basis[:, :modes]
        c = 1 / (self.eigenvalues[min(modes, len(self.eigenvalues) - 1)] + damping)
        weights = 1 / (self.eigenvalues[:modes] + damping) - c
        return c * dots + (responses @ leading * weights) @ (perturbations @ leading).T

    def coefficients(self, perturbations: np.ndarray, damping: float) -> np.ndarray:
        """W (R, perturbations) with (η̂ + ε)⁻¹ g_i = Σ_n W[n, i] g_n, from products with the span's gradients."""
        return self.basis / (self.eigenvalues + damping) @ (perturbations @ self.basis).T


def solve_span(k: np.ndarray, b: np.ndarray, *, discarded_share: float, precision: str = "float64") -> Span:
    """The modes of the metric in the span of R gradients.

    k: G Gᵀ (R, R); b: (J Gᵀ)ᵀ (J Gᵀ) / M (R, R)
    discarded_share: the trailing directions that together hold at most this share of trace(k) are left out;
    0 keeps every direction above round-off
    precision: dtype that G was computed in. A singular value of G below R ε times the largest, ε of that dtype, is
    round-off and is never kept. With a share of 0 gradients count by their directions: the round-off of each is
    relative to its own length, and a small one beside large ones is not round-off
    Raises ValueError if a matrix is not finite or every gradient is zero.
    """
    for name, matrix in (("G Gᵀ", k), ("(J Gᵀ)ᵀ (J Gᵀ) / M", b)):
        if not np.isfinite(matrix).all():
            row = int(np.argwhere(~np.isfinite(matrix))[0, 0])
            raise ValueError(f"{name} is not finite in row {row}; look at the weights")
    scale = np.ones(len(k))
    if discarded_share == 0:
        lengths = np.sqrt(np.diagonal(k))
        scale = 1 / np.where(lengths > 0, lengths, 1.0)
        k, b = (matrix * np.outer(scale, scale) for matrix in (k, b))
    # Gradients that share no parameter are solved apart, so that their influence is zero and not round-off.
    _, label = connected_components((k != 0) | (b != 0), directed=False)
    parts = [np.flatnonzero(label == part) for part in range(label.max() + 1)]
    found = [np.linalg.eigh((k[np.ix_(rows, rows)] + k[np.ix_(rows, rows)].T) / 2) for rows in parts]
    noise = (len(k) * float(np.finfo(precision).eps)) ** 2
    floor, share = _cut(np.concatenate([squares for squares, _ in found]), discarded_share, noise)

    bases, spectra = [], []
    for rows, (squares, vectors) in zip(parts, found, strict=True):
        kept = squares >= floor
        c = vectors[:, kept] / np.sqrt(squares[kept])
        eigenvalues, modes = np.linalg.eigh(c.T @ b[np.ix_(rows, rows)] @ c)
        basis = np.zeros((len(k), len(eigenvalues)))
        basis[rows] = c @ modes
        bases.append(basis)
        spectra.append(eigenvalues)
    eigenvalues = np.concatenate(spectra)
    order = np.argsort(-eigenvalues, kind="stable")
    return Span(scale[:, None] * np.concatenate(bases, axis=1)[:, order], eigenvalues[order], share)


def _cut(squares: np.ndarray, discarded_share: float, noise: float) -> tuple[float, float]:
    """The smallest squared singular value that is kept, and the share that is discarded.

    Directions below the round-off of the largest carry no information and are never kept: neither below that of K's
    own eigenvalues, nor below `noise`, that of the gradients, relative to the largest.
    """
    squares = np.sort(squares)[::-1]
    if squares[0] <= 0:
        raise ValueError("every gradient of the batch is zero; look at the weights and the targets")
    squares = np.where(squares > len(squares) * np.finfo(squares.dtype).eps * squares[0], squares, 0.0)
    tail = np.append(np.cumsum(squares[::-1])[::-1], 0.0) / squares.sum()
    rank = min(int(np.argmax(tail <= discarded_share)), int(np.sum(squares > noise * squares[0])))
    return float(squares[rank - 1]), float(tail[rank])
