"""What files hold beside what is wanted does no harm; what cannot be read is told apart, with what to do."""

import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import native
import numpy as np
import pytest
import scipy.io
import torch
import xarray as xr
import zarr

from surroscope.data.containers import opened
from surroscope.data.unreadable import refusal
from surroscope.errors import UserError
from surroscope.runtime import store
from surroscope.stages import ingest
from surroscope.system import System

SHAPE = (3, 5, 1, 6, 8)
STATES = np.random.default_rng(0).uniform(1, 2, size=SHAPE).astype(np.float32)
FIELD = STATES[:, :, 0]
DIMS = ["trajectory", "time", "y", "x"]


def ingested(path: Path, channel: str = "u", **changes: Any) -> np.ndarray:
    """The states of a file of one variable, `u` unless it is said."""
    options = {"format": "xarray", "time_step": 1.0, "channels": {"c": channel}, "dimensions": DIMS} | changes
    ingest.stage(native.settings(SHAPE, "c", System("S", "s", ("c",)), **options), raw=[path], store=path.parent / "s")
    return store.read(path.parent / "s")["state"].values


def damaged(path: Path, name: str, first: int = 0) -> None:
    """Write over 16 bytes of the header of an object of an HDF5 file."""
    with h5py.File(path) as file:
        start = h5py.h5o.get_info(file.id, name.encode()).addr + first
    content = bytearray(path.read_bytes())
    content[start : start + 16] = b"\xff" * 16
    path.write_bytes(content)


def no_numbers(file: h5py.File) -> None:
    h5py.h5d.create(file.id, b"odd", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((3,)))


def loop(file: h5py.File) -> None:
    file["group/again"] = h5py.SoftLink("/")
    file["group/self"] = file["group"]


