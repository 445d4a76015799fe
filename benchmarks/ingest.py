"""Ingestion of files in PDEGym's layout: peak memory, and time against what the files and the compression cost alone.

    python benchmarks/ingest.py [GB]          (or `make bench-ingest GB=20`)

Compressible Euler trajectories of 128 x 128 cells and 21 snapshots in files of 715, so many GB in all [2], in a
temporary folder (TMPDIR): smooth fields with fronts from the embedded solver, each shifted and scaled anew. A file
takes 4.9 GB, and the store about half of what the files take. The yardsticks are one pass over the files by h5py, and
the compression of the states without any file. Each measurement is a process of its own, on one thread.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numcodecs
import numpy as np

from surroscope.config import jobs
from surroscope.data import pdegym
from surroscope.runtime import environment

SIZE, SNAPSHOTS, ROWS = 128, 21, 715
BYTES = SNAPSHOTS * 5 * SIZE**2 * 4


def write(folder: Path, gigabytes: float) -> int:
    """Files of that many GB; the number of trajectories."""
    import torch  # not in the processes that are measured

    from surroscope.physics import euler
    from surroscope.physics.simulate import simulate

    options = {"preset": "calibrated", "seed": 0, "size": SIZE, "factor": 1, "snapshots": SNAPSHOTS}
    states = np.concatenate([part.states for part in simulate("CE-RP", indices=range(2), **options)])
    fields = euler.primitive(torch.from_numpy(states)).numpy()
    fields = np.concatenate([fields, states[:, :, 3:]], axis=2)
    draw, total = np.random.default_rng(0), int(gigabytes * 1e9 // BYTES)
    for number, first in enumerate(range(0, total, ROWS)):
        count = min(ROWS, total - first)
        with h5py.File(folder / f"data_{number}.nc", "w") as file:
            data = file.create_dataset("data", (count, SNAPSHOTS, 5, SIZE, SIZE), "f4")
            for axis, name in enumerate(("sample", "time", "channel", "x", "y")):
                scale = file.create_dataset(name, data=np.arange(data.shape[axis], dtype="f4"))
                scale.make_scale(name)
                data.dims[axis].attach_scale(scale)
            for row in range(count):
                field = fields[draw.integers(len(fields))]
                data[row] = np.roll(field, draw.integers(0, SIZE, 2), (2, 3)) * np.float32(draw.uniform(0.9, 1.1))
    return total


def ingest(folder: Path, trajectories: int) -> None:
    from surroscope.stages import ingest
    from surroscope.system import COMPRESSIBLE_EULER

    settings = jobs.Ingest(
        ic="CE-RP",
        equations=COMPRESSIBLE_EULER,
        format="xarray",
        dimensions=pdegym.DIMENSIONS,
        channels=pdegym.CHANNELS["CE"],
        dtype="float32",
        grid=(SIZE, SIZE),
        snapshots=SNAPSHOTS,
        trajectories=trajectories,
        time_step=pdegym.TIME_STEP,
        origin={},
    )
    raw = [folder / name for name in pdegym.SERIES["CE-RP"].files(trajectories)]
    ingest.stage(settings, raw=raw, store=folder / "CE-RP.zarr")


def read(folder: Path, trajectories: int) -> None:
    for path in folder.glob("data_*.nc"):
        with h5py.File(path) as file:
            for row in range(len(file["data"])):
                file["data"][row]


def compress(folder: Path, trajectories: int) -> None:
    """A hundredth of the states, for the time of all: chunk by chunk, as the store has them."""
    codec = numcodecs.Blosc("zstd", 5, numcodecs.Blosc.SHUFFLE)
    numcodecs.blosc.set_nthreads(1)
    with h5py.File(folder / "data_0.nc") as file:
        for row in range(max(1, trajectories // 100)):
            for snapshot in file["data"][row, :, :4]:
                codec.encode(np.ascontiguousarray(snapshot))


TASKS = {"ingest": ingest, "read": read, "compress": compress}


def measure(task: str, folder: Path, trajectories: int) -> dict[str, float]:
    command = [sys.executable, __file__, task, str(folder), str(trajectories)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | environment.FIXED)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if len(sys.argv) == 4:
        started, processor = time.perf_counter(), time.process_time()
        TASKS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        spent = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - processor, "mb": peak}
        print(json.dumps(spent))
        return
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trajectories = write(folder, gigabytes)
        size = sum(path.stat().st_size for path in folder.glob("*.nc")) / 1e9
        found = {task: measure(task, folder, trajectories) for task in ("read", "compress", "ingest")}
        found["compress"] = {key: value * 100 for key, value in found["compress"].items()} | {
            "mb": found["compress"]["mb"]
        }
        stored = sum(path.stat().st_size for path in (folder / "CE-RP.zarr").rglob("*") if path.is_file()) / 1e9
    both = found["read"]["cpu"] + found["compress"]["cpu"]
    print(f"{platform.machine()}, one thread; {size:.1f} GB in {trajectories} trajectories, {stored:.1f} GB stored\n")
    print("| | CPU s / GB | s / GB | times reading and compressing | peak MB |\n|---|--:|--:|--:|--:|")
    for task, label in (("read", "read the files"), ("compress", "compress the states"), ("ingest", "**ingest**")):
        spent = found[task]
        share = f"{spent['cpu'] / both:.2f}"
        print(f"| {label} | {spent['cpu'] / size:.1f} | {spent['seconds'] / size:.1f} | {share} | {spent['mb']:.0f} |")


if __name__ == "__main__":
    main()
