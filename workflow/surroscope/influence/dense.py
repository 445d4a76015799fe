"""Influence in the full parameter space by dense float64 algebra, for small networks: the oracle of the others."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

LARGEST = 20_000
CHUNK = 256


def solve(
    metric: Callable[[Tensor], Tensor], rows: Tensor, perturbations: int, *, dampings: Sequence[float]
) -> list[np.ndarray]:
    """H = G (η + λ I)⁻¹ G_Bᵀ (R, perturbations) for each damping λ, of gradients `rows` (R, P) in float64.

    perturbations: how many are stepped on, the first ones
    metric: V (K, P) -> V η; it is asked for all P columns of η
    Raises ValueError if the network is too large for a dense metric or not in float64, if a damping is not positive,
    or if anything is not finite.
    """
    size = rows.shape[1]
    if size > LARGEST:
        raise ValueError(
            f"a dense metric of {size:,} parameters needs {size**2 * 8 / 1e9:.0f} GB; expected at most {LARGEST:,} "
            "parameters. Take the solver 'full'"
        )
    if rows.dtype != torch.float64:
        raise ValueError(f"the dense solver works in float64, found {rows.dtype}")
    eta = torch.cat([metric(part) for part in torch.eye(size, dtype=rows.dtype, device=rows.device).split(CHUNK)])
    if not (torch.isfinite(rows).all() and torch.isfinite(eta).all()):
        raise ValueError("a gradient or a product with the metric is not finite")
    if not min(dampings) > 0:
        raise ValueError(f"damping {min(dampings)} is not positive; without it the metric has no inverse")
    eta = (eta + eta.T) / 2
    found = []
    for damping in dampings:
        factor = torch.linalg.cholesky(eta + damping * torch.eye(size, dtype=eta.dtype, device=eta.device))
        half = torch.linalg.solve_triangular(factor, rows.T, upper=False)
        found.append((half.T @ half[:, :perturbations]).cpu().numpy())
    return found