ODD: dict[str, Callable[[h5py.File], Any]] = {
    "numbers of no kind here": no_numbers,
    "a link to nowhere": lambda file: file.update(odd=h5py.SoftLink("/nowhere")),
    "a link to no file": lambda file: file.update(odd=h5py.ExternalLink("none.h5", "u")),
    "a group in itself": loop,
    "references and types": lambda file: file.update(reference=file["u"].ref, type=np.dtype("f8")),
    "text": lambda file: file.update(odd=["a", "b"]),
    "units that are none": lambda file: file.create_dataset("time", data=[0.0]).attrs.update(units="days since never"),
    "a broken array": lambda file: file.update(broken=1.0),
    "an array of a broken shape": lambda file: file.update(broken=np.zeros(3)),
    "a broken group": lambda file: file.create_group("broken/below"),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_things_beside_what_is_wanted_do_no_harm(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["u"] = FIELD
        ODD[odd](file)
        file["z"] = 0.0
    if "broken" in odd:
        damaged(path, "broken", 24 if "shape" in odd else 0)
    assert np.array_equal(ingested(path), STATES)


@pytest.mark.parametrize("name", ["r1", "r1/u"])
def test_a_broken_trajectory_is_not_left_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for number in range(4):
            file[f"r{number}/u"] = FIELD[0]
    damaged(path, name)
    with pytest.raises(UserError, match=rf"a\.h5: '{name}' cannot be read, and may be or hold one of .* 'u'; make"):
        ingested(path, dimensions=["time", "y", "x"])


def test_odd_things_in_a_zarr_store_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    xr.Dataset({name: (DIMS, FIELD) for name in "uvw"}).to_zarr(path, zarr_format=3, consolidated=False)
    xr.Dataset({"u": (DIMS, FIELD + 1)}).to_zarr(path, group="valid", mode="a", zarr_format=3, consolidated=False)
    (path / "v" / "zarr.json").write_text("{")
    metadata = json.loads((path / "w" / "zarr.json").read_text())
    (path / "w" / "zarr.json").write_text(json.dumps(metadata | {"codecs": [{"name": "unknown"}]}))
    (path / ".DS_Store").write_bytes(b"\0")
    (path / "notes").mkdir()
    assert np.array_equal(ingested(path, "/u", dimensions={}), STATES)
    assert np.array_equal(ingested(path, '"valid/u"', dimensions={}), STATES + 1)
    for name, words in {"v": "cannot be read", "w": "is compressed in a way that is not installed"}.items():
        with pytest.raises(UserError, match=rf"a\.zarr: variable '{name}' {words}"):
            ingested(path, name, dimensions={})


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["", "u", "group/u"])
def test_zarr_arrays_without_names_are_told_by_a_list(tmp_path: Path, version: Any, name: str) -> None:
    values = FIELD.copy()
    values[0, 0, :2] = 0  # which is what Zarr fills with
    zarr.save_array(tmp_path / "a.zarr" / name, values, zarr_format=version)
    for group in [Path(name).parent, Path(name).parent.parent] if name else []:
        zarr.open_group(tmp_path / "a.zarr" / group, mode="a", zarr_format=version)
    assert np.array_equal(ingested(tmp_path / "a.zarr", f'"{name or "state"}"')[:, :, 0], values)


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT"])
@pytest.mark.parametrize("packed", [False, True])
def test_netcdf_3_is_read(tmp_path: Path, kind: Any, packed: bool) -> None:
    path = tmp_path / "a.nc"
    data = xr.Dataset({"u": (DIMS, FIELD), "label": (["n"], np.array([b"a"]))}, {"time": np.arange(5) * 0.5})
    encoding = {"dtype": "i2", "scale_factor": np.float32(1e-4), "_FillValue": np.int16(-1)} if packed else {}
    data.to_netcdf(path, format=kind, engine="scipy", encoding={"u": encoding}, unlimited_dims=["trajectory"])
    np.testing.assert_allclose(ingested(path, dimensions={}, time_step=None), STATES, rtol=1e-4 if packed else 0)
    assert np.array_equal(store.read(tmp_path / "s")["time"], np.arange(5) * 0.5)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(UserError, match=r"a\.nc: cannot be read \(.*make or fetch it again"):
        ingested(path, dimensions={})


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("u/zarr.json", "{}")


UNSUPPORTED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a.mat": (lambda path: scipy.io.savemat(path, {"u": FIELD}), "MATLAB.* save it with -v7.3"),
    "a.npz": (lambda path: np.savez(path, u=FIELD), r"a \.npz file.*\.npy file of its own"),
    "a.pt": (lambda path: torch.save(torch.zeros(3), path), "PyTorch.* torch.load and numpy.save"),
    "b.pt": (
        lambda path: torch.save(torch.zeros(3), path, _use_new_zipfile_serialization=False),
        "pickle.* torch.load and numpy.save",
    ),
    "a.pkl": (lambda path: path.write_bytes(pickle.dumps(FIELD)), "pickle"),
    "a.npy": (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "objects of Python.* of numbers"),
    "a.zarr": (zipped, "a Zarr store in a ZIP file.* unpack it into a folder"),
    "a.nc": (lambda path: path.write_bytes(b"CDF\x05" + bytes(64)), "CDF-5.* nccopy"),
    "a.grib": (lambda path: path.write_bytes(b"GRIB" + bytes(64)), "GRIB.* grib_to_netcdf"),
    "a.hdf": (lambda path: path.write_bytes(b"\x0e\x03\x13\x01" + bytes(64)), "HDF4.* h4toh5"),
    "a.h5.gz": (lambda path: path.write_bytes(b"\x1f\x8b" + bytes(64)), "gzip.* gunzip"),
    "a.h5": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "Git LFS.* git lfs pull"),
    "a.csv": (lambda path: path.write_text("time, u\n0.1, 2\n"), "is text.* numpy.save"),
    "b.h5": (lambda path: path.write_text("<!DOCTYPE html><html>"), "page of the web.* fetch it again, logged in"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_is_told_with_the_remedy(tmp_path: Path, name: str) -> None:
    write, words = UNSUPPORTED[name]
    write(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: .*{words}") as told:
        ingested(tmp_path / name)
    assert "whole" not in str(told.value)


def writer(path: Path, code: str) -> subprocess.Popen[str]:
    """Another process that has written a file, open to it, when this returns."""
    program = f"import h5py, os; file = h5py.File({str(path)!r}, 'w', libver='latest'); file['u'] = [0.0]; {code}"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_file_that_is_written_is_locked_and_not_broken(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    process = writer(path, "file.flush(); print(1, flush=True); input()")
    with pytest.raises(UserError, match=r"a\.h5: is locked .* open for writing\. Run again when that has ended"):
        ingested(path)
    process.communicate("\n")
    process = writer(path, "file.swmr_mode = True; file.flush(); print(1, flush=True); os._exit(0)")
    process.communicate()
    with pytest.raises(UserError, match=r"a\.h5: is marked as open for writing .* h5clear --status"):
        ingested(path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), r"may not be read .* chmod u\+r"),
        (OSError("unable to lock file, errno = 37, error message = 'No locks available'"), "HDF5_USE_FILE_LOCKING"),
        (OSError("required filter 'blosc' is not registered"), "compressed in a way that is not installed.* h5repack"),
        (OSError("truncated file: eof = 96"), "cannot be read .*make or fetch it again"),
    ],
)
def test_reasons_are_told_apart(tmp_path: Path, error: Exception, words: str) -> None:
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert "\n" not in str(refusal(tmp_path / "a.h5", error))
    with pytest.raises(UserError, match=words):
        raise refusal(tmp_path / "a.h5", error)


