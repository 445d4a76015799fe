"""Gather the raw files of one class into a Zarr store: state(trajectory, time, channel, y, x), float32."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from surroscope.errors import UserError
from surroscope.stages import cli, progress
from surroscope.store import names, writing
from surroscope.system import SYSTEMS, System

SHARD_TRAJECTORIES = 64


@dataclass(frozen=True)
class Settings:
    system: str
    ic: str


def stage(settings: Settings, *, raw: list[Path], store: Path) -> None:
    system = SYSTEMS[settings.system]
    files = [xr.open_dataset(path, engine="h5netcdf") for path in raw]
    counts = [file.sizes["trajectory"] for file in files]
    first = files[0]
    _, *shape = first["state"].shape
    with writing(store, cli.provenance("ingest", settings)) as temporary:
        xr.Dataset(
            {"fallbacks": ("trajectory", np.concatenate([file["fallbacks"].values for file in files]))},
            coords={
                "trajectory": np.concatenate([file["trajectory"].values for file in files]),
                "time": ("time", first["time"].values, {"units": "1", "long_name": "time in units of the domain's"}),
                "channel": names("channel", system.channels),
                "y": ("y", (np.arange(shape[2]) + 0.5) / shape[2], {"units": "1"}),
                "x": ("x", (np.arange(shape[3]) + 0.5) / shape[3], {"units": "1"}),
            },
            attrs=first.attrs
            | {
                "system": system.name,
                "boundary": "periodic",
                "cell_updates_by_positive_scheme": sum(int(file["fallbacks"].sum()) for file in files),
            },
        ).to_zarr(temporary, zarr_format=3, consolidated=False)
        state = zarr.open_group(temporary).create_array(
            "state",
            shape=(sum(counts), *shape),
            dtype="float32",
            chunks=(1, 1, *shape[1:]),
            shards=(SHARD_TRAJECTORIES, *shape),
            compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec()],
            fill_value=float("nan"),
            dimension_names=("trajectory", "time", "channel", "y", "x"),
            attributes={"units": system.units, "long_name": "state"},
        )
        row = 0
        with progress.bar(f"ingest {settings.ic}", sum(counts), "trajectory") as bar:
            for path, file, count in zip(raw, files, counts, strict=True):
                for start in range(0, count, SHARD_TRAJECTORIES):
                    block = file["state"].isel(trajectory=slice(start, start + SHARD_TRAJECTORIES)).values
                    check(block, path, start, system)
                    state[row : row + len(block)] = block
                    row += len(block)
                    bar.update(len(block))


def check(block: np.ndarray, path: Path, start: int, system: System) -> None:
    """Raise UserError for values that no physical state has, naming file, channel, trajectory and snapshot."""
    if block.shape[2] != len(system.channels):
        raise UserError(f"{path}: state has {block.shape[2]} channels; {system.name} has {', '.join(system.channels)}")
    for number, channel in enumerate(system.channels):
        values = block[:, :, number]
        bad = ~np.isfinite(values)
        if channel in system.positive:
            bad |= ~(values > 0)
        if bad.any():
            trajectory, snapshot, y, x = np.argwhere(bad)[0]
            raise UserError(
                f"{path}: {channel} is {values[trajectory, snapshot, y, x]} in trajectory {start + trajectory}, "
                f"snapshot {snapshot}, cell (y={y}, x={x}); expected finite"
                f"{' and positive' if channel in system.positive else ''} values. Make or fetch the file again"
            )


if __name__ == "__main__":
    cli.run(stage, Settings, paths=("store",), lists=("raw",))
