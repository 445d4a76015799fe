"""Where a state changes fastest."""

import numpy as np


def fronts(states: np.ndarray, share: float, boundary: str) -> np.ndarray:
    """Where states (N, F, Y, X) change fastest: True in this share of the cells of each sample, (N, Y X).

    The squared gradient of each channel over its mean square, by central differences, summed. At the edge of a grid
    that is not periodic the differences are one-sided.
    """
    states = states.astype(np.float64)
    steepness = sum(np.square(_difference(states, axis, boundary)) for axis in (-2, -1))
    steepness = (steepness / np.square(states).mean((-2, -1), keepdims=True).clip(1e-30)).sum(axis=1)
    steepness = steepness.reshape(len(states), -1)
    count = max(1, round(share * steepness.shape[1]))
    order = np.argsort(-steepness, axis=1, kind="stable")[:, :count]
    found = np.zeros_like(steepness, dtype=bool)
    np.put_along_axis(found, order, True, axis=1)
    return found


def _difference(states: np.ndarray, axis: int, boundary: str) -> np.ndarray:
    """Twice the derivative by cells along an axis; none along an axis of one cell."""
    if boundary == "periodic":
        return np.roll(states, -1, axis) - np.roll(states, 1, axis)
    return 2 * np.gradient(states, axis=axis) if states.shape[axis] > 1 else np.zeros_like(states)
