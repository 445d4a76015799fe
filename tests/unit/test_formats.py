"""The formats that people publish, each written as its makers do, and read back through ingestion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import native
import numpy as np
import pytest
import xarray as xr

from surroscope.data import expressions
from surroscope.data.formats import Fields
from surroscope.errors import UserError
from surroscope.runtime import store
from surroscope.stages import ingest
from surroscope.system import System

WATER = System("SW", "shallow water", ("depth", "discharge_x", "discharge_y"), ("depth",), boundary="open")
LINE = System("BU", "Burgers", ("velocity",))
SHAPE = (3, 5, 3, 6, 8)


def states(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """(n, T, F, Y, X)"""
    return np.random.default_rng(0).uniform(1, 2, size=shape).astype(np.float32)


def well(path: Path, values: np.ndarray) -> dict[str, Any]:
    """The Well: x before y, scalars and vectors in groups of their own."""
    turned = values.swapaxes(-1, -2)
    with h5py.File(path, "w") as file:
        file.attrs.update({"n_trajectories": len(values), "grid_type": "cartesian"})
        file["t0_fields/height"] = turned[:, :, 0]
        file["t1_fields/velocity"] = np.moveaxis(turned[:, :, 1:], 2, -1)
        file["dimensions/time"] = np.linspace(0, 2, values.shape[1])
        file["boundary_conditions/x_open/mask"] = np.zeros(8, dtype=bool)
    channels = {"depth": "height", "discharge_x": "velocity[0]", "discharge_y": "velocity[1]"}
    return {"format": "well", "channels": channels}


def pdebench(path: Path, values: np.ndarray) -> dict[str, Any]:
    with h5py.File(path, "w") as file:
        for number, name in enumerate(("density", "Vx", "Vy")):
            file[name] = values[:, :, number].swapaxes(-1, -2)
        file["x-coordinate"], file["t-coordinate"] = np.linspace(0, 1, 8), np.linspace(0, 2, values.shape[1])
    return {"format": "pdebench", "channels": {"depth": "density", "discharge_x": "Vx", "discharge_y": "Vy"}}


def groups(path: Path, values: np.ndarray) -> dict[str, Any]:
    """PDEBench's shallow water: a group a trajectory, (T, X, Y, C)."""
    with h5py.File(path, "w") as file:
        for number, trajectory in enumerate(values):
            file[f"{number:04d}/data"] = trajectory.transpose(0, 3, 2, 1)
    channels = {name: f"data[{number}]" for number, name in enumerate(WATER.channels)}
    return {"format": "pdebench", "channels": channels, "time_step": 0.5}


def apebench(path: Path, values: np.ndarray) -> dict[str, Any]:
    np.save(path, values.swapaxes(-1, -2))
    return {
        "format": "apebench",
        "channels": {c: f"state[{n}]" for n, c in enumerate(WATER.channels)},
        "time_step": 0.5,
    }


def mapped(path: Path, values: np.ndarray) -> dict[str, Any]:
    """A Zarr store of a user's own, with other names and another order."""
    axes = ("t", "run", "lon", "lat")
    xr.Dataset(
        {name: (axes, values[:, :, n].transpose(1, 0, 3, 2)) for n, name in enumerate(("h", "hu", "hv"))},
        coords={"t": np.linspace(0, 2, values.shape[1])},
    ).to_zarr(path, zarr_format=3, consolidated=False)
    names = {"trajectory": "run", "time": "t", "x": "lon", "y": "lat"}
    channels = {"depth": "h", "discharge_x": "hu", "discharge_y": "hv"}
    return {"format": "xarray", "dimensions": names, "channels": channels}


