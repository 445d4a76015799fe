"""What the stages that contract shards share: opening them, and their blocks."""

from pathlib import Path

import dask.array as da
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
