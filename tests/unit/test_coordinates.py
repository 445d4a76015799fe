"""Files and classes of one study have the same cells and units, in whatever direction they count them."""

import itertools
from pathlib import Path
from typing import Any

import h5py
import native
import numpy as np
import pytest
import xarray as xr

from surroscope.config import jobs
from surroscope.data.coordinates import alike, same_unit
from surroscope.errors import UserError
from surroscope.runtime import store
from surroscope.stages import ingest
from surroscope.system import System

SYSTEM = System("W", "W", ("depth", "speed"), (), (), (), (), "open", "as in the files")
LATITUDES, LONGITUDES = np.linspace(-70, 70, 8), np.arange(12) * 30.0


def values(seed: int = 0, count: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 2, size=(count, 4, 2, 8, 12)).astype(np.float32)


def write(path: Path, states: np.ndarray, units: dict[str, str] | None = None, **coordinates: Any) -> Path:
    """states: (n, T, 2, Y, X) in the order of the file"""
    axes = ("run", "time", "lat", "lon")
    places = {"time": np.arange(states.shape[1]) * 1.0, "lat": LATITUDES, "lon": LONGITUDES} | coordinates
    held = xr.Dataset(
        {"depth": (axes, states[:, :, 0]), "speed": (axes, states[:, :, 1])},
        {name: (name, np.asarray(place)) for name, place in places.items() if place is not None},
    )
    for name, unit in (units or {}).items():
        held[name].attrs["units"] = unit
    held.to_netcdf(path, engine="h5netcdf")
    return path


def settings(count: int = 5, ic: str = "a", **changes: Any) -> jobs.Ingest:
    layout = {
        "format": "xarray",
        "dimensions": {"trajectory": "run", "y": "lat", "x": "lon"},
        "channels": {"depth": "depth", "speed": "speed"},
    }
    return native.settings((count, 4, 2, 8, 12), ic, SYSTEM, **layout | changes)


def divide(*stores: Path) -> None:
    native.divided(stores[0].parent / "split.json", list(stores), 5)


