"""From raw files to a checked store: every value in its place, or one error and no store."""

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import native
import numpy as np
import pytest
import xarray as xr
import zarr

from surroscope.config import jobs
from surroscope.data import pdegym
from surroscope.errors import UserError
from surroscope.runtime import store
from surroscope.stages import ingest, split
from surroscope.system import COMPRESSIBLE_EULER, NAVIER_STOKES, System

CE, NS = COMPRESSIBLE_EULER, NAVIER_STOKES


def states(count: int = 3, seed: int = 0, size: int = 8, snapshots: int = 4) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.uniform(1, 2, size=(count, snapshots, 4, size, size)).astype(np.float32)


def hub_file(path: Path, values: np.ndarray, variable: str = "data") -> Path:
    """A file in PDEGym's layout, (sample, time, channel, x, y), without any coordinate."""
    xr.Dataset({variable: (("sample", "time", "channel", "x", "y"), values)}).to_netcdf(path, engine="h5netcdf")
    return path


def hub_settings(count: int, system: System = CE, **changes: Any) -> jobs.Ingest:
    options = {
        "format": "xarray",
        "channels": pdegym.CHANNELS[system.name],
        "dimensions": pdegym.DIMENSIONS,
        "time_step": 0.05,
    }
    return native.settings((count, 4, 4, 8, 8), f"{system.name}-RP", system, **(options | changes))


def test_every_value_is_kept_in_the_order_of_file_and_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Shards of two trajectories, so that they reach over the ends of files.
    monkeypatch.setattr(ingest, "SHARD_TRAJECTORIES", 2)
    parts = [states(3, 0), states(1, 1), states(3, 2)]
    files = [native.write(tmp_path / f"block{n}.nc", part) for n, part in enumerate(parts)]
    ingest.stage(native.settings((6, 4, 4, 8, 8)), raw=files, store=tmp_path / "CE-RP.zarr")
    dataset = store.read(tmp_path / "CE-RP.zarr")
    expected = np.concatenate(parts)[:6]
    assert np.array_equal(dataset["state"].values, expected)
    assert dataset["file"].values.tolist() == ["block0.nc"] * 3 + ["block1.nc"] + ["block2.nc"] * 2
    assert dataset["row"].values.tolist() == [0, 1, 2, 0, 0, 1]
    assert dataset["channel"].values.tolist() == list(CE.channels)
    assert dataset["time"].values.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert dataset.attrs["solver_version"] == 1
    assert dataset.attrs["cell_updates_by_positive_scheme"] == 6
    assert dataset.attrs["boundary"] == "periodic"
    array = zarr.open_array(tmp_path / "CE-RP.zarr" / "state")
    assert array.chunks == (1, 1, 4, 8, 8)
    assert array.shards == (2, 4, 4, 8, 8)
    for name, reduce in {"mean": np.mean, "standard_deviation": np.std, "minimum": np.min, "maximum": np.max}.items():
        of_channels = reduce(expected.astype(np.float64), axis=(0, 1, 3, 4))
        np.testing.assert_allclose(dataset[name].values, of_channels, rtol=1e-6)
    assert dataset["missing"].values.tolist() == [0, 0, 0, 0]


def test_a_long_trajectory_is_stored_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, values = tmp_path / "whole.zarr", states(3, snapshots=7)
    native.ingested(whole, values)
    monkeypatch.setattr(ingest, "BLOCK_BYTES", 3 * 4 * 8 * 8 * 4)
    native.ingested(tmp_path / "pieces.zarr", values)
    assert zarr.open_array(tmp_path / "pieces.zarr" / "state").shards == (1, 3, 4, 8, 8)
    assert np.array_equal(store.read(tmp_path / "pieces.zarr")["state"].values, store.read(whole)["state"].values)


