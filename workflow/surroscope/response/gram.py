"""Gram matrices of arrays that need not fit in memory, contracted chunk by chunk in float64 with Dask."""

import dask.array as da
import numpy as np


def gram(rows: da.Array) -> da.Array:
    """A Aᵀ of a matrix A (R, K) chunked along K, accumulated in float64: (R, R).

    Only one chunk of each worker is in memory at a time. The sum is a tree of a fixed shape, so the result
    does not depend on how many workers there are.
    """
    columns = rows.rechunk({0: -1}).T
    size = columns.shape[1]
    chunks = ((1,) * columns.numblocks[0], (size,), (size,))
    return columns.map_blocks(_block, chunks=chunks, new_axis=[2], dtype=np.float64).sum(axis=0, split_every=8)


def _block(columns: np.ndarray) -> np.ndarray:
    columns = columns.astype(np.float64)
    return (columns.T @ columns)[None]