def test_coordinates_are_stored_where_files_have_them(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.nc", values(), {"lat": "degrees_north", "lon": "degrees_east", "depth": "m", "time": "h"})
    ingest.stage(settings(), raw=[raw], store=tmp_path / "a.zarr")
    found = store.read(tmp_path / "a.zarr")
    assert np.array_equal(found["y"], LATITUDES)
    assert np.array_equal(found["x"], LONGITUDES)
    assert found["time"].values.tolist() == [0, 1, 2, 3]
    assert found.attrs["units_in_files"] == {"depth": "m", "time": "h", "x": "degrees east", "y": "degrees north"}
    ingest.stage(settings(grid=(4, 6)), raw=[raw], store=tmp_path / "coarse.zarr")
    coarse = store.read(tmp_path / "coarse.zarr")
    np.testing.assert_allclose(coarse["y"], LATITUDES.reshape(4, 2).mean(1))
    np.testing.assert_allclose(coarse["x"], LONGITUDES.reshape(6, 2).mean(1))
    ingest.stage(settings(coordinates="ignore"), raw=[raw], store=tmp_path / "ignored.zarr")
    ignored = store.read(tmp_path / "ignored.zarr")
    np.testing.assert_allclose(ignored["y"], (np.arange(8) + 0.5) / 8)
    assert "units_in_files" not in ignored.attrs


@pytest.mark.parametrize("axes", ["lat", "lon", "lat lon"])
def test_an_axis_that_descends_is_turned_and_a_copy_is_found_so(tmp_path: Path, axes: str) -> None:
    down = {"lat": LATITUDES, "lon": LONGITUDES}
    turned, own = values(), slice(None, None, -1)
    for axis in axes.split():
        down[axis] = down[axis][::-1]
    turned = turned[:, :, :, own if "lat" in axes else slice(None), own if "lon" in axes else slice(None)]
    up, other = write(tmp_path / "up.nc", values()), write(tmp_path / "down.nc", turned, **down)
    for name in ("up", "down"):
        ingest.stage(settings(ic=name), raw=[tmp_path / f"{name}.nc"], store=tmp_path / f"{name}.zarr")
    one, two = (store.read(tmp_path / f"{name}.zarr") for name in ("up", "down"))
    for name in ("state", "y", "x", "digest"):
        assert np.array_equal(one[name], two[name])
    with pytest.raises(UserError, match=r"down\.nc: trajectory 0 is the same as trajectory 0 of .*up\.nc"):
        ingest.stage(settings(10), raw=[up, other], store=tmp_path / "both.zarr")
    with pytest.raises(UserError, match=r"down\.zarr: trajectory 0 .* is the same as trajectory 0 of .*up\.zarr"):
        divide(tmp_path / "up.zarr", tmp_path / "down.zarr")


DIFFERENT = [
    ({"lon": LONGITUDES / 360}, {}, r"(x goes from 0 to 0\.91\d+ \(12\)|x is 0 0\.083)"),
    ({"lat": LATITUDES + 5}, {}, r"(y goes from -65 to 75|y is -65)"),
    ({}, {"time": "days"}, r"the units of time are 'days', in .* 'hours'"),
    ({}, {"time": "days since 2000-01-01"}, r"the units of time are 'days', in .* 'hours'"),
    ({}, {"lon": "m"}, "the units of x are 'm', in .* 'degrees east'"),
    ({}, {"depth": "cm"}, "the units of depth are 'cm', in .* 'm'"),
]
UNITS = {"time": "hours since 1990-01-01", "lon": "degrees_east", "depth": "m"}


@pytest.mark.parametrize(("coordinates", "units", "words"), DIFFERENT)
def test_files_and_classes_that_differ_are_refused(
    tmp_path: Path, coordinates: dict[str, Any], units: dict[str, str], words: str
) -> None:
    one, other = write(tmp_path / "a.nc", values(), UNITS), tmp_path / "b.nc"
    write(other, values(1), UNITS | units, **coordinates)
    with pytest.raises(UserError, match=rf"b\.nc: {words}.*a class has one .* or set data\.coordinates: ignore"):
        ingest.stage(settings(10), raw=[one, other], store=tmp_path / "both.zarr")
    for name, raw in {"a": one, "b": other}.items():
        ingest.stage(settings(ic=name), raw=[raw], store=tmp_path / f"{name}.zarr")
    with pytest.raises(
        UserError, match=rf"b\.zarr: {words}.*classes of a system must agree.*set data\.coordinates: ig"
    ):
        divide(tmp_path / "a.zarr", tmp_path / "b.zarr")
    ignoring = settings(10, coordinates="ignore")
    ingest.stage(ignoring, raw=[one, other], store=tmp_path / "both.zarr")


def test_what_says_nothing_agrees_with_everything(tmp_path: Path) -> None:
    raw = [
        write(tmp_path / "0.nc", values(0), lat=None, lon=None),
        write(tmp_path / "1.nc", values(1), UNITS),
        write(tmp_path / "2.nc", values(2), {"lon": "degrees_east"}, lon=LONGITUDES + 1e-5),
    ]
    ingest.stage(settings(15), raw=raw, store=tmp_path / "all.zarr")
    assert np.array_equal(store.read(tmp_path / "all.zarr")["x"], LONGITUDES)
    for name, file in {"a": raw[0], "b": raw[1]}.items():
        ingest.stage(settings(ic=name), raw=[file], store=tmp_path / f"{name}.zarr")
    divide(tmp_path / "a.zarr", tmp_path / "b.zarr")
    third = write(tmp_path / "3.nc", values(3), UNITS, lon=LONGITUDES / 2)
    ingest.stage(settings(ic="c"), raw=[third], store=tmp_path / "c.zarr")
    with pytest.raises(UserError, match=r"c\.zarr: x is .*, in .*b\.zarr it is"):
        divide(*(tmp_path / f"{name}.zarr" for name in "abc"))


def test_pdebench_and_the_well_have_coordinates_of_their_own_names(tmp_path: Path) -> None:
    states, down = values(), LATITUDES[::-1]
    with h5py.File(tmp_path / "p.h5", "w") as file:
        for number, name in enumerate(SYSTEM.channels):
            file[name] = states[:, :, number, ::-1].swapaxes(-1, -2)
        file["t-coordinate"], file["x-coordinate"], file["y-coordinate"] = np.arange(5.0), LONGITUDES, down
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for number, name in enumerate(SYSTEM.channels):
            file[f"t0_fields/{name}"] = states[:, :, number, ::-1].swapaxes(-1, -2)
        file["dimensions/time"], file["dimensions/x"], file["dimensions/y"] = np.arange(4.0), LONGITUDES, down
    for name, format in {"p": "pdebench", "w": "well"}.items():
        own = settings(format=format, dimensions=[])
        ingest.stage(own, raw=[tmp_path / f"{name}.h5"], store=tmp_path / f"{name}.zarr")
        found = store.read(tmp_path / f"{name}.zarr")
        assert np.array_equal(found["state"], states)
        assert np.array_equal(found["y"], LATITUDES)


def test_coordinates_agree_to_a_small_part_of_a_cell() -> None:
    places = np.linspace(0, 2 * np.pi, 64)
    assert alike(places, places.astype(np.float32))
    assert not alike(places, places + 0.01)
    far = 5e5 + 0.5 + 0.7 * np.arange(64)  # float32 counts in 1/32 there
    assert alike(far, far.astype(np.float32))
    assert alike(far.astype(np.float32), far)
    assert not alike(far, far + 0.02)
    assert not alike(far, (far + 0.1).astype(np.float32))
    assert not alike(places, places[::-1])
    assert not alike(places, places[:32])


def grouped(path: Path, states: np.ndarray, *own: dict[str, Any]) -> Path:
    """A trajectory a group, run0 and so on, each with coordinates of its own but for these. states: (n, T, 2, Y, X)"""
    for number, (trajectory, change) in enumerate(zip(states, own, strict=True)):
        places = {"time": np.arange(4.0), "lat": LATITUDES, "lon": LONGITUDES} | change
        fields = {name: (("time", "lat", "lon"), trajectory[:, n]) for n, name in enumerate(SYSTEM.channels)}
        coords = {name: (name, place) for name, place in places.items() if name != "units"}
        held = xr.Dataset(fields, coords)
        held["depth"].attrs["units"] = change.get("units", "m")
        held.to_netcdf(path, "a" if number else "w", group=f"run{number}", engine="h5netcdf")
    return path


def test_each_group_is_turned_by_its_own_coordinates(tmp_path: Path) -> None:
    states = values(count=3)
    turned = np.stack([states[0], states[1, :, :, ::-1], states[2, :, :, :, ::-1]])
    raw = grouped(tmp_path / "a.nc", turned, {}, {"lat": LATITUDES[::-1]}, {"lon": LONGITUDES[::-1]})
    ingest.stage(settings(3), raw=[raw], store=tmp_path / "a.zarr")
    assert np.array_equal(store.read(tmp_path / "a.zarr")["state"], states)


def test_each_variable_is_turned_by_its_own_coordinates(tmp_path: Path) -> None:
    states = values()
    for number, (name, down) in enumerate({"depth": -1, "speed": 1}.items()):
        held = {name: (("run", "time", "lat", "lon"), states[:, :, number, ::down])}
        places = {"time": np.arange(4.0), "lat": LATITUDES[::down], "lon": LONGITUDES}
        xr.Dataset(held, places).to_netcdf(tmp_path / "a.nc", "a" if number else "w", group=name, engine="h5netcdf")
    ingest.stage(settings(), raw=[tmp_path / "a.nc"], store=tmp_path / "a.zarr")
    assert np.array_equal(store.read(tmp_path / "a.zarr")["state"], states)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": np.arange(4) * 10.0}, "its snapshots are at times 0, 10 .* those of .*group /run0 at 0, 1 "),
        ({"lat": LATITUDES / 5}, "y goes from -14 to 14 .* in .*a.nc, group /run0 from -70 to 70"),
        ({"units": "km"}, "the units of depth are 'km', in .*a.nc, group /run0 'm'"),
    ],
)
def test_groups_that_differ_in_their_coordinates_are_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    raw = grouped(tmp_path / "a.nc", values(count=3), {}, {}, change)
    with pytest.raises(UserError, match=rf"a\.nc, group /run2: {words}"):
        ingest.stage(settings(3), raw=[raw], store=tmp_path / "a.zarr")


