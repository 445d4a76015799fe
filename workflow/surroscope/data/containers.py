"""Files that hold arrays: HDF5 (netCDF-4 too), netCDF-3, Zarr and .npy.

Of a file only the names in it are read until one of its arrays is asked for: nothing else in it can stand in the way.
"""

import base64
import functools
import json
import struct
import warnings
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
VALUELESS = "This is a netCDF dimension but not a netCDF variable"
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

    @property
    def valueless(self) -> bool:
        """Whether it is there for the size of a netCDF dimension alone."""
        return str(_plain(self.attributes.get("NAME", ""))).startswith(VALUELESS)

    @property
    def unit(self) -> str:
        """The attribute `units`, but for how words are parted; empty if there is none."""
        told = _plain(self.attributes.get("units", ""))
        return " ".join(("" if told is None else str(told)).replace("_", " ").split())

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
    broken: paths of what cannot be looked into, array or group
    """

    arrays: Mapping[str, Callable[[], Array]]
    attributes: Callable[[str], Mapping[str, Any]]
    close: Callable[[], None]
    broken: tuple[str, ...] = ()


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
        return _netcdf3(path) if start[:4] in (b"CDF\x01", b"CDF\x02") else _hdf5(path)
    except Exception as error:  # each library has errors of its own for what it cannot read
        raise refusal(path, error) from None


def _array(data: Any, dims: tuple[str, ...], attributes: Mapping[str, Any]) -> Array:
    packing = _said({key: attributes[key] for key in PACKING if key in attributes})
    return Array(data, dims or tuple(f"axis {n}" for n in range(len(data.shape))), packing, attributes)


def _said(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are not empty."""
    plain = {key: _plain(value) for key, value in attributes.items()}
    return {key: value for key, value in plain.items() if value is not None}


def _plain(value: Any) -> Any:
    """An attribute as netCDF means it: text, or a number that is written as a list of one; None if it is empty."""
    value = value.ravel()[0] if isinstance(value, np.ndarray) and value.size == 1 else value
    if isinstance(value, h5py.Empty):
        return None
    # HDF5 and h5py leave bytes that are no UTF-8 in text; most often they are Latin-1.
    value = value.encode(errors="surrogateescape") if isinstance(value, str) else value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.decode("latin-1")
    return value


def _hdf5(path: Path) -> Container:
    file = h5py.File(path)
    arrays: dict[str, Callable[[], Array]] = {}
    broken = []
    linked = functools.cache(functools.partial(_linked, file))
    for place, entry in entries(file):
        group, _, name = place.rpartition("/")
        called = f"{group}/{name.removeprefix(PREFIX)}".lstrip("/")
        if called != place or called not in arrays:  # a variable rather than the dimension of its name
            arrays[called] = functools.partial(_dataset, file, place, linked)
        broken += [place] if entry is None else []

    def attributes(group: str) -> dict[str, Any]:
        return _said(file[group or "/"].attrs) if group in {"", *file} else {}

    return Container(arrays, attributes, file.close, tuple(broken))


def entries(
    file: h5py.File, group: str = "/", above: frozenset[Any] = frozenset(), *, follow: bool = True
) -> Iterator[tuple[str, Any]]:
    """Paths of all but groups below a group of an HDF5 file, each with its class, such as h5py.Dataset.

    With a link in place of the class where that leads nowhere, and None for what is broken. follow: into other files
    """
    here = file[group]
    if here.id in above:  # a link to a group that holds it
        return
    try:
        names = list(here)
    except RuntimeError:
        yield group.strip("/"), None
        return
    for name in names:
        place = f"{group}/{name}".lstrip("/")
        if not follow and isinstance(link := here.get(name, getlink=True), h5py.ExternalLink):
            yield place, link
            continue
        try:
            kind = here.get(name, getclass=True)
        except (KeyError, OSError, RuntimeError):
            link = here.get(name, getlink=True)
            yield place, None if isinstance(link, h5py.HardLink) else link
            continue
        if kind is h5py.Group:
            yield from entries(file, place, above | {here.id}, follow=follow)
        else:
            yield place, kind


