"""Variables by their names and groups, and which of their axes is which: as files and formats say it, or one error."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import native
import numpy as np
import pytest
import xarray as xr

from surroscope.data import expressions
from surroscope.errors import UserError
from surroscope.runtime import store
from surroscope.stages import ingest
from surroscope.system import System

TWO = System("T", "two", ("a", "b"))
ONE = System("O", "one", ("a",))
PLANE, LINE = (3, 5, 1, 6, 8), (3, 5, 1, 1, 16)


def states(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 2, size=shape).astype(np.float32)


def ingested(path: Path, shape: tuple[int, ...], channels: dict[str, str], **changes: Any) -> np.ndarray:
    """The states (n, t, F, Y, X) that a file becomes."""
    system = System("S", "of these channels", tuple(channels))
    options = {"format": "xarray", "time_step": 1.0, "channels": channels} | changes
    place = path.parent / "store.zarr"
    ingest.stage(
        native.settings((*shape[:2], len(channels), *shape[3:]), "c", system, **options), raw=[path], store=place
    )
    return store.read(place)["state"].values


def of_groups(path: Path, fields: dict[str, np.ndarray], dims: Sequence[str]) -> Path:
    """netCDF of variables at these paths."""
    for number, (place, values) in enumerate(fields.items()):
        group, _, name = place.rpartition("/")
        data = xr.Dataset({name: (dims, values)})
        data.to_netcdf(path, "a" if number else "w", group=group or None, engine="h5netcdf")
    return path


NAMES = ("a", "b", "a-b", "2m_temperature", "wind speed", "lambda", "h.x", "train/u", "valid/u", "train/pde_250-100")


@pytest.mark.parametrize(
    ("expression", "weights"),
    [
        ('"2m_temperature"', {"2m_temperature": 1}),
        ("2m_temperature", {"2m_temperature": 1}),
        ("'wind speed' * 2 + a", {"wind speed": 2, "a": 1}),
        ("lambda", {"lambda": 1}),
        ("h.x", {"h.x": 1}),
        ("a-b", {"a-b": 1}),
        ("a - b", {"a": 1, "b": -1}),
        ('"a" - "/b"', {"a": 1, "b": -1}),
        ("train/pde_250-100", {"train/pde_250-100": 1}),
        ("pde_250-100", {"train/pde_250-100": 1}),
        ('"train/pde_250-100" + a', {"train/pde_250-100": 1, "a": 1}),
        ("train/u", {"train/u": 1}),
        ('"valid/u"', {"valid/u": 1}),
        ('2 * "valid/u" - "train/u"', {"valid/u": 2, "train/u": -1}),
    ],
)
def test_variables_are_chosen_by_any_name_and_by_their_group(
    tmp_path: Path, expression: str, weights: dict[str, float]
) -> None:
    fields = {name: states(PLANE, number)[:, :, 0] for number, name in enumerate(NAMES)}
    path = of_groups(tmp_path / "a.nc", fields, ("trajectory", "time", "y", "x"))
    expected = sum(weight * fields[name].astype(float) for name, weight in weights.items())
    np.testing.assert_allclose(ingested(path, PLANE, {"c": expression})[:, :, 0], expected, rtol=1e-5, atol=1e-6)


def test_components_of_a_quoted_name_are_counted(tmp_path: Path) -> None:
    values = states((3, 5, 2, 6, 8))
    path = of_groups(tmp_path / "a.nc", {"train/2m-wind": values}, ("trajectory", "time", "channel", "y", "x"))
    found = ingested(path, PLANE, {"c": '"train/2m-wind"[1] - "2m-wind"[0]'})
    np.testing.assert_array_equal(found[:, :, 0], values[:, :, 1] - values[:, :, 0])


def test_a_name_that_is_not_there_is_told_beside_those_that_are(tmp_path: Path) -> None:
    fields = {name: states(PLANE)[:, :, 0] for name in ("train/u", "valid/u", "2m")}
    path = of_groups(tmp_path / "a.nc", fields, ("trajectory", "time", "y", "x"))
    with pytest.raises(UserError, match="variable 'test/u': it holds 2m, train/u, valid/u, expected one of this name"):
        ingested(path, PLANE, {"c": '"test/u"'})
    with pytest.raises(UserError, match=r'2 groups hold one, .* name it with its group, in quotes, such as "train/u"'):
        ingested(path, PLANE, {"c": "u"})
    with pytest.raises(UserError, match=r"is no expression of variables.* a name with other signs goes in quotes"):
        expressions.names("wind speed")


def test_times_are_those_of_the_variables_group(tmp_path: Path) -> None:
    for number, group in enumerate(("train", "valid")):
        data = xr.Dataset({"u": (("trajectory", "time", "y", "x"), states(PLANE)[:, :, 0])})
        data.assign_coords(time=np.arange(5) * (number + 1.0)).to_netcdf(
            tmp_path / "a.nc", "a" if number else "w", group=group, engine="h5netcdf"
        )
    ingested(tmp_path / "a.nc", PLANE, {"c": '"valid/u"'}, time_step=None)
    np.testing.assert_array_equal(store.read(tmp_path / "store.zarr")["time"], [0, 2, 4, 6, 8])


def test_a_dimension_without_values_is_no_variable(tmp_path: Path) -> None:
    path = of_groups(tmp_path / "a.nc", {"u": states(PLANE)[:, :, 0]}, ("trajectory", "time", "y", "x"))
    with pytest.raises(UserError, match=r"holds no times of its snapshots .* set data\.time_step"):
        ingested(path, PLANE, {"c": "u"}, time_step=None)
    with pytest.raises(UserError, match="'x': it holds u, expected one of this name"):
        ingested(path, PLANE, {"c": "u * x"})


def well(path: Path, fields: dict[str, np.ndarray], dims: Sequence[str] | None = ("x", "y"), **attributes: Any) -> Path:
    """A file of The Well, which says how many dimensions of space it has and what fields vary along."""
    with h5py.File(path, "w") as file:
        for place, values in fields.items():
            file[place] = values
            file[place].attrs.update(attributes)
        if dims:
            file.attrs["n_spatial_dims"] = len(dims)
            file.create_group("dimensions").attrs["spatial_dims"] = list(dims)
    return path


@pytest.mark.parametrize("channel", ["density", "density[0]"])
@pytest.mark.parametrize("changes", [{}, {"dimensions": ["trajectory", "time", "x", "y", "channel"]}])
def test_the_wells_fields_in_three_dimensions_are_refused(
    tmp_path: Path, channel: str, changes: dict[str, Any]
) -> None:
    fields = {"t0_fields/density": states((3, 5, 8, 8, 8)), "t1_fields/velocity": states((3, 5, 8, 8, 8))}
    options = {"format": "well"} | changes
    path = well(tmp_path / "a.hdf5", fields, ("x", "y", "z"))
    with pytest.raises(UserError, match=r"has three dimensions of space.* n_spatial_dims.* not supported"):
        ingested(path, (3, 5, 1, 8, 8), {"c": channel}, **options)
    if not changes:
        with pytest.raises(UserError, match=r"has dimensions .* three dimensions of space are not supported"):
            ingested(well(path, fields, None), (3, 5, 1, 8, 8), {"c": channel}, **options)


def test_the_wells_fields_are_laid_out_as_the_file_says(tmp_path: Path) -> None:
    values = states((3, 5, 6, 8, 2, 2))
    path = well(tmp_path / "a.hdf5", {"t0_fields/p": values[..., 0, 0], "t2_fields/stress": values}, ("y", "x"))
    channels = {"xx": "stress[0]", "xy": "stress[1]", "yx": "stress[2]", "yy": "stress[3]", "p": "p"}
    found = ingested(path, PLANE, channels, format="well")
    expected = np.moveaxis(values.reshape(3, 5, 6, 8, 4), -1, 2)
    np.testing.assert_array_equal(found, np.concatenate([expected, expected[:, :, :1]], axis=2))
    turned = well(tmp_path / "b.hdf5", {"t0_fields/p": values[..., 0, 0].swapaxes(2, 3)}, ("x", "y"))
    np.testing.assert_array_equal(ingested(turned, PLANE, {"p": "p"}, format="well"), expected[:, :, :1])
    one = well(tmp_path / "c.hdf5", {"t0_fields/p": values[0, ..., 0, 0]}, ("y", "x"), sample_varying=False)
    np.testing.assert_array_equal(ingested(one, (1, *PLANE[1:]), {"p": "p"}, format="well"), expected[:1, :, :1])
    still = well(tmp_path / "d.hdf5", {"t0_fields/p": values[:, 0, ..., 0, 0]}, ("y", "x"), time_varying=False)
    with pytest.raises(UserError, match=r"has dimensions .*, expected \(trajectory, time"):
        ingested(still, PLANE, {"p": "p"}, format="well")


def test_one_group_of_pdebench_is_a_trajectory_or_a_set(tmp_path: Path) -> None:
    """Its sizes fit both ways: taken for a trajectory, the set's time would be y."""
    values = states((6, 6, 6, 6))
    trajectory, whole = values.transpose(0, 3, 2, 1)[None], values.swapaxes(2, 3)[:, :, None]
    of_set = ["trajectory", "time", "x", "y"]
    path = tmp_path / "a.h5"

    def read(place: str, beside: str = "", **changes: Any) -> np.ndarray:
        with h5py.File(path, "w") as file:
            file[place] = values
            if beside:
                file[beside] = np.arange(6.0)
        shape = (1, 6, 1, 6, 6) if changes.pop("component", False) else (6, 6, 1, 6, 6)
        channel = "data[0]" if shape[0] == 1 else "data"
        return ingested(path, shape, {"c": channel}, format="pdebench", **changes)

    np.testing.assert_array_equal(read("0000/data", component=True), trajectory[:, :, :1])
    np.testing.assert_array_equal(read("run/data", "run/grid/x", component=True), trajectory[:, :, :1])
    np.testing.assert_array_equal(read("run1/data", "run2/other", component=True), trajectory[:, :, :1])
    np.testing.assert_array_equal(read("train/data", "train/x-coordinate"), whole)
    np.testing.assert_array_equal(read("train/data", dimensions=of_set), whole)
    np.testing.assert_array_equal(read("data", "other/x"), whole)
    with pytest.raises(UserError, match=r"may be \[traj.*, time, x, y\] or \[time, x, y, channel\]; set data\.dim"):
        read("train/data")