def bare(path: Path, values: np.ndarray) -> dict[str, Any]:
    """An HDF5 file without names of dimensions, told by position."""
    with h5py.File(path, "w") as file:
        file["all"] = values
    channels = {name: f"all[{number}]" for number, name in enumerate(WATER.channels)}
    order = ["trajectory", "time", "channel", "y", "x"]
    return {"format": "xarray", "dimensions": order, "channels": channels, "time_step": 0.5}


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (well, "a.hdf5"),
        (pdebench, "a.h5"),
        (groups, "a.h5"),
        (apebench, "a.npy"),
        (mapped, "a.zarr"),
        (bare, "a.h5"),
    ],
)
def test_every_format_gives_the_same_states(
    tmp_path: Path, write: Callable[[Path, np.ndarray], dict[str, Any]], name: str
) -> None:
    options = write(tmp_path / name, states())
    settings = native.settings((2, 4, 3, 6, 8), "dam", WATER, **options)
    ingest.stage(settings, raw=[tmp_path / name], store=tmp_path / "dam.zarr")
    found = store.read(tmp_path / "dam.zarr")
    assert np.array_equal(found["state"].values, states()[:2, :4])
    np.testing.assert_allclose(found["time"].values, [0, 0.5, 1, 1.5])
    assert found.attrs["boundary"] == "open"
    assert found["channel"].values.tolist() == list(WATER.channels)