def test_pdegym_becomes_conserved_variables_with_y_before_x(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    values = draw.uniform(1, 2, size=(5, 6, 5, 8, 8)).astype(np.float32)
    raw = hub_file(tmp_path / "data_0.nc", values)
    ingest.stage(hub_settings(3), raw=[raw], store=tmp_path / "CE-RP.zarr")
    found = store.read(tmp_path / "CE-RP.zarr")
    density, u, v, _, energy = values[:3, :4].swapaxes(-1, -2).swapaxes(0, 2).swapaxes(1, 2)
    expected = np.stack([density, density * u, density * v, energy], axis=2)
    assert np.array_equal(found["state"].values, expected)
    np.testing.assert_allclose(found["time"].values, [0, 0.05, 0.1, 0.15])


def test_dimensions_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(1, 2, size=(3, 4, 5, 8, 8)).astype(np.float32)
    for name, order in {"a": "sample time channel x y", "b": "y channel x sample time"}.items():
        data = xr.DataArray(values, dims=("sample", "time", "channel", "x", "y"), name="data").transpose(*order.split())
        data.to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
        ingest.stage(hub_settings(3), raw=[tmp_path / f"{name}.nc"], store=tmp_path / f"{name}.zarr")
    a, b = (store.read(tmp_path / f"{name}.zarr")["state"].values for name in "ab")
    assert np.array_equal(a, b)


@pytest.mark.parametrize("wrong", ["sample time x y channel", "sample channel time x y"])
def test_axes_under_the_wrong_names_are_refused(tmp_path: Path, wrong: str) -> None:
    values = np.random.default_rng(0).uniform(1, 2, size=(3, 4, 5, 8, 8)).astype(np.float32)
    raw = tmp_path / "data_0.nc"
    xr.Dataset({"data": (wrong.split(), values)}).to_netcdf(raw, engine="h5netcdf")
    with pytest.raises(UserError, match=r"data_0\.nc: variable 'data'.* expected"):
        ingest.stage(hub_settings(3).model_copy(update=dict(snapshots=6)), raw=[raw], store=tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


def test_pdegym_velocity_comes_without_the_tracer(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 3, 8, 8)).astype(np.float32)
    raw = hub_file(tmp_path / "velocity_0.nc", values, "velocity")
    ingest.stage(hub_settings(3, NS), raw=[raw], store=tmp_path / "NS.zarr")
    assert np.array_equal(store.read(tmp_path / "NS.zarr")["state"].values, values[:, :, :2].swapaxes(-1, -2))


def test_a_finer_grid_is_averaged_down(tmp_path: Path) -> None:
    values = states(3, size=16)
    raw = native.write(tmp_path / "raw.nc", values)
    ingest.stage(native.settings((3, 4, 4, 8, 8)), raw=[raw], store=tmp_path / "a.zarr")
    found = store.read(tmp_path / "a.zarr")["state"].values
    np.testing.assert_allclose(found, values.reshape(3, 4, 4, 8, 2, 8, 2).mean((4, 6)), rtol=1e-6)


def bad(value: float) -> np.ndarray:
    values = states()
    values[1, 2, 0, 3, 4] = value
    return values


TWICE = np.concatenate([states(2), states(1)])
STATE = "'state'"


@pytest.mark.parametrize(
    ("values", "change", "words"),
    [
        (bad(np.nan), {}, r"density is nan in trajectory 1, snapshot 2, cell \(y=3, x=4\); expected finite and pos"),
        (bad(np.inf), {}, "density is inf in trajectory 1"),
        (bad(-0.5), {}, r"density is -0\.5 in trajectory 1, .*expected finite and positive"),
        (TWICE, {}, r"trajectory 2 is the same as trajectory 0 of .*raw\.nc"),
        (states()[:, :, :2], {}, r"variable 'state' has 2 components, found 'state\[2\]' in data\.channels"),
        (states(), {"snapshots": 5}, "variable 'state' has 4 snapshots, expected 5 or more; lower data.snapshots"),
        (states(), {"trajectories": 4}, r"CE-RP: 1 files from .*raw\.nc on hold 3 trajectories, expected 4"),
        (states(), {"grid": (3, 3)}, r"variable 'state' has 8 x 8 cells \(y, x\), expected 3 x 3 cells"),
        (states(), {"grid": (16, 16)}, "8 x 8 cells"),
        (states(), {"grid": (8, 4)}, "8 x 8 cells"),
        (states().astype(float), {}, "numbers of type float64, expected float32; if that is right, set data.dtype"),
        (
            states(),
            {"channels": dict.fromkeys(CE.channels, "data[0]")},
            "variable 'data': it holds state, expected one",
        ),
        (
            states(),
            {"dimensions": ["trajectory", "time", "x", "y"]},
            "names its dimensions .trajectory, time, channel, y",
        ),
        (
            states().astype("c8"),
            {},
            "'state' has numbers of type complex64, expected float32; write its real and imagi",
        ),
        (
            states(),
            {"channels": dict.fromkeys(CE.channels, "(-8) ** (1 / 3) * state[0]")},
            r"raw\.nc: channel density: '.-8. .*' gives complex numbers, expected real ones; mend its powers",
        ),
        (states().astype("i2"), {}, "numbers of type int16, expected float32; write it in floating point"),
        (states(), {"dimensions": {"trajectory": "sample", "time": "t", "y": "y", "x": "x"}}, "data.dimensions"),
    ],
)
def test_what_does_not_fit_is_one_error_and_no_store(
    tmp_path: Path, values: np.ndarray, change: dict[str, Any], words: str
) -> None:
    raw = native.write(tmp_path / "raw.nc", values)
    with pytest.raises(UserError, match=words) as error:
        ingest.stage(native.settings((3, 4, 4, 8, 8), **change), raw=[raw], store=tmp_path / "CE-RP.zarr")
    assert "raw.nc" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["raw.nc"]


@pytest.mark.parametrize("kind", ["<f8", ">f8", ">f4", "<f2"])
def test_other_kinds_of_numbers_are_taken_when_named(tmp_path: Path, kind: str) -> None:
    dtype = np.dtype(kind)
    raw = native.write(tmp_path / "raw.nc", states().astype(dtype))
    np.save(tmp_path / "raw.npy", states().astype(dtype).swapaxes(-1, -2))
    settings = native.settings((3, 4, 4, 8, 8), dtype=dtype.newbyteorder("=").name)
    ingest.stage(settings, raw=[raw], store=tmp_path / "a.zarr")
    ingest.stage(
        settings.model_copy(update=dict(format="apebench", time_step=1.0)),
        raw=[tmp_path / "raw.npy"],
        store=tmp_path / "b.zarr",
    )
    for name in ("a", "b"):
        found = store.read(tmp_path / f"{name}.zarr")["state"]
        assert found.dtype == np.float32
        assert np.array_equal(found.values, states().astype(dtype).astype(np.float32))


def test_a_number_beyond_float32_is_an_error(tmp_path: Path) -> None:
    values = states().astype(np.float64)
    values[1, 2, 0, 3, 4] = 1e39
    raw = native.write(tmp_path / "raw.nc", values)
    with pytest.raises(UserError, match="expected finite"):
        ingest.stage(native.settings((3, 4, 4, 8, 8), dtype="float64"), raw=[raw], store=tmp_path / "a.zarr")


def test_a_file_of_the_other_system_is_named(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 3, 8, 8)).astype(np.float32)
    raw = hub_file(tmp_path / "data_0.nc", values, "velocity")
    with pytest.raises(UserError, match=r"data_0\.nc: variable 'data': it holds velocity"):
        ingest.stage(hub_settings(3), raw=[raw], store=tmp_path / "CE-RP.zarr")