def test_files_are_opened_for_all_of_their_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many blocks of two files of a group a trajectory; a dataset is opened once a file is."""
    monkeypatch.setattr(ingest, "SHARD_TRAJECTORIES", 1)
    paths = [tmp_path / f"{number}.h5" for number in range(2)]
    for number, path in enumerate(paths):
        with h5py.File(path, "w") as file:
            for row in range(6):
                file[f"{row:04d}/data"] = FIELD[row % 3][..., None] + row + 10 * number
                file[f"{row:04d}/other"] = row
    opened: list[str] = []
    original, looked_into = h5py.File.__init__, h5py.Group.__getitem__

    def counting(self: h5py.File, name: Any, *more: Any, **options: Any) -> None:
        opened.append(str(name))
        original(self, name, *more, **options)

    def looking(self: h5py.Group, name: Any) -> Any:
        opened.append(str(name))
        return looked_into(self, name)

    monkeypatch.setattr(h5py.File, "__init__", counting)
    monkeypatch.setattr(h5py.Group, "__getitem__", looking)
    channels = {"c": "data[0]"}
    options = {
        "format": "pdebench",
        "channels": channels,
        "time_step": 1.0,
        "dimensions": ["time", "y", "x", "channel"],
    }
    settings = native.settings((12, *SHAPE[1:]), "c", System("S", "s", ("c",)), **options)
    ingest.stage(settings, raw=paths, store=tmp_path / "s", links="anywhere")
    assert len(store.read(tmp_path / "s")["state"]) == 12
    for path in paths:
        assert opened.count(str(path)) == 2  # to look at what there is, and to read
    assert opened.count("0003/data") == 4
    assert not any("other" in name for name in opened)


def test_names_of_dimensions_near_an_array_are_found_without_a_search_of_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"time": "a/b/t", "y": "a/y", "x": "x", "far": "other/far"}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/b/u"] = FIELD
        for number, place in enumerate(names.values()):
            file[place] = np.arange(float(FIELD.shape[number]))
            file[place].make_scale()
            file["a/b/u"].dims[number].attach_scale(file[place])
        file["c"] = h5py.ExternalLink("b.h5", "/")
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes())
    asked: list[str] = []
    name = h5py.Dataset.name.fget
    monkeypatch.setattr(h5py.Dataset, "name", property(lambda data: asked.append(name(data)) or name(data)))
    file = opened(tmp_path / "a.h5")
    assert file.arrays["a/b/u"]().dims == file.arrays["c/a/b/u"]().dims == ("t", "y", "x", "far")
    file.close()
    assert asked == ["/other/far"] * 2


@pytest.mark.parametrize("kind", ["netCDF-3", "HDF5", "HDF5 of variable length"])
def test_units_that_are_no_utf8_are_read_as_latin_1(tmp_path: Path, kind: str) -> None:
    path, told = tmp_path / "a.nc", b"\xb0C"
    if kind == "netCDF-3":
        with scipy.io.netcdf_file(path, "w") as old:
            for name, size in zip(DIMS, FIELD.shape, strict=True):
                old.createDimension(name, size)
            variable = old.createVariable("u", "f", DIMS)
            variable[:], variable.units = FIELD, told
    else:
        with h5py.File(path, "w") as file:
            file["u"] = FIELD
            file["u"].attrs.create("units", told, dtype="S2" if kind == "HDF5" else h5py.string_dtype())
    np.testing.assert_array_equal(ingested(path, dimensions={} if kind == "netCDF-3" else DIMS), STATES)
    assert store.read(tmp_path / "s").attrs["units_in_files"] == {"u": "°C"}


@pytest.mark.parametrize("kind", ["S4", "f4"])
def test_attributes_that_are_empty_say_nothing(tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = FIELD
        for name in ("units", "_FillValue", "missing_value", "scale_factor"):
            file["u"].attrs[name] = file.attrs[name] = h5py.Empty(kind)
    np.testing.assert_array_equal(ingested(tmp_path / "a.h5"), STATES)
    assert "units_in_files" not in store.read(tmp_path / "s").attrs