def test_times_of_another_group_are_not_taken(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for n, name in enumerate(SYSTEM.channels):
            file[f"train/{name}"] = values()[:, :, n]
        file["valid/time"] = np.arange(4.0)
    own = settings(dimensions=["trajectory", "time", "y", "x"])
    with pytest.raises(UserError, match=r"a\.h5, group /train: holds no times .* set data\.time_step"):
        ingest.stage(own, raw=[tmp_path / "a.h5"], store=tmp_path / "a.zarr")


@pytest.mark.parametrize("compared", ["compare", "ignore"])
@pytest.mark.parametrize("axis", ["lat", "lon"])
def test_what_is_turned_does_not_stand_beside_what_says_no_direction(tmp_path: Path, axis: str, compared: str) -> None:
    down = write(tmp_path / "down.nc", values(), **{axis: {"lat": LATITUDES, "lon": LONGITUDES}[axis][::-1]})
    silent, up = write(tmp_path / "silent.nc", values(1), **{axis: None}), write(tmp_path / "up.nc", values(2))
    own = {"lat": "y", "lon": "x"}[axis]
    words = rf"silent\.nc: does not say where {own} goes, in .*down\.nc it descends .* write the coordinate of {own}"
    for raw in ([down, silent], [silent, up, down]):
        with pytest.raises(UserError, match=words):
            ingest.stage(settings(10, coordinates=compared), raw=raw, store=tmp_path / "both.zarr")
    classes = {"down": [down], "silent": [silent], "up": [up], "partly": [up, silent], "all": [up, down]}
    for name, raw in classes.items():
        chosen = settings(5 * len(raw), name, coordinates=compared)
        ingest.stage(chosen, raw=raw, store=tmp_path / f"{name}.zarr")
    for pair in (("down", "silent"), ("silent", "down"), ("down", "partly"), ("all", "silent")):
        with pytest.raises(UserError, match=rf"not every file of it says where {own} goes.*write the coordinate"):
            divide(*(tmp_path / f"{name}.zarr" for name in pair))
    for pair in (("down", "up"), ("up", "silent")):
        divide(*(tmp_path / f"{name}.zarr" for name in pair))


def test_groups_that_do_not_say_which_way_they_go_are_refused_beside_one_that_is_turned(tmp_path: Path) -> None:
    raw = grouped(tmp_path / "a.nc", values(count=2), {"lat": LATITUDES[::-1]}, {"lat": np.full(8, np.nan)})
    with pytest.raises(UserError, match=r"a\.nc, group /run1: does not say where y goes, in .*group /run0 it descends"):
        ingest.stage(settings(2), raw=[raw], store=tmp_path / "a.zarr")


def test_ignoring_coordinates_does_not_keep_an_axis_from_being_turned(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.nc", values()[:, :, :, ::-1], lat=LATITUDES[::-1])
    ingest.stage(settings(coordinates="ignore"), raw=[raw], store=tmp_path / "a.zarr")
    assert np.array_equal(store.read(tmp_path / "a.zarr")["state"], values())


@pytest.mark.parametrize("step", [120.0, 60.5])
def test_times_far_from_zero_are_compared_by_their_steps(tmp_path: Path, step: float) -> None:
    start, counted = 1.7e9, np.arange(4.0)
    raw = [
        write(tmp_path / f"{name}.nc", values(number), time=start + counted * own)
        for number, (name, own) in enumerate({"a": 60.0, "b": step, "c": 60.0 + 1e-6}.items())
    ]
    words = r"b\.nc: its snapshots are at times 1700000000, 1700000\d+(\.5)? .*, those of .*a\.nc at 17000000"
    with pytest.raises(UserError, match=words):
        ingest.stage(settings(10), raw=raw[:2], store=tmp_path / "both.zarr")
    for name, file in zip("abc", raw, strict=True):
        ingest.stage(settings(ic=name), raw=[file], store=tmp_path / f"{name}.zarr")
    with pytest.raises(
        UserError, match=r"b\.zarr: time is 1700000000 1700000\d+.*, in .*a\.zarr it is 1700000000 17000000"
    ):
        divide(tmp_path / "a.zarr", tmp_path / "b.zarr")
    divide(tmp_path / "a.zarr", tmp_path / "c.zarr")


SPELLINGS = [
    ("m/s", "m s-1", "m s^-1", "m s**-1", "m*s^-1", "m·s⁻¹", "m.s-1", "s-1 m", "meters per second", "Metre / sec"),
    ("kg m-3", "kg/m3", "kg/m^3", "kg m−3", "kg/m³"),
    ("W/m2/K", "W m-2 K-1"),
    ("s-1", "1/s"),
    ("degrees north", "degree_north"),
    ("hours", "h"),
    ("°C", "degC", "celsius"),
    ("1",),
    ("%",),
    ("m s",),
    ("ms-1",),
    ("m",),
    ("M",),
    ("J/(kg K)",),
    ("J/kg K", "J K kg-1"),
    ("10 m",),
    ("degrees east",),
]


def test_units_are_the_same_however_they_are_spelled() -> None:
    every = [(number, unit) for number, spelled in enumerate(SPELLINGS) for unit in spelled]
    assert [pair for pair in itertools.product(every, every) if same_unit(pair[0][1], pair[1][1])] == [
        pair for pair in itertools.product(every, every) if pair[0][0] == pair[1][0]
    ]


def test_units_that_are_spelled_otherwise_are_no_difference_of_files_and_classes(tmp_path: Path) -> None:
    raw = [write(tmp_path / f"{n}.nc", values(n), {"depth": unit}) for n, unit in enumerate(("m s-1", "m/s"))]
    ingest.stage(settings(10), raw=raw, store=tmp_path / "both.zarr")
    assert store.read(tmp_path / "both.zarr").attrs["units_in_files"] == {"depth": "m s-1"}
    for name, file in zip("ab", raw, strict=True):
        ingest.stage(settings(ic=name), raw=[file], store=tmp_path / f"{name}.zarr")
    divide(tmp_path / "a.zarr", tmp_path / "b.zarr")


def test_single_precision_far_from_zero_agrees_with_double_in_files_and_classes(tmp_path: Path) -> None:
    far = 5e5 + 0.5 + 0.7 * np.arange(12)
    raw = [write(tmp_path / f"{n}.nc", values(n), lon=far.astype(kind)) for n, kind in enumerate(("f4", "f8"))]
    for first, order in (("a", raw), ("b", raw[::-1])):
        ingest.stage(settings(10, first), raw=order, store=tmp_path / f"both {first}.zarr")
        ingest.stage(settings(ic=first), raw=order[:1], store=tmp_path / f"{first}.zarr")
    divide(tmp_path / "a.zarr", tmp_path / "b.zarr")
