"""Simulate a range of trajectories of one class of initial conditions -> one raw netCDF file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from surroscope import device
from surroscope.errors import UserError
from surroscope.physics.errors import SolverError
from surroscope.physics.simulate import SOLVER_VERSION, simulate
from surroscope.stages import cli, progress
from surroscope.store import atomic


@dataclass(frozen=True)
class Settings:
    ic: str
    preset: str
    seed: int
    start: int
    stop: int
    size: int
    refinement: int
    snapshots: int


def stage(settings: Settings, *, raw: Path) -> None:
    device.pick()
    indices = list(range(settings.start, settings.stop))
    with progress.bar(f"simulate {settings.ic}", 100, "%") as bar:
        try:
            result = simulate(
                settings.ic,
                preset=settings.preset,
                seed=settings.seed,
                indices=indices,
                size=settings.size,
                factor=settings.refinement,
                snapshots=settings.snapshots,
                progress=lambda fraction: bar.update(int(100 * fraction) - bar.n),
            )
        except SolverError as error:
            raise UserError(f"{error}; choose another data.seed or preset, or raise data.refinement") from None
    dataset = xr.Dataset(
        {
            "state": (("trajectory", "time", "channel", "y", "x"), result.states),
            "fallbacks": (("trajectory",), result.fallbacks, {"long_name": "cell updates by the positive scheme"}),
        },
        coords={"trajectory": indices, "time": np.linspace(0.0, 1.0, settings.snapshots)},
        attrs={
            "ic": settings.ic,
            "source": "simulation by Surroscope's embedded solver; not PDEGym data",
            "solver_version": SOLVER_VERSION,
            "preset": settings.preset,
            "seed": settings.seed,
            "solved_size": settings.size * settings.refinement,
        },
    )
    with atomic(raw) as temporary:
        dataset.to_netcdf(temporary, engine="h5netcdf")
    print(f"{raw}: {len(indices)} trajectories, {int(result.fallbacks.sum())} cell updates by the positive scheme")


if __name__ == "__main__":
    cli.run(stage, Settings, paths=("raw",))
