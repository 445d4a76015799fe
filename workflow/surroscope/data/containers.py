"""Files that hold arrays: HDF5 (netCDF-4 too), netCDF-3, Zarr and .npy.

Of a file only the names in it are read until one of its arrays is asked for: nothing else in it can stand in the way.
"""

import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import xarray as xr
import zarr

from surroscope.data.unreadable import refusal
from surroscope.errors import UserError

# Attributes that say how numbers are packed, or which of them stand for a missing one.
PACKING = ("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "dtype")
# netCDF-4 begins the name of a variable so that is called as a dimension is and does not lie along it.
PREFIX = "_nc4_non_coord_"
WITHOUT_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"
ONLY = "state"  # the name of the array in a file that holds one without a name


@dataclass(frozen=True)
class Array:
    """An array in a file, not read yet.

    data: what has a shape and is read by slices; dims: as the file calls them, "axis 0" and so on where it does not
    """

    data: Any
    dims: tuple[str, ...]
    packing: Mapping[str, Any]
    attributes: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of its numbers as they are read."""
        empty = np.empty((0,) * len(self.shape), self.data.dtype)
        return self._unpacked(empty).dtype

    def read(self, *slices: slice) -> np.ndarray:
        """Part of it, a slice for each axis. Raises what its library does where it is broken."""
        return self._unpacked(np.asarray(self.data[slices]))

    def _unpacked(self, values: np.ndarray) -> np.ndarray:
        if not self.packing:
            return values
        packed = xr.Variable(self.dims, values, self.packing)
        return xr.conventions.decode_cf_variable("", packed, decode_times=False).values


@dataclass(frozen=True)
class Container:
    """An open file.

    arrays: their paths in the file, such as "train/u" -> what opens them; attributes: those of a group, if there is one
    """

    arrays: Mapping[str, Callable[[], Array]]
    attributes: Callable[[str], Mapping[str, Any]]
    close: Callable[[], None]


def opened(path: Path) -> Container:
    """A file. Raises UserError, naming it and what to do, if it is not there, not supported, locked or broken."""
    if not path.exists():
        raise UserError(f"{path}: no such file; mend data.files")
    try:
        if path.is_dir():
            return _zarr(path)
        with path.open("rb") as file:
            start = file.read(6)
        if start == b"\x93NUMPY":
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            return Container({ONLY: lambda: _array(values, (), {})}, lambda group: {}, lambda: None)
        return _netcdf3(path) if start.startswith(b"CDF") else _hdf5(path)
    except Exception as error:  # each library has errors of its own for what it cannot read
        raise refusal(path, error) from None


def _array(data: Any, dims: tuple[str, ...], attributes: Mapping[str, Any]) -> Array:
    packing = {key: _plain(attributes[key]) for key in PACKING if key in attributes}
    return Array(data, dims or tuple(f"axis {n}" for n in range(len(data.shape))), packing, attributes)


def _plain(value: Any) -> Any:
    """An attribute as netCDF means it: text, or a number that is written as a list of one."""
    if isinstance(value, bytes):
        return value.decode()
    return value.ravel()[0] if isinstance(value, np.ndarray) and value.size == 1 else value


def _hdf5(path: Path) -> Container:
    file = h5py.File(path)
    arrays = {name: lambda place=place: _dataset(file[place]) for name, place in _datasets(file, "", set())}

    def attributes(group: str) -> dict[str, Any]:
        return {key: _plain(value) for key, value in file[group or "/"].attrs.items()} if group in {"", *file} else {}

    return Container(arrays, attributes, file.close)


def _datasets(file: h5py.File, group: str, above: set[Any]) -> Iterator[tuple[str, str]]:
    """Paths of the datasets below a group: as we call them, and as the file does."""
    here = file[group or "/"]
    if here.id in above:  # a link to a group that holds it
        return
    for name in here:
        place = f"{group}/{name}" if group else name
        try:
            kind = here.get(name, getclass=True)
        except (KeyError, OSError, RuntimeError):  # a link that leads nowhere, or what HDF5 does not know
            continue
        if kind is h5py.Group:
            yield from _datasets(file, place, above | {here.id})
        elif kind is h5py.Dataset:
            yield f"{group}/{name.removeprefix(PREFIX)}".lstrip("/"), place


def _dataset(data: h5py.Dataset) -> Array:
    attributes = data.attrs
    name = str(data.name).rpartition("/")[2]
    if "DIMENSION_LIST" in attributes:
        dims = tuple(axis[0].name.rpartition("/")[2] if len(axis) else f"axis {n}" for n, axis in enumerate(data.dims))
    elif data.ndim == 1 and "CLASS" in attributes and attributes["CLASS"] == b"DIMENSION_SCALE":
        dims = (name,)
    else:
        dims = ()
    return _array(data, dims, attributes)


def _netcdf3(path: Path) -> Container:
    file = scipy.io.netcdf_file(path, mmap=True)
    arrays = {
        name: lambda variable=variable: _array(variable.data, variable.dimensions, variable._attributes)
        for name, variable in file.variables.items()
    }
    return Container(arrays, lambda group: {key: _plain(value) for key, value in file._attributes.items()}, file.close)


def _zarr(path: Path) -> Container:
    found = {place.relative_to(path).as_posix(): place for place in _folders(path)}
    if not found:
        raise ValueError("a folder without a Zarr array")
    arrays = {
        ONLY if name == "." else name: lambda place=place: _zarr_array(zarr.open_array(place, mode="r"))
        for name, place in found.items()
    }
    return Container(arrays, lambda group: {}, lambda: None)


def _folders(path: Path) -> Iterator[Path]:
    """The folders of the arrays below one. What is no array and no group is passed over."""
    if (path / ".zarray").exists() or ((path / "zarr.json").exists() and _node(path / "zarr.json") != "group"):
        yield path
    else:
        for below in sorted(path.iterdir()):
            if below.is_dir() and any((below / name).exists() for name in ("zarr.json", ".zarray", ".zgroup")):
                yield from _folders(below)


def _node(metadata: Path) -> object:
    try:
        return json.loads(metadata.read_bytes()).get("node_type")
    except (ValueError, AttributeError):
        return None  # which is said when it is asked for


def _zarr_array(data: zarr.Array) -> Array:
    attributes: dict[str, Any] = dict(data.attrs)
    dims = attributes.get("_ARRAY_DIMENSIONS", getattr(data.metadata, "dimension_names", None)) or ()
    if data.metadata.zarr_format == 2 and dims and data.fill_value is not None:
        # xarray keeps it so, and nobody else means it so.
        attributes["_FillValue"] = data.fill_value
    elif isinstance(attributes.get("_FillValue"), str) and data.dtype.kind == "f":
        (attributes["_FillValue"],) = struct.unpack("<d", base64.b64decode(attributes["_FillValue"]))
    return _array(data, tuple(dims), attributes)
