"""Simulate a range of trajectories of one class of initial conditions -> one raw netCDF file."""

from collections.abc import Iterable
from pathlib import Path

import h5netcdf
import numpy as np

from surroscope import device
from surroscope.config import jobs
from surroscope.errors import UserError
from surroscope.physics.errors import SolverError
from surroscope.physics.simulate import SOLVER_VERSION, Simulated, simulate
from surroscope.runtime import cli, progress
from surroscope.runtime.store import atomic


def stage(settings: jobs.Simulate, *, raw: cli.Output) -> None:
    device.pick()
    indices = range(settings.start, settings.stop)
    with atomic(raw) as temporary, progress.bar(f"simulate {settings.ic}", 100, "%") as bar:
        parts = simulate(
            settings.ic,
            preset=settings.preset,
            seed=settings.seed,
            indices=indices,
            size=settings.size,
            factor=settings.refinement,
            snapshots=settings.snapshots,
            progress=lambda fraction: bar.update(int(100 * fraction) - bar.n),
        )
        try:
            fallbacks = write(temporary, settings, parts)
        except SolverError as error:
            raise UserError(f"{error}; choose another data.seed or preset, or raise data.refinement") from None
    print(f"{raw}: {len(indices)} trajectories, {fallbacks} cell updates by the positive scheme")


def write(path: Path, settings: jobs.Simulate, parts: Iterable[Simulated]) -> int:
    """Write the parts as they come; returns the cell updates by the positive scheme."""
    indices, fallbacks, row = np.arange(settings.start, settings.stop), 0, 0
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"trajectory": len(indices), "time": settings.snapshots}
        file.create_variable("trajectory", ("trajectory",), data=indices)
        file.create_variable("time", ("time",), data=np.linspace(0.0, 1.0, settings.snapshots))
        for part in parts:
            if row == 0:
                file.dimensions.update(zip(("channel", "y", "x"), part.states.shape[2:], strict=True))
                state = file.create_variable("state", ("trajectory", "time", "channel", "y", "x"), "f4")
            stop = row + len(part.states)
            state[row:stop] = part.states
            row, fallbacks = stop, fallbacks + int(part.fallbacks.sum())
            # Or it would stay in memory while the next one is solved.
            del part
        file.attrs.update(
            ic=settings.ic,
            source="simulation by Surroscope's embedded solver; not PDEGym data",
            solver_version=SOLVER_VERSION,
            preset=settings.preset,
            seed=settings.seed,
            solved_size=settings.size * settings.refinement,
            cell_updates_by_positive_scheme=fallbacks,
        )
    return fallbacks


if __name__ == "__main__":
    cli.run(stage)
