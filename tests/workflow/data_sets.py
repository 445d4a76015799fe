"""Data as others publish them, made by small solvers: files in PDEGym's layout, shallow water, Burgers on a line."""

from pathlib import Path

import numpy as np
import torch
import xarray as xr

from surroscope.physics import euler
from surroscope.physics.simulate import simulate

SNAPSHOTS, ROWS = 21, 12


def pdegym(folder: Path, ic: str, size: int = 32) -> Path:
    """The first file of a class, with 12 trajectories at size x size cells: (sample, time, channel, x, y) float32."""
    options = {"preset": "calibrated", "seed": 7, "size": size, "factor": 1, "snapshots": SNAPSHOTS}
    states = np.concatenate([part.states for part in simulate(ic, indices=range(ROWS), **options)])
    if ic.startswith("CE"):
        name, values = "data", euler.primitive(torch.from_numpy(states)).numpy()
        values = np.concatenate([values, states[:, :, 3:]], axis=2)
    else:
        name, values = "velocity", np.concatenate([states, states[:, :, :1]], axis=2)
    path = folder / ic / f"{name}_0.nc"
    path.parent.mkdir(parents=True)
    dimensions = ("sample", "time", "channel", "x", "y")
    xr.Dataset({name: (dimensions, values.swapaxes(-1, -2))}).to_netcdf(path, engine="h5netcdf")
    return path


def water(path: Path, kind: str, count: int = 8, shape: tuple[int, int] = (16, 24)) -> None:
    """Shallow water behind open edges by Lax-Friedrichs: h, hu, hv of (run, t, lat, lon) float64 in a Zarr store."""
    draw = np.random.default_rng(len(kind))
    y, x = np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij")
    states = []
    for _ in range(count):
        place, strength = draw.uniform(0.3, 0.7, size=2), draw.uniform(0.3, 0.8)
        if kind == "dam":
            height = 1 + strength * (x + 0.3 * y < place[0])
        else:
            height = 1 + strength * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 0.02)
        states.append(np.stack([height, np.zeros(shape), np.zeros(shape)]))
    state, frames = np.stack(states), []
    for step in range(9 * 4):
        if step % 4 == 0:
            frames.append(state)
        state = lax_friedrichs(state)
    fields = np.stack(frames, axis=1)
    xr.Dataset(
        {name: (("run", "t", "lat", "lon"), fields[:, :, n]) for n, name in enumerate(("h", "hu", "hv"))},
        coords={"t": 0.02 * np.arange(9)},
    ).to_zarr(path, zarr_format=3, consolidated=False)


def lax_friedrichs(state: np.ndarray, ratio: float = 0.12) -> np.ndarray:
    """One step of time / cell = `ratio` at unit gravity, (n, 3, Y, X)."""
    padded = np.pad(state, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    height, along_x, along_y = padded.swapaxes(0, 1)
    pressure = height**2 / 2
    flux_x = np.stack([along_x, along_x**2 / height + pressure, along_x * along_y / height], axis=1)
    flux_y = np.stack([along_y, along_x * along_y / height, along_y**2 / height + pressure], axis=1)
    left, right = padded[..., 1:-1, :-2], padded[..., 1:-1, 2:]
    low, high = padded[..., :-2, 1:-1], padded[..., 2:, 1:-1]
    slope_x = flux_x[..., 1:-1, 2:] - flux_x[..., 1:-1, :-2]
    slope_y = flux_y[..., 2:, 1:-1] - flux_y[..., :-2, 1:-1]
    return (left + right + low + high) / 4 - ratio / 2 * (slope_x + slope_y)


def burgers(path: Path, waves: int, count: int = 8, size: int = 32) -> None:
    """Viscous Burgers on a periodic line by central differences: an APEBench array (N, T, 1, X) float32."""
    draw = np.random.default_rng(waves)
    x = (np.arange(size) + 0.5) / size
    u = np.stack([np.sin(2 * np.pi * (waves * x + phase)) for phase in draw.uniform(size=count)])
    frames = []
    for step in range(9 * 20):
        if step % 20 == 0:
            frames.append(u)
        ahead, behind = np.roll(u, -1, -1), np.roll(u, 1, -1)
        u = u - 1e-3 * (ahead**2 - behind**2) * size / 4 + 1e-3 * 5e-3 * (ahead - 2 * u + behind) * size**2
    np.save(path, np.stack(frames, axis=1)[:, :, None].astype(np.float32))
