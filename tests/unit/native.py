"""Raw files as the embedded solvers write them, and their ingestion."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from surroscope.config import jobs
from surroscope.physics.simulate import Simulated
from surroscope.runtime import claims
from surroscope.stages import ingest, split
from surroscope.system import COMPRESSIBLE_EULER, System


def joined(parts: Iterable[Simulated]) -> Simulated:
    """All parts of a simulation as one."""
    states, fallbacks = zip(*((part.states, part.fallbacks) for part in parts), strict=True)
    return Simulated(np.concatenate(states), np.concatenate(fallbacks))


def write(path: Path, states: np.ndarray, first: int = 0) -> Path:
    """states: (n, T, F, Y, X)"""
    xr.Dataset(
        {"state": (("trajectory", "time", "channel", "y", "x"), states)},
        coords={"trajectory": np.arange(first, first + len(states)), "time": np.linspace(0, 1, states.shape[1])},
        attrs={"preset": "calibrated", "seed": 0, "solver_version": 1, "cell_updates_by_positive_scheme": 2},
    ).to_netcdf(path, engine="h5netcdf")
    if states.dtype.byteorder == ">":  # xarray writes the machine's own order
        with h5py.File(path, "a") as file:
            dimensions = [scale[0] for scale in file["state"].dims]
            del file["state"]
            for number, scale in enumerate(dimensions):
                file.require_dataset("state", states.shape, states.dtype, data=states).dims[number].attach_scale(scale)
    return path


def settings(
    states: tuple[int, ...], ic: str = "CE-RP", system: System = COMPRESSIBLE_EULER, **changes: Any
) -> jobs.Ingest:
    """Settings for native files whose states have this shape (n, T, F, Y, X)."""
    own = jobs.Ingest(
        ic=ic,
        equations=system,
        format="native",
        dimensions=[],
        channels={channel: f"state[{number}]" for number, channel in enumerate(system.channels)},
        dtype="float32",
        grid=(states[3], states[4]),
        snapshots=states[1],
        trajectories=states[0],
        time_step=None,
        origin={"ic": ic},
    )
    return own.model_copy(update=changes)


def divided(path: Path, stores: list[Path], trajectories: int = 9) -> Path:
    """A split of these stores, recorded as a job's."""
    classes = [data.stem for data in stores]
    own = jobs.Split(seed=1, classes=classes, train=0.5, validation=0.2, trajectories=trajectories)
    with claims.claimed([path]):
        split.stage(own, stores=stores, split=path)
    return path


def ingested(path: Path, states: np.ndarray, system: System = COMPRESSIBLE_EULER) -> Path:
    """A store of these states, made from one file."""
    raw = write(path.with_suffix(".nc"), states)
    ingest.stage(settings(states.shape, path.stem, system), raw=[raw], store=path)
    return path
