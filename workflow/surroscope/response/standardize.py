"""Standardised influence."""

import numpy as np

EPSILON = 1e-6


def standardize(influence: np.ndarray) -> np.ndarray:
    """H_std[j, i] = H[j, i] / (std over all perturbations i of H[j, :] + 1e-6), sample standard deviation.

    influence: (..., response, perturbation), one matrix a probe batch.
    Raises ValueError where a row has no variance at all, since its scale is then undefined.
    """
    scale = influence.std(axis=-1, ddof=1, keepdims=True)
    if not (scale > 0).all():
        raise ValueError(f"row {np.argwhere(~(scale[..., 0] > 0))[0].tolist()} of an influence matrix has no variance")
    return influence / (scale + EPSILON)