def test_three_dimensions_are_refused_in_every_format(tmp_path: Path) -> None:
    solid = states((3, 5, 6, 6, 6))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["density"], file["z-coordinate"] = solid, np.arange(6.0)
    for channel in ("density", "density[0]"):
        for changes in ({}, {"dimensions": ["trajectory", "time", "x", "y", "channel"]}):
            with pytest.raises(UserError, match=r"three dimensions of space, by the file's z-coordinate; .* not supp"):
                ingested(tmp_path / "a.h5", (3, 5, 1, 6, 6), {"c": channel}, format="pdebench", **changes)
    np.save(tmp_path / "a.npy", solid[:, :, None])
    with pytest.raises(UserError, match="three dimensions of space are not supported"):
        ingested(tmp_path / "a.npy", (3, 5, 1, 6, 6), {"c": "state[0]"}, format="apebench")
    path = of_groups(tmp_path / "a.nc", {"u": solid}, ("trajectory", "time", "z", "y", "x"))
    with pytest.raises(UserError, match=r"z is none of them, and fields in three dimensions .* not supp.* are$"):
        ingested(path, (3, 5, 1, 6, 6), {"c": "u"})
    path = of_groups(tmp_path / "b.nc", {"u": solid}, ("trajectory", "time", "level of pressure", "y", "x"))
    named = {"channel": "level of pressure"}
    with pytest.raises(
        UserError, match=r"counts the components.* set data\.dimensions: \{channel: level of pressure\}"
    ):
        ingested(path, (3, 5, 1, 6, 6), {"c": "u[2]"})
    np.testing.assert_array_equal(ingested(path, (3, 5, 1, 6, 6), {"c": "u[2]"}, dimensions=named), solid[:, :, 2:3])