@pytest.mark.parametrize("damage", ["cut", "garbage", "block"])
def test_a_corrupt_file_is_named_and_kept(tmp_path: Path, damage: str) -> None:
    raw = tmp_path / "raw.nc"
    encoding = {"state": {"zlib": True, "chunksizes": (1, 4, 4, 8, 8), "fletcher32": True}}
    dims = ("trajectory", "time", "channel", "y", "x")
    xr.Dataset({"state": (dims, states())}).to_netcdf(raw, engine="h5netcdf", encoding=encoding)
    with h5py.File(raw) as file:
        chunk = file["state"].id.get_chunk_info(1).byte_offset
    content = bytearray(raw.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "garbage":
        content[:64] = bytes(64)
    else:
        content[chunk : chunk + 64] = bytes(64)
    raw.write_bytes(content)
    settings = native.settings((3, 4, 4, 8, 8), format="xarray", time_step=1.0)
    with pytest.raises(UserError, match=r"raw\.nc: .*cannot be read"):
        ingest.stage(settings, raw=[raw], store=tmp_path / "a.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["raw.nc"]


@pytest.mark.parametrize("times", [[0.0, 1.0], [0.0, 1.0, np.nan, 3.0], [0.0, 2.0, 1.0, 3.0], [0.0, 1.0, 2.0, 4.0]])
def test_times_that_are_none_are_refused(tmp_path: Path, times: list[float]) -> None:
    raw = tmp_path / "raw.h5"
    with h5py.File(raw, "w") as file:
        for number, name in enumerate(CE.channels):
            file[name] = states()[:, :, number]
        file["t-coordinate"] = times
    settings = native.settings((3, 4, 4, 8, 8), format="pdebench", channels={name: name for name in CE.channels})
    with pytest.raises(UserError, match=r"raw\.h5: its times are \[0\.0, .*expected 4 or more in equal steps"):
        ingest.stage(settings, raw=[raw], store=tmp_path / "a.zarr")
    for others in (np.arange(4) * 1j, None):
        with h5py.File(raw, "a") as file:
            del file["t-coordinate"]
            if others is not None:
                file["t-coordinate"] = others
        with pytest.raises(UserError, match=r"raw\.h5: holds no times .* in real numbers; set data\.time_step"):
            ingest.stage(settings, raw=[raw], store=tmp_path / "a.zarr")
    ingest.stage(settings.model_copy(update=dict(time_step=0.1)), raw=[raw], store=tmp_path / "a.zarr")
    np.testing.assert_allclose(store.read(tmp_path / "a.zarr")["time"].values, [0, 0.1, 0.2, 0.3])


def test_raw_files_are_those_of_their_listing(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(1, 2, size=(3, 4, 5, 8, 8)).astype(np.float32)
    raw, listing = hub_file(tmp_path / "data_0.nc", values), tmp_path / "listing.json"
    digest = hashlib.sha256(raw.read_bytes()).hexdigest()
    listing.write_text(json.dumps({"commit": "abc", "files": {"data_0.nc": {"sha256": digest}}}))
    ingest.stage(hub_settings(3), raw=[raw], store=tmp_path / "a.zarr", listing=listing)
    assert store.read(tmp_path / "a.zarr").attrs["commit"] == "abc"
    hub_file(raw, values + 1)
    with pytest.raises(UserError, match=rf"data_0\.nc: SHA-256 .*expected {digest}"):
        ingest.stage(hub_settings(3), raw=[raw], store=tmp_path / "b.zarr", listing=listing)
    assert not (tmp_path / "b.zarr").exists()


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"run {number}").mkdir()
        native.write(tmp_path / f"run {number}" / "data.nc", states(2, number))
    raw = [tmp_path / f"run {number}" / "data.nc" for number in range(2)]
    ingest.stage(native.settings((4, 4, 4, 8, 8)), raw=raw, store=tmp_path / "a.zarr")
    assert store.read(tmp_path / "a.zarr")["file"].values.tolist() == ["run_0/data.nc"] * 2 + ["run_1/data.nc"] * 2


def test_labels_of_files_are_without_white_space_and_unlike_each_other(tmp_path: Path) -> None:
    names = ["a b.nc", "a_b.nc", "a\tb.nc", "a\N{NO-BREAK SPACE}b.nc", "c\nd.nc"]
    raw = [native.write(tmp_path / name, states(1, number)) for number, name in enumerate(names)]
    ingest.stage(native.settings((5, 4, 4, 8, 8)), raw=raw, store=tmp_path / "a.zarr")
    found = store.read(tmp_path / "a.zarr")["file"].values.tolist()
    assert found == ["a_b.nc~", "a_b.nc", "a_b.nc~~", "a_b.nc~~~", "c_d.nc"]


def test_files_of_a_class_have_one_set_of_times(tmp_path: Path) -> None:
    first, second = (native.write(tmp_path / f"{n}.nc", states(3, n)) for n in range(2))
    other = xr.load_dataset(second, engine="h5netcdf").assign_coords(time=[0.0, 1.0, 2.0, 3.0])
    other.to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    raw = [first, tmp_path / "other.nc"]
    words = r"other\.nc: its snapshots are at times 0, 1 \.\. 3 \(4\), those of .*0\.nc.*set data\.time_step"
    with pytest.raises(UserError, match=words):
        ingest.stage(native.settings((6, 4, 4, 8, 8)), raw=raw, store=tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()
    ingest.stage(native.settings((6, 4, 4, 8, 8), time_step=1.0), raw=raw, store=tmp_path / "a.zarr")
    assert store.read(tmp_path / "a.zarr")["time"].values.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"snapshots": 3}, r"b\.zarr: time is 0 0\.333333 0\.666667, in .*a\.zarr it is 0 0\.333333 0\.666667 1;"),
        (
            {"time_step": 0.5},
            r"b\.zarr: time is 0 0\.5 1 1\.5, in .* Where only the start differs, set data\.time_step",
        ),
        ({"grid": (4, 4)}, r"y is 0\.125 0\.375 0\.625 0\.875, in .* it is 0\.0625 0\.1875 0\.3125 \.\. 0\.9375 \(8\)"),
    ],
)
def test_classes_that_differ_are_not_split(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    one = native.ingested(tmp_path / "a.zarr", states(4))
    other = tmp_path / "b.zarr"
    raw = native.write(tmp_path / "b.nc", states(4, 1))
    ingest.stage(native.settings((4, 4, 4, 8, 8), "b", **change), raw=[raw], store=other)
    with pytest.raises(UserError, match=words):
        split.stage(
            jobs.Split(seed=1, classes=["a", "b"], train=0.5, validation=0.25, trajectories=4),
            stores=[one, other],
            split=tmp_path / "split.json",
        )
    assert not (tmp_path / "split.json").exists()


def test_a_trajectory_of_two_classes_is_named(tmp_path: Path) -> None:
    one = native.ingested(tmp_path / "a.zarr", states(4))
    other = native.ingested(tmp_path / "b.zarr", np.concatenate([states(3, 1), states(4)[2:3]]))
    words = r"b\.zarr: trajectory 3 \(b\.nc, row 3\) is the same as trajectory 2 of .*a\.zarr \(a\.nc, row 2\)"
    with pytest.raises(UserError, match=words):
        split.stage(
            jobs.Split(seed=1, classes=["a", "b"], train=0.5, validation=0.25, trajectories=4),
            stores=[one, other],
            split=tmp_path / "split.json",
        )
    assert not (tmp_path / "split.json").exists()
