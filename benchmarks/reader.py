"""Random batches of transitions by each way to read them, and what the mapped cache costs once.

    python benchmarks/reader.py            (or `make bench-reader`)

Trajectories of 17 snapshots of 4 channels of 128 x 128, about 1 GB of smooth synthetic fields, in a temporary folder:
as a store such as `ingest` writes (a chunk a snapshot, Blosc zstd and shuffle, CRC-32C, sharded), as the cache, and in
HDF5, contiguous. A batch is 48 transitions in random order, states and targets in memory. One process, one thread; the
readers take turns, and the least of the turns counts, so that other jobs on the machine disturb it little. "Cold"
reads each transition once after the file was dropped from the page cache (below a virtual machine, its host may still
hold it), with a mapping that was just made; "warm" does so again. MB is what came from the disk meanwhile.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from surroscope import device
from surroscope.data import transitions
from surroscope.data.mapped import built
from surroscope.runtime import environment, store
from surroscope.training import windows

TRAIN, VALIDATION, SNAPSHOTS, FRAME = 240, 8, 17, (4, 128, 128)
SHARD_TRAJECTORIES, BATCH, TURNS, ZARR_BATCHES = 15, 48, 5, 8
TASKS = ("nothing", "cache", "memory")
Gather = Callable[[np.ndarray], object]


def write(folder: Path) -> None:
    """Store and split: each trajectory a random smooth field that is carried across the domain."""
    shape = (TRAIN + VALIDATION, SNAPSHOTS, *FRAME)
    draw = np.random.default_rng(0)
    waves = np.hypot(*np.meshgrid(np.fft.fftfreq(128) * 128, np.arange(65), indexing="ij"))
    with store.writing(folder / "a.zarr", {}) as temporary:
        xr.Dataset(coords={"trajectory": np.arange(shape[0])}).to_zarr(temporary, zarr_format=3, consolidated=False)
        states = zarr.open_group(temporary).create_array(
            "state",
            shape=shape,
            dtype="float32",
            chunks=(1, 1, *FRAME),
            shards=(SHARD_TRAJECTORIES, *shape[1:]),
            compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec()],
            fill_value=float("nan"),
            dimension_names=("trajectory", "time", "channel", "y", "x"),
        )
        for start in range(0, shape[0], SHARD_TRAJECTORIES):
            count = min(SHARD_TRAJECTORIES, shape[0] - start)
            noise = draw.standard_normal((count, 4, 128, 65, 2)) @ [1, 1j] * np.exp(-waves / 6) * 128
            shifted = [noise * np.exp(2j * np.pi * t / SNAPSHOTS * waves / 30) for t in range(SNAPSHOTS)]
            states[start : start + count] = np.fft.irfft2(np.stack(shifted, 1)).astype(np.float32)
    order = draw.permutation(shape[0]).tolist()
    (folder / "split.json").write_text(json.dumps({"a": {"train": order[:TRAIN], "validation": order[TRAIN:]}}))


def once(folder: Path, task: str) -> None:
    """Print processor seconds, wall seconds and peak MB of building the cache, or of reading the store into memory."""
    stores, split = [folder / "a.zarr"], folder / "split.json"
    start = time.process_time(), time.perf_counter()
    if task == "cache":
        built(folder / "cache", stores, split, SNAPSHOTS)
    elif task == "memory":
        transitions.trajectories(stores, split, "train", SNAPSHOTS)
    seconds = time.process_time() - start[0], time.perf_counter() - start[1]
    print(*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory(states: torch.Tensor) -> Gather:
    return lambda indices: windows.gather(states, indices)


def mapped(folder: Path) -> Gather:
    return memory(torch.from_numpy(transitions.mapped(folder / "cache", "train")))


def memmap(folder: Path) -> Gather:
    states = np.load(folder / "cache/train.npy", mmap_mode="r")

    def gather(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        trajectory, step = np.divmod(indices, SNAPSHOTS - 1)
        return states[trajectory, step], states[trajectory, step + 1]

    return gather


def sorted_pairs(read: Callable[[int, int, np.ndarray], None]) -> Gather:
    """Reads pairs of snapshots one by one, in the order of the file, to their places in the batch."""

    def gather(indices: np.ndarray) -> np.ndarray:
        pairs = np.empty((len(indices), 2, *FRAME), np.float32)
        for place in np.argsort(indices):
            trajectory, step = divmod(int(indices[place]), SNAPSHOTS - 1)
            read(trajectory, step, pairs[place])
        return pairs

    return gather


def hdf5(folder: Path) -> Gather:
    states = h5py.File(folder / "train.h5", "r")["state"]
    return sorted_pairs(lambda trajectory, step, out: states.read_direct(out, np.s_[trajectory, step : step + 2]))


def direct(folder: Path) -> Gather:
    states = zarr.open_array(folder / "a.zarr/state", mode="r")

    def read(trajectory: int, step: int, out: np.ndarray) -> None:
        out[:] = states[trajectory, step : step + 2]

    return sorted_pairs(read)


def drop(file: Path) -> None:
    """Take a file out of the page cache, as far as no process has it mapped."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def from_disk() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["read_bytes"])