def test_types_of_numbers_that_differ_are_taken_as_the_error_says(tmp_path: Path) -> None:
    fields = {name: states(PLANE, number)[:, :, 0] for number, name in enumerate("uvw")}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, kind in zip("uvw", ("f4", ">f8", "f2"), strict=True):
            file[name] = fields[name].astype(kind)
            fields[name] = file[name][:]
    dimensions, channels = ["trajectory", "time", "y", "x"], {"c": "u + v", "d": "v * w"}
    told = r"numbers of type float64, expected float32; .* set data\.dtype: float64, or \[float32, float64\] where"
    with pytest.raises(UserError, match=told):
        ingested(tmp_path / "a.h5", PLANE, channels, dimensions=dimensions)
    told = r"numbers of type float16, expected float32 or float64; .*\[float32, float64, float16\]"
    with pytest.raises(UserError, match=told):
        ingested(tmp_path / "a.h5", PLANE, channels, dimensions=dimensions, dtype=["float32", "float64"])
    every = ["float32", "float64", "float16"]
    found = ingested(tmp_path / "a.h5", PLANE, channels, dimensions=dimensions, dtype=every)
    expected = [fields["u"] + fields["v"], fields["v"] * fields["w"].astype("f4")]
    np.testing.assert_array_equal(found, np.stack(expected, axis=2).astype("f4"))


def test_a_file_of_py_pde_is_a_trajectory_with_times(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(size=(1, 4, 2, 6, 8))
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["data"], file["times"] = values[0].swapaxes(-1, -2), np.arange(4) * 0.1
    channels, settings = {"u": "data[0]", "v": "data[1]"}, {"format": "py-pde", "time_step": None}
    found = ingested(tmp_path / "a.hdf5", values.shape, channels, dtype="float64", **settings)
    np.testing.assert_array_equal(found, values.astype(np.float32))
    np.testing.assert_allclose(store.read(tmp_path / "store.zarr")["time"], [0, 0.1, 0.2, 0.3])


def test_a_dimension_that_is_none_of_ours_may_count_components_or_trajectories(tmp_path: Path) -> None:
    path = of_groups(tmp_path / "a.nc", {"u": states(PLANE)[:, :, 0]}, ("sample", "time", "y", "x"))
    with pytest.raises(UserError, match=r"\{channel: sample\}, if it counts trajectories \{trajectory: sample\}"):
        ingested(path, PLANE, {"c": "u"})