def _linked(file: h5py.File, group: str) -> dict[tuple[int, int], str]:
    """Where what a group holds is, by number of the file and address, and its name there."""
    here = file[group or "/"].id
    names: dict[tuple[int, int], str] = {}
    for name in here:
        link = here.links.get_info(name)
        if link.type == h5py.h5l.TYPE_HARD:
            names.setdefault((h5py.h5o.get_info(here).fileno, link.u), name.decode(errors="surrogateescape"))
    return names


def _dataset(file: h5py.File, place: str, linked: Callable[[str], Mapping[tuple[int, int], str]]) -> Array:
    data = file[place]
    if not isinstance(data, h5py.Dataset):
        raise ValueError(f"{place} is no array")
    attributes = data.attrs

    def named(scale: h5py.Dataset) -> str:
        """Asking HDF5 for the name searches the whole file; mostly the scale is in the array's group or one above."""
        found, group = h5py.h5o.get_info(scale.id), place
        while group:
            group = group.rpartition("/")[0]
            if held := linked(group).get((found.fileno, found.addr)):
                return held
        return str(scale.name).rpartition("/")[2]

    if "DIMENSION_LIST" in attributes:
        dims = tuple(named(axis[0]) if len(axis) else f"axis {n}" for n, axis in enumerate(data.dims))
    elif data.ndim == 1 and "CLASS" in attributes and attributes["CLASS"] == b"DIMENSION_SCALE":
        dims = (str(data.name).rpartition("/")[2],)
    else:
        dims = ()
    return _array(data, dims, attributes)


def _netcdf3(path: Path) -> Container:
    file = scipy.io.netcdf_file(path, mmap=True)
    arrays = {
        name: lambda variable=variable: _array(variable.data, variable.dimensions, variable._attributes)
        for name, variable in file.variables.items()
    }

    def close() -> None:
        with warnings.catch_warnings():
            # What is mapped goes with the last array that was taken of it.
            warnings.simplefilter("ignore", RuntimeWarning)
            file.close()

    return Container(arrays, lambda group: _said(file._attributes), close)


def _zarr(path: Path) -> Container:
    found = {place.relative_to(path).as_posix(): place for place in _folders(path)}
    if not found:
        raise ValueError("a folder without a Zarr array; name the files in it, such as in/*.nc")
    arrays = {
        ONLY if name == "." else name: lambda place=place: _zarr_array(zarr.open_array(place, mode="r"))
        for name, place in found.items()
    }
    broken = tuple(name for name, place in found.items() if _node(place) is None)
    return Container(arrays, lambda group: {}, lambda: None, broken)


def _folders(path: Path) -> Iterator[Path]:
    """The folders of the arrays below one, and of what is broken. What is no array and no group is passed over."""
    if _node(path) != "group":
        yield path
    else:
        for below in sorted(path.iterdir()):
            if any((below / name).exists() for name in ("zarr.json", ".zarray", ".zgroup")):
                yield from _folders(below)


def _node(folder: Path) -> str | None:
    """What a folder is in a Zarr store, "array" or "group"; None where that cannot be read."""
    if not (folder / "zarr.json").exists():
        return "array" if (folder / ".zarray").exists() else "group"
    try:
        return str(json.loads((folder / "zarr.json").read_bytes())["node_type"])
    except (ValueError, KeyError, TypeError):
        return None


def _zarr_array(data: zarr.Array) -> Array:
    attributes: dict[str, Any] = dict(data.attrs)
    dims = attributes.get("_ARRAY_DIMENSIONS", getattr(data.metadata, "dimension_names", None)) or ()
    if data.metadata.zarr_format == 2 and dims and data.fill_value is not None:
        # xarray keeps it so, and nobody else means it so.
        attributes["_FillValue"] = data.fill_value
    elif isinstance(attributes.get("_FillValue"), str) and data.dtype.kind == "f":
        (attributes["_FillValue"],) = struct.unpack("<d", base64.b64decode(attributes["_FillValue"]))
    return _array(data, tuple(dims), attributes)