def epoch(gather: Gather, batches: list[np.ndarray]) -> tuple[float, float, float]:
    """Processor and wall seconds a transition, and MB from the disk."""
    start = time.process_time(), time.perf_counter(), from_disk()
    for indices in batches:
        gather(indices)
    count = sum(map(len, batches))
    return (
        (time.process_time() - start[0]) / count,
        (time.perf_counter() - start[1]) / count,
        (from_disk() - start[2]) / 1e6,
    )


def measure(folder: Path) -> Iterator[tuple[str, tuple[float, ...]]]:
    """(reader, seconds and MB of one turn): every reader once cold, then warm, in each turn."""
    states = torch.from_numpy(np.load(folder / "cache/train.npy"))
    with h5py.File(folder / "train.h5", "w") as file:
        file["state"] = states.numpy()
    readers = {
        "np.memmap": (memmap, "cache/train.npy"),
        "Surroscope, mapped": (mapped, "cache/train.npy"),
        "h5py, contiguous, sorted": (hdf5, "train.h5"),
        "Zarr, sorted": (direct, None),
    }
    draw = np.random.default_rng(1)
    for _ in range(TURNS):
        order = draw.permutation(TRAIN * (SNAPSHOTS - 1))
        batches = np.array_split(order, len(order) // BATCH)
        yield "Surroscope, in memory", epoch(memory(states), batches)
        for name, (reader, file) in readers.items():
            if file is None:
                yield f"{name}, warm", epoch(reader(folder), batches[:ZARR_BATCHES])
                continue
            drop(folder / file)
            gather = reader(folder)
            yield f"{name}, cold", epoch(gather, batches)
            yield f"{name}, warm", epoch(gather, batches)
            del gather


def table(folder: Path) -> None:
    turns: dict[str, list[tuple[float, ...]]] = {}
    for name, found in measure(folder):
        turns.setdefault(name, []).append(found)
    least = {name: np.min(found, axis=0) for name, found in turns.items()}
    print("\n| | transitions / CPU s | time / memmap | transitions / s | time / memmap | MB |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, (cpu, wall, size) in sorted(least.items(), key=lambda item: item[1][1]):
        base = least["np.memmap, cold" if name.endswith("cold") else "np.memmap, warm"]
        ratios = cpu / base[0], wall / base[1]
        print(f"| {name} | {1 / cpu:,.0f} | {ratios[0]:.2f} | {1 / wall:,.0f} | {ratios[1]:.2f} | {size:,.0f} |")


def main() -> None:
    device.pick()
    if len(sys.argv) > 1:
        task, folder = sys.argv[1], Path(sys.argv[2])
        once(folder, task) if task in TASKS else {"write": write, "table": table}[task](folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run(task: str) -> str:
            command = [sys.executable, __file__, task, name]
            return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout

        run("write")
        whole = 4 * (TRAIN + VALIDATION) * SNAPSHOTS * np.prod(FRAME)
        stored = sum(file.stat().st_size for file in (folder / "a.zarr").rglob("*") if file.is_file())
        machine = platform.processor() or platform.machine()
        print(f"{machine}, one thread; {whole / 1e9:.2f} GB of states, {stored / 1e9:.2f} GB in Zarr")
        print("\n| once | CPU s / GB | s / GB | peak MB |\n|---|--:|--:|--:|")
        sizes = {"nothing": 1e9, "cache": whole, "memory": whole * TRAIN / (TRAIN + VALIDATION)}
        labels = {
            "nothing": "libraries alone",
            "cache": "build the cache, with its digests",
            "memory": "read the store into memory",
        }
        for task in TASKS:
            cpu, wall, peak = map(float, run(task).split()[-3:])
            print(f"| {labels[task]} | {cpu / sizes[task] * 1e9:.1f} | {wall / sizes[task] * 1e9:.1f} | {peak:,.0f} |")
        print(run("table"))


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in environment.FIXED.items()):
        # The allocator and the thread pools read their settings when the process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | environment.FIXED)
    main()
