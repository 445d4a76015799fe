"""Gram matrices of arrays larger than the memory budget: peak memory, and time against reading the arrays once.

    python benchmarks/reduction.py            (or `make bench-reduction`)

Gradients of one probe batch of a network of 14 million parameters (48 x 14 M, 2.7 GB), and of 18 probe batches
together of one of 1 million (864 x 1 M, 3.5 GB), in Zarr as the workflow writes them, in a temporary folder. Each
measurement is a process of its own with two threads; seconds are of processor time. The budget is what
`influence.memory_mb` bounds; the peak is of the whole process, of which the libraries take what "nothing" says.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dask
import numpy as np
import zarr

from surroscope.influence.gram import columns_within, gram
from surroscope.stages.shards import blocks

BUDGET_MB, THREADS, CHUNK_BYTES, SAMPLES = 2000.0, 2, 32 * 2**20, 48
CASES = {"48 x 14 M": (48, 14_000_000), "864 x 1 M": (864, 1_000_000)}


def write(path: Path, rows: int, columns: int) -> None:
    width = CHUNK_BYTES // (4 * SAMPLES)
    array = zarr.create_array(
        path,
        shape=(rows, columns),
        chunks=(SAMPLES, width),
        dtype="float32",
        compressors=None,
        dimension_names=("row", "parameter"),
    )
    draw = np.random.default_rng(0)
    for start in range(0, columns, width):
        stop = min(start + width, columns)
        array[:, start:stop] = draw.standard_normal((rows, stop - start), dtype=np.float32)


def work(task: str, path: str, *sizes: str) -> None:
    if task == "write":
        write(Path(path), *map(int, sizes))
        return
    start = time.process_time()
    if task != "nothing":
        matrix = dask.array.from_zarr(path)
        with dask.config.set(scheduler="threads", num_workers=THREADS):
            if task == "read":
                matrix.map_blocks(lambda block: block[:1, :1].copy(), chunks=(1, 1)).compute()
            else:
                gram(blocks(matrix, columns_within(BUDGET_MB, matrix.shape[0], THREADS))).compute()
    print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    if len(sys.argv) > 1:
        work(*sys.argv[1:])
        return
    print(f"budget {BUDGET_MB:g} MB, {THREADS} threads")
    print(f"{'case':12s} {'task':8s} {'CPU s':>8s} {'peak MB':>8s} {'/ read':>7s}")
    for case, (rows, columns) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "matrix.zarr"
            # This process stays small: the kernel counts its memory as the peak of those that it starts.
            subprocess.run([sys.executable, __file__, "write", str(path), str(rows), str(columns)], check=True)
            taken: dict[str, float] = {}
            for task in ("nothing", "read", "gram", "read", "gram"):
                command = [sys.executable, __file__, task, str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                seconds, peak = map(float, done.stdout.split())
                taken[task] = seconds
                ratio = f"{seconds / taken['read']:7.2f}" if task == "gram" else ""
                print(f"{case:12s} {task:8s} {seconds:8.2f} {peak:8.0f} {ratio}", flush=True)


if __name__ == "__main__":
    main()
