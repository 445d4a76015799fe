"""How far maps of influence and of the kernel agree: between seeds, between probe batches, with the untrained network.

Every map is taken off its diagonal, on which all agree.
"""

from collections.abc import Callable
from itertools import combinations

import numpy as np

from surroscope.diagnostics.correlation import pearson
from surroscope.diagnostics.coupling import Coupled, relative
from surroscope.diagnostics.scalars import Measured, defined_median

SECTORS = ("mean", "row", "column", "antisymmetric", "trace", "symmetric")


def time_maps(m: Measured) -> np.ndarray:
    """H_std between times, median over classes, (n, T, T) of n units."""
    return np.median(np.einsum("nctcs->ncts", m.standardised), axis=1)


def class_maps(m: Measured) -> np.ndarray:
    """H_std between classes at equal times, median over times, (n, C, C)."""
    return np.median(np.einsum("natbt->nabt", m.standardised), axis=-1)


def kernel_maps(c: Coupled) -> np.ndarray:
    """Kernel transfer between windows of classes, (n, G, G)."""
    return relative(c.explained_group[:, 0])


def off_diagonal(maps: np.ndarray) -> np.ndarray:
    """(..., G, G) to (..., G (G - 1))."""
    return maps[..., ~np.eye(maps.shape[-1], dtype=bool)]


def agreement(maps: np.ndarray, seeds: np.ndarray) -> dict[str, float]:
    """Median Pearson correlation of the maps (n, G, G) off the diagonal, of any two: NaN where there are no two.

    Constant maps, which correlate with nothing, are left out.

    seeds: of means over the probe batches of each seed; batches: of the batches of a seed
    """
    flat = off_diagonal(maps)
    of_seed = [flat[seeds == seed] for seed in dict.fromkeys(seeds.tolist())]
    pairs = {
        "seeds": list(combinations([part.mean(axis=0) for part in of_seed], 2)),
        "batches": [pair for part in of_seed for pair in combinations(part, 2)],
    }
    values = {name: [pearson(one, two) for one, two in found] for name, found in pairs.items()}
    return {name: defined_median(np.array(found)) if flat.shape[-1] > 2 else np.nan for name, found in values.items()}


def correlation(maps: np.ndarray, before: np.ndarray) -> float:
    """Pearson correlation of two median maps (n, G, G) off the diagonal; its square is what one explains of the other.

    NaN where a map has fewer than three such entries.
    """
    one, two = (off_diagonal(np.median(part, axis=0)) for part in (maps, before))
    return pearson(one, two) if one.size > 2 else np.nan


def sectors(matrix: np.ndarray) -> dict[str, float]:
    """Shares of the sum of squares of a matrix (C, C) in six subspaces that are orthogonal and make up the whole.

    mean: all entries equal; row, column: what else rows and columns have as a whole, summing to zero; of the rest,
    whose rows and columns sum to zero: antisymmetric; trace, along the projection I - 11ᵀ/C; symmetric, what remains
    """
    size = len(matrix)
    mean = np.full_like(matrix, matrix.mean())
    row = np.broadcast_to(matrix.mean(axis=1, keepdims=True), matrix.shape) - mean
    column = np.broadcast_to(matrix.mean(axis=0, keepdims=True), matrix.shape) - mean
    rest = matrix - mean - row - column
    antisymmetric, even = (rest - rest.T) / 2, (rest + rest.T) / 2
    trace = np.trace(even) / (size - 1) * (np.eye(size) - 1 / size)
    parts = (mean, row, column, antisymmetric, trace, even - trace)
    power = np.array([np.square(part).sum() for part in parts])
    return dict(zip(SECTORS, (power / np.square(matrix).sum()).tolist(), strict=True))


def sector(name: str) -> Callable[[Measured], float]:
    """A sector's share of the power of the median class matrix."""
    return lambda m: sectors(np.median(class_maps(m), axis=0))[name]
