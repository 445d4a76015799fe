"""Ingestion of a file that holds each trajectory in a group of its own, against the same numbers in one array.

    python benchmarks/groups.py [groups]          (or `make bench-groups`)

PDEBench's layout of reaction and diffusion, so many [300] groups of 21 snapshots of 2 fields on 32 x 32 cells beside
a file with one array of each field, in a temporary folder. They are taken in turn, five times each after a first
that does not count, in one process on one thread; the ratio is of the quickest of each, in processor time.
"""

import contextlib
import io
import platform
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from surroscope.config import jobs
from surroscope.stages import ingest
from surroscope.system import System

SNAPSHOTS, SIZE, REPEATS = 21, 32, 5
SYSTEM = System("RD", "reaction and diffusion", ("activator", "inhibitor"))
LAYOUTS = {
    "groups.h5": {"format": "pdebench", "channels": {"activator": "data[0]", "inhibitor": "data[1]"}},
    "array.h5": {"format": "pdebench", "channels": {"activator": "u", "inhibitor": "v"}},
}


def write(folder: Path, groups: int) -> None:
    states = np.random.default_rng(0).normal(size=(groups, SNAPSHOTS, SIZE, SIZE, 2)).astype(np.float32)
    with h5py.File(folder / "groups.h5", "w") as file:
        for number, trajectory in enumerate(states):
            file[f"{number:04d}/data"] = trajectory
            for axis, cells in {"t": SNAPSHOTS, "x": SIZE, "y": SIZE}.items():
                file[f"{number:04d}/grid/{axis}"] = np.arange(cells, dtype=np.float32)
    with h5py.File(folder / "array.h5", "w") as file:
        file["u"], file["v"] = states[..., 0], states[..., 1]


def seconds(path: Path, groups: int) -> float:
    """Processor time of one ingestion."""
    settings = jobs.Ingest(
        ic="RD",
        equations=SYSTEM,
        dtype="float32",
        grid=(SIZE, SIZE),
        snapshots=SNAPSHOTS,
        trajectories=groups,
        time_step=1.0,
        origin={},
        **LAYOUTS[path.name],
    )
    started = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        ingest.stage(settings, raw=[path], store=path.with_suffix(".zarr"))
    return time.process_time() - started


def main() -> None:
    groups = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, groups)
        turns = [{layout: seconds(folder / layout, groups) for layout in LAYOUTS} for _ in range(REPEATS + 1)][1:]
    grouped, whole = (min(turn[layout] for turn in turns) for layout in LAYOUTS)
    print(f"{platform.machine()}, one thread; {groups} trajectories of {SNAPSHOTS} x 2 x {SIZE} x {SIZE}\n")
    print("| | CPU s |\n|---|--:|")
    print(f"| one array | {whole:.2f} |\n| a group a trajectory | {grouped:.2f} |\n\nratio {grouped / whole:.2f}")


if __name__ == "__main__":
    main()
