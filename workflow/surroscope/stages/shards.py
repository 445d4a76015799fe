"""What the stages that contract shards share: opening them, their blocks, and where a state has fronts."""

from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

from surroscope.errors import UserError
from surroscope.runtime import store


def open_shards(paths: list[Path]) -> list[xr.Dataset]:
    """The shards of one checkpoint, lazily. Raises UserError if they are not of the same weights, code and settings."""
    # Absolute, for workers in other folders.
    shards = [store.read(path.absolute(), chunks={}) for path in paths]
    codes = [store.manifest(path)["code"] for path in paths]
    for path, shard, code in zip(paths, shards, codes, strict=True):
        if shard.attrs != shards[0].attrs or code != codes[0]:
            raise UserError(
                f"{path}: a shard of {shard.attrs} by code {code}, but {paths[0]} is of {shards[0].attrs} by code "
                f"{codes[0]}; delete both and run again"
            )
    return shards


def blocks(matrix: da.Array, columns: int) -> da.Array:
    """A (row, column) matrix in blocks of whole rows and at most so many columns: as it lies on disk, if that fits.

    Merging chunks would only copy them.
    """
    stored = max(matrix.chunks[1])
    return matrix.rechunk({0: -1} if stored <= columns else {0: -1, 1: columns})


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
