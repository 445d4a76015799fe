"""Contractions of arrays that need not fit in memory, chunk by chunk in float64 with Dask.

Each is a tree of partial sums of a fixed shape, so a result depends on the chunks in its last digits only, and not at
all on how many workers there are or where they run.
"""

import dask.array as da
import numpy as np

# Copies of a block that a contraction holds at a time: the chunks that it is read in, itself, and the next one's.
COPIES = 6
# What is converted to float64 at a time, so that it is multiplied before it leaves the processor's cache.
CACHE_BYTES = 2**21
SPLIT = 8


def columns_within(budget_mb: float, rows: int, workers: int) -> int:
    """How many columns of `rows` float32 values a block may have, for `workers` at a time.

    Raises ValueError if the budget does not hold one column for each worker.
    """
    results = (SPLIT + 1) * rows**2 * 8
    column = 4 * rows * COPIES
    columns = int((budget_mb * 2**20 / workers - results) / column)
    if columns < 1:
        needed = workers * (results + column) / 2**20
        raise ValueError(
            f"a memory budget of {budget_mb:g} MB does not hold one block of {rows} x 1 values for each of "
            f"{workers} workers; expected at least {needed:.0f} MB. Raise influence.memory_mb or lower the workers"
        )
    return columns


def gram(rows: da.Array, weights: da.Array | None = None) -> da.Array:
    """A diag(w) Aᵀ of a matrix A (R, K) chunked along K, with w (K,) or 1: (R, R).

    Only one chunk of each worker is in memory at a time.
    """
    whole = rows.rechunk({0: -1})
    size = whole.shape[0]
    inputs = [whole] if weights is None else [whole, weights.rechunk((whole.chunks[1],))]
    blocks = da.map_blocks(
        _block,
        whole.T,
        *(part[:, None] for part in inputs[1:]),
        chunks=((1,) * whole.numblocks[1], (size,), (size,)),
        new_axis=[2],
        dtype=np.float64,
    )
    return blocks.sum(axis=0, split_every=SPLIT)


def _block(columns: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    size = columns.shape[1]
    total = np.zeros((size, size))
    step = max(1, CACHE_BYTES // (8 * size))
    for start in range(0, len(columns), step):
        part = columns[start : start + step].astype(np.float64)
        total += part.T @ (part if weights is None else part * weights[start : start + step])
    return total[None]


def by_sample_and_channel(
    tangents: da.Array, cotangents: da.Array, fronts: da.Array
) -> tuple[da.Array, da.Array, da.Array]:
    """Contractions of tangents J_n g_m (D, N, F, C) that keep sample n and channel f apart, in one pass.

    cotangents: w = ∂Q/∂ŷ (N, F, C); fronts: 1 in the cells of sample n that are a front, else 0, (N, C)
    Gives Σ over channel and cell of T_m T_m' (N, D, D), the same over fronts alone, and Σ_c w T_m (N, F, D).
    """
    d, n, f, _ = tangents.shape
    parts = da.map_blocks(
        _block_by_sample_and_channel,
        tangents.rechunk({0: -1, 1: 1, 2: 1}),
        cotangents[None].rechunk({1: 1, 2: 1, 3: tangents.chunks[3]}),
        fronts[None, :, None].rechunk({1: 1, 3: tangents.chunks[3]}),
        chunks=((2 * d * d + d,), (1,) * n, (1,) * f, (1,) * tangents.numblocks[3]),
        dtype=np.float64,
    ).sum(axis=3, split_every=SPLIT)
    grams = parts[: 2 * d * d].sum(axis=2, split_every=SPLIT).T.reshape(n, 2, d, d)
    return grams[:, 0], grams[:, 1], parts[2 * d * d :].transpose(1, 2, 0)


def _block_by_sample_and_channel(tangents: np.ndarray, cotangents: np.ndarray, fronts: np.ndarray) -> np.ndarray:
    t, w, front = tangents[:, 0, 0].astype(np.float64), cotangents[0, 0, 0], fronts[0, 0, 0].astype(bool)
    near = t[:, front]
    packed = np.concatenate([(t @ t.T).ravel(), (near @ near.T).ravel(), t @ w])
    return packed[:, None, None, None]


def squares(tangents: da.Array, modes: np.ndarray, samples: int) -> da.Array:
    """Σ over outputs of one sample and over modes of (modeᵀ T)², in float64: (D, outputs) and (D, r) to (samples,)."""
    each = tangents.rechunk({0: -1}).map_blocks(
        lambda block: np.square(modes.T @ block.astype(np.float64)).sum(axis=0, keepdims=True),
        dtype=np.float64,
        chunks=((1,), tangents.chunks[1]),
    )
    return each[0].reshape(samples, -1).sum(axis=1)
