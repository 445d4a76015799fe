"""Fields that networks are given and do not predict: read with or without time, the same at all times or refused."""

from pathlib import Path

import native
import numpy as np
import pytest
import xarray as xr

from surroscope.errors import UserError
from surroscope.runtime import store
from surroscope.stages import ingest
from surroscope.system import System

SYSTEM = System("W", "W", ("speed",), constants=("depth",))
SHAPE = (3, 4, 2, 8, 8)
SPEED = np.random.default_rng(0).uniform(1, 2, (3, 4, 8, 8)).astype("f4")
DEPTH = np.random.default_rng(1).uniform(1, 2, (3, 4, 8, 8)).astype("f4")
AXES = ("trajectory", "time", "y", "x")


def ingested(folder: Path, depth: np.ndarray, axes: tuple[str, ...]) -> xr.Dataset:
    path = folder / "raw.nc"
    data = {"speed": (AXES, SPEED), "depth": (axes, depth)}
    xr.Dataset(data, {"time": np.arange(4.0)}).to_netcdf(path, engine="h5netcdf")
    equations = System("W", "W", SYSTEM.stored, constants=SYSTEM.constants)
    channels = {name: name for name in SYSTEM.stored}
    settings = native.settings(SHAPE, "a", equations, format="xarray", channels=channels)
    ingest.stage(settings, raw=[path], store=folder / "a.zarr")
    return store.read(folder / "a.zarr").load()


@pytest.mark.parametrize(
    ("axes", "part"),
    [(AXES, np.s_[:, :1]), (("trajectory", "y", "x"), np.s_[:, 0]), (("y", "x"), np.s_[0, 0])],
    ids=["all", "no time", "no trajectory"],
)
def test_a_constant_is_stored_with_every_snapshot(tmp_path: Path, axes: tuple[str, ...], part: tuple) -> None:
    depth = DEPTH[part]
    depth = np.repeat(depth, 4, axis=1) if axes == AXES else depth
    found = ingested(tmp_path, depth, axes)
    assert [str(name) for name in found["channel"].values] == ["speed", "depth"]
    expected = depth if depth.ndim == 4 else depth[:, None] if depth.ndim == 3 else depth[None, None]
    assert np.array_equal(found["state"][:, :, 0], SPEED)
    assert np.array_equal(found["state"][:, :, 1], np.broadcast_to(expected, SPEED.shape))


def test_one_that_changes_is_refused(tmp_path: Path) -> None:
    depth = np.repeat(DEPTH[:, :1], 4, axis=1)
    depth[1, 2:] += 1
    with pytest.raises(UserError, match=r"raw\.nc: channel depth changes at snapshot 2 of trajectory 1, expected the"):
        ingested(tmp_path, depth, AXES)


def test_what_is_predicted_must_have_time(tmp_path: Path) -> None:
    path = tmp_path / "raw.nc"
    xr.Dataset({"speed": (("trajectory", "y", "x"), SPEED[:, 0])}).to_netcdf(path, engine="h5netcdf")
    layout = {"format": "xarray", "time_step": 1.0, "channels": {"speed": "speed"}}
    settings = native.settings((3, 4, 1, 8, 8), "a", System("W", "W", ("speed",)), **layout)
    with pytest.raises(UserError, match=r"variable 'speed' has dimensions \(trajectory 3, y 8, x 8\), expected"):
        ingest.stage(
            settings.model_copy(update={"channels": {"speed": "speed"}}), raw=[path], store=tmp_path / "a.zarr"
        )
