"""Influence in the full parameter space, H = G_A (η + λ I)⁻¹ G_Bᵀ, with an error bound for every entry.

Block Krylov: the search space starts as the span of the perturbations' gradients and grows, iteration by iteration,
by the residuals of the best response found in it. After k iterations the response is the Galerkin solution in
span{G, ηG, …, ηᵏ⁻¹G}, the same as that of block conjugate gradients; the first is the response within the span of the
gradients. One space serves every damping: each is solved in it at the cost of small dense algebra.

The estimate grows with the space and stays below the truth, 0 ≤ H - Ĥ = R (η + λ)⁻¹ Rᵀ ≤ R Rᵀ / λ in the positive
semi-definite order, with residuals R = G - Z (η + λ). So each entry is certified: |H - Ĥ|_ab ≤ ‖r_a‖ ‖r_b‖ / λ.
The basis is kept whole and orthonormal (iterations x gradients x P numbers, and as many for its products with η), which
makes the solver indifferent to repeated or dependent gradients and lets products run in single precision.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from surroscope.influence.functional import COLUMNS, inner

Metric = Callable[[Tensor], Tensor]
CHECKED = 4
DEPENDENT = 1e-10
ROUND_OFF = 100


@dataclass(frozen=True)
class FullResponse:
    """influence: Ĥ (R, perturbations); certificate: bound on |H - Ĥ| of each entry; relative: the largest
    certificate / sqrt(Ĥ_aa Ĥ_bb); iterations: of the block, made; converged: whether `relative` met the tolerance"""

    damping: float
    influence: np.ndarray
    certificate: np.ndarray
    relative: float
    iterations: int
    converged: bool


class Krylov:
    """A basis U (s, P) of a growing search space, its products U η, and T = U η Uᵀ, S = U Uᵀ (s, s) in float64."""

    def __init__(self, metric: Metric, rows: Tensor, dtype: torch.dtype) -> None:
        self.metric = metric
        self.rows = rows
        self.basis, self.products = rows[:0].to(dtype), rows[:0].to(dtype)
        self.projected, self.overlap = np.zeros((0, 0)), np.zeros((0, 0))
        self.components = np.zeros((0, len(rows)))

    def grow(self, directions: Tensor) -> bool:
        """Add directions (K, P) to the space; False if they were in it already."""
        directions = directions.to(self.basis.dtype)
        lengths = directions.norm(dim=1)
        directions = directions[lengths > 0] / lengths[lengths > 0, None]
        for _ in range(2):
            directions = directions - _combine(inner(directions, self.basis), self.basis)
            # What round-off alone has left of a direction would be a new one, of noise.
            held = directions.norm(dim=1) <= ROUND_OFF * torch.finfo(directions.dtype).eps
            directions = _independent(directions[~held])
        if not len(directions):
            return False
        products = self.metric(directions)
        if not torch.isfinite(products).all():
            raise ValueError("the metric's product with a direction is not finite")
        self.basis = torch.cat([self.basis, directions])
        self.products = torch.cat([self.products, products])
        self.projected = _bordered(self.projected, inner(directions, self.products))
        self.overlap = _bordered(self.overlap, inner(directions, self.basis))
        self.components = np.concatenate([self.components, inner(directions, self.rows)])
        return True

    def coefficients(self, damping: float) -> np.ndarray:
        """c (s, rows) of the Galerkin solutions z = cᵀ U of (η + λ) z = g for every row g."""
        return np.linalg.solve(self.projected + damping * self.overlap, self.components)

    def residuals(self, rows: Tensor, coefficients: np.ndarray, damping: float) -> Tensor:
        """g - (η + λ) z of some rows (K, P), from their coefficients (s, K), contracted in float64."""
        c = torch.from_numpy(coefficients.T.copy()).to(rows.device)
        return torch.cat(
            [
                g.double() - c @ (eta.double() + damping * u.double())
                for g, u, eta in zip(
                    *(part.split(COLUMNS, dim=1) for part in (rows, self.basis, self.products)), strict=True
                )
            ],
            dim=1,
        )


def solve(
    metric: Metric,
    rows: Tensor,
    perturbations: int,
    *,
    dampings: Sequence[float],
    tolerance: float,
    max_iterations: int,
    dtype: torch.dtype = torch.float64,
    exact: Metric | None = None,
    progress: Callable[[int, float], None] = lambda iteration, relative: None,
) -> list[FullResponse]:
    """Response of the gradients `rows` (R, P) to steps on the first `perturbations` of them, for each damping λ.

    metric: V (K, P) -> V η, in the precision `dtype`
    rows: in float64
    dampings: in decreasing order; a smaller one starts from the space that served the larger
    tolerance: on certificate / sqrt(Ĥ_aa Ĥ_bb), the bound on the relative error, of every entry
    max_iterations: of the block, at most, for all dampings together
    exact: the metric in float64, where `metric` is not: the round-off δ of a product, measured on the solutions
    that it moves most, enters the certificate, (‖r_a‖ + δ‖z_a‖) (‖r_b‖ + δ‖z_b‖) / λ + δ ‖z_a‖ ‖z_b‖
    progress: called with (iteration, largest relative bound of the damping at work)
    Raises ValueError if a damping is not positive, a gradient or a product is not finite, or every gradient that is
    stepped on is zero. The influence of other zero gradients is zero.
    """
    if not min(dampings) > 0:
        raise ValueError(f"damping {min(dampings)} is not positive; without it the metric has no inverse")
    norms = rows.norm(dim=1)
    if not torch.isfinite(norms).all():
        raise ValueError(f"gradient {int(torch.nonzero(~torch.isfinite(norms))[0])} is not finite")
    if not norms[:perturbations].any():
        raise ValueError("every gradient that is stepped on is zero; look at the weights")
    space = Krylov(metric, rows, dtype)
    space.grow(rows[:perturbations])
    found: dict[float, FullResponse] = {}
    made = 1
    for damping in sorted(dampings, reverse=True):
        while True:
            response, pending = _certify(space, perturbations, damping, tolerance, made, exact)
            progress(made, response.relative)
            if response.converged or made >= max_iterations or not len(pending) or not space.grow(pending):
                break
            made += 1
        found[damping] = response
    # The space that a smaller damping built serves the larger ones too; those left open gain by it.
    for damping, response in found.items():
        if not response.converged:
            found[damping], _ = _certify(space, perturbations, damping, tolerance, made, exact, final=True)
    return [found[damping] for damping in dampings]


def _certify(
    space: Krylov,
    perturbations: int,
    damping: float,
    tolerance: float,
    made: int,
    exact: Metric | None,
    *,
    final: bool = False,
) -> tuple[FullResponse, Tensor]:
    """The response found in the space, and the residuals of the steps that need a larger one.

    The products' round-off is measured where the response would be accepted, and where it is the last one.
    """
    coefficients = space.coefficients(damping)
    residuals = space.residuals(space.rows, coefficients, damping)
    norms = residuals.norm(dim=1).cpu().numpy()
    lengths = np.sqrt((coefficients * (space.overlap @ coefficients)).sum(axis=0))
    own = np.sqrt((coefficients * space.components).sum(axis=0))
    # A response whose gradient has no part in the space yet would have none: it has ‖g‖² / (‖η‖ + λ) at least, with
    # the largest eigenvalue that the space knows for ‖η‖.
    largest = float(eigh(space.projected, space.overlap, eigvals_only=True)[-1])
    own = np.maximum(own, space.rows.norm(dim=1).cpu().numpy() / np.sqrt(largest + damping))
    scale = np.outer(own, own[:perturbations])

    def response(lost: float) -> FullResponse:
        reach = norms + lost * lengths
        certificate = np.outer(reach, reach[:perturbations]) / damping
        certificate += lost * np.outer(lengths, lengths[:perturbations])
        relative = float(_relative(certificate, scale).max())
        influence = (coefficients.T @ space.components)[:, :perturbations]
        return FullResponse(damping, influence, certificate, relative, made, relative <= tolerance)

    def pending(found: FullResponse) -> Tensor:
        return residuals[:perturbations][torch.from_numpy(_relative(found.certificate, scale).max(axis=0) > tolerance)]

    found = response(0.0)
    if exact is None or not (found.converged or final):
        return found, pending(found)
    # Round-off goes with η z, so it shows most where that is long beside z.
    moved = (coefficients * (inner(space.products, space.products) @ coefficients)).sum(axis=0)
    nonzero = np.flatnonzero(lengths != 0)
    chosen = nonzero[np.argsort(-moved[nonzero] / lengths[nonzero] ** 2)[:CHECKED]].tolist()
    solutions = torch.cat(
        [_combine(coefficients[:, chosen].T, part.double()) for part in space.basis.split(COLUMNS, dim=1)], dim=1
    )
    true = space.rows[chosen] - exact(solutions) - damping * solutions
    lost = float(((true - residuals[chosen]).norm(dim=1).cpu().numpy() / lengths[chosen]).max())
    found = response(lost)
    # What round-off alone makes of the certificate, no larger space can mend.
    floor = (lost**2 / damping + lost) * np.outer(lengths, lengths[:perturbations])
    return found, pending(found) if _relative(floor, scale).max() < tolerance else residuals[:0]


def _relative(bound: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """bound / scale; 0 where the bound is 0, as it is where a gradient and so the scale are."""
    return np.divide(bound, scale, out=np.zeros_like(bound), where=bound != 0)


def _bordered(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A symmetric matrix grown by its last rows (n, size)."""
    old = len(matrix)
    grown = np.concatenate([np.concatenate([matrix, rows[:, :old].T], axis=1), rows])
    return (grown + grown.T) / 2


def _combine(coefficients: np.ndarray, rows: Tensor) -> Tensor:
    """Σ_k c[i, k] rows[k]: (K, L) and (L, P) to (K, P), in the precision of the rows."""
    return torch.from_numpy(coefficients).to(rows) @ rows


def _independent(directions: Tensor) -> Tensor:
    """An orthonormal basis of the directions' span, those that round-off made dependent left out."""
    lengths = directions.norm(dim=1)
    directions = directions[lengths > 0] / lengths[lengths > 0, None]
    if not len(directions):
        return directions
    values, vectors = np.linalg.eigh(inner(directions, directions))
    kept = values > DEPENDENT * values[-1]
    return _combine((vectors[:, kept] / np.sqrt(values[kept])).T, directions)