def test_a_plane_taken_for_a_line_is_told_how(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["tensor"] = states((3, 5, 1, 1, 16))[:, :, 0, 0]
    settings = native.settings((3, 5, 1, 16, 16), "line", LINE, format="pdebench", channels={"velocity": "tensor"})
    with pytest.raises(UserError, match=r"for fields on a line set data\.size: \[1, cells\]"):
        ingest.stage(settings, raw=[tmp_path / "a.h5"], store=tmp_path / "a.zarr")
    named = settings.model_copy(update=dict(channels={"velocity": "u"}))
    with pytest.raises(UserError, match=r"variable 'u': it holds tensor, expected one .* say in data\.channels"):
        ingest.stage(named, raw=[tmp_path / "a.h5"], store=tmp_path / "a.zarr")


@pytest.mark.parametrize("wrong", ["turned", "short", "coarse", "other"])
def test_groups_that_differ_are_refused(tmp_path: Path, wrong: str) -> None:
    values = states((3, 5, 3, 8, 8))
    fields = {f"run{number}": trajectory[:, 0] for number, trajectory in enumerate(values)}
    cut = {"short": fields["run2"][:3], "coarse": fields["run2"][:, ::2, ::2], "other": fields["run2"].astype(float)}
    for name, field in (fields | {"run2": cut.get(wrong, fields["run2"])}).items():
        axes = ("time", "x", "y") if (wrong, name) == ("turned", "run2") else ("time", "y", "x")
        xr.Dataset({"h": (axes, field)}).to_netcdf(tmp_path / "a.nc", "a", group=name, engine="h5netcdf")
    settings = native.settings(
        (3, 5, 1, 8, 8), "line", LINE, format="xarray", channels={"velocity": "h"}, time_step=1.0
    )
    with pytest.raises(UserError, match=r"variable 'h' has .* in group /run2, expected .* as in /run0"):
        ingest.stage(settings, raw=[tmp_path / "a.nc"], store=tmp_path / "a.zarr")


def test_groups_are_in_the_order_of_their_numbers_and_the_same_for_all_variables(tmp_path: Path) -> None:
    values = states((12, 5, 3, 8, 8))
    for number, trajectory in enumerate(values):
        fields = {name: (("time", "y", "x"), trajectory[:, n]) for n, name in enumerate(("h", "u"))}
        group = f"run{number or ''}"
        xr.Dataset(fields).to_netcdf(tmp_path / "a.nc", "a", group=group, engine="h5netcdf")
    channels = {"velocity": "h"}
    settings = native.settings((12, 5, 1, 8, 8), "line", LINE, format="xarray", channels=channels, time_step=1.0)
    ingest.stage(settings, raw=[tmp_path / "a.nc"], store=tmp_path / "a.zarr")
    assert np.array_equal(store.read(tmp_path / "a.zarr")["state"].values, values[:, :, :1])
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["r0/h"], file["r1/h"], file["r1/u"], file["r2/u"] = values[:4, :, 0]
    own = {"channels": {"velocity": "h * u"}, "dimensions": ["time", "y", "x"], "format": "pdebench"}
    with pytest.raises(UserError, match="its variables differ in their trajectories"):
        ingest.stage(
            settings.model_copy(update={"trajectories": 2} | own), raw=[tmp_path / "b.h5"], store=tmp_path / "b.zarr"
        )


@pytest.mark.parametrize("kind", ["apebench", "pdebench", "well", "xarray"])
def test_fields_on_a_line_have_one_row(tmp_path: Path, kind: str) -> None:
    values = states((3, 5, 1, 1, 16))
    path = tmp_path / ("a.npy" if kind == "apebench" else "a.h5")
    channels = {"velocity": "state[0]" if kind == "apebench" else "tensor"}
    if kind == "apebench":
        np.save(path, values[:, :, :, 0])
    elif kind == "xarray":
        xr.Dataset({"tensor": (("trajectory", "time", "x"), values[:, :, 0, 0])}).to_netcdf(path, engine="h5netcdf")
    else:
        with h5py.File(path, "w") as file:
            file["t0_fields/tensor" if kind == "well" else "tensor"] = values[:, :, 0, 0]
    settings = native.settings(values.shape, "line", LINE, format=kind, channels=channels, time_step=0.1)
    ingest.stage(settings, raw=[path], store=tmp_path / "line.zarr")
    assert np.array_equal(store.read(tmp_path / "line.zarr")["state"].values, values)


def test_files_of_one_trajectory_each(tmp_path: Path) -> None:
    paths = []
    for number, values in enumerate(states()):
        path = tmp_path / f"run{number}.nc"
        fields = {name: (("time", "y", "x"), values[:, n]) for n, name in enumerate(WATER.channels)}
        xr.Dataset(fields).to_netcdf(path, engine="h5netcdf")
        paths.append(path)
    channels = {name: name for name in WATER.channels}
    settings = native.settings(SHAPE, "dam", WATER, format="xarray", channels=channels, time_step=1.0)
    ingest.stage(settings, raw=paths, store=tmp_path / "dam.zarr")
    assert np.array_equal(store.read(tmp_path / "dam.zarr")["state"].values, states())


def test_nothing_but_what_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well(tmp_path / "a.hdf5", states())
    read: list[int] = []
    original = h5py.Dataset.__getitem__

    def counting(self: h5py.Dataset, key: Any, *more: Any) -> Any:
        found = original(self, key, *more)
        read.append(np.size(found))
        return found

    with Fields(tmp_path / "a.hdf5", "well", [], line=False) as fields:
        monkeypatch.setattr(h5py.Dataset, "__getitem__", counting)
        block = fields.read("velocity", slice(1, 2), slice(0, 3))
    assert block.shape == (1, 3, 2, 6, 8)
    assert sum(read) == block.size


def test_expressions_are_arithmetic_and_nothing_else() -> None:
    values = {("h", None): 3.0, ("u", 1): 2.0}

    def value(expression: str) -> float:
        return expressions.evaluate(expression, lambda name, component: values[name, component])

    assert value("h * u[1] ** 2 / (1 + 2) - -h") == 7.0
    assert value("5.0e-1 * h") == 1.5
    assert expressions.names("p / 0.4 + 0.5 * rho * (u[0]**2 + u[1]**2)") == {"p", "rho", "u"}
    assert expressions.names("p / (gamma - 1) + 0.5 * h * u") == {"p", "gamma", "h", "u"}
    assert expressions.names("h * 9**9**9") == {"h"}
    for text in ("h * 9**9**9", "1 / 0 * h"):
        with pytest.raises(UserError, match="cannot be computed"):
            expressions.evaluate(text, lambda name, component: 1.0)
    for number in (1.0, np.ones(2), np.ones(2, complex)):
        with pytest.raises(UserError, match="gives complex numbers, expected real ones"):
            expressions.evaluate("h * (-8) ** (1/3)", lambda name, component, number=number: number)
    with pytest.raises(UserError, match="reads no variable"):
        expressions.names("2 * 3")
    for text in ("__import__('os')", "(h).real", "h[u]", "h if h else u", "f(h)", "h +", "h[0:2]", "True", "", "h; h"):
        with pytest.raises(UserError, match="is no expression of variables"):
            expressions.names(text)
