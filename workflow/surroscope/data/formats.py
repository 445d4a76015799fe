"""Files of trajectories in the formats that people publish: opened lazily, with the names of our dimensions.

A file holds variables along some of (trajectory, time, channel, y, x). A variable without trajectory is one trajectory,
and each group of a file may hold one; a field on a line has no y. Where a format names its dimensions they are found by
name, else by position.

- native: netCDF as the embedded solvers write it
- xarray: netCDF-4, HDF5 or Zarr
- well: HDF5 of The Well (Ohana et al. 2024): t0_fields (B, T, X, Y), t1_fields (B, T, X, Y, D)
- pdebench: HDF5 of PDEBench (Takamoto et al. 2022): (B, T, X, Y), or with a group a trajectory (T, X, Y, C)
- apebench: numpy arrays of APEBench (Koehler et al. 2024): (N, T, C, X, Y), in one .npy file, called `state`
"""

import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from surroscope.data.files import by_number
from surroscope.errors import UserError

AXES = ("trajectory", "time", "channel", "y", "x")
Dimensions = Mapping[str, str] | Sequence[str]


@dataclass(frozen=True)
class Format:
    """How its files are laid out.

    dimensions: our name -> the file's, or our names in the order of the axes; grouped: where each group is a trajectory
    times: the variable of the times
    """

    dimensions: Dimensions
    times: str = "time"
    grouped: Dimensions = ()


FORMATS = {
    "native": Format({name: name for name in AXES}),
    "xarray": Format({name: name for name in AXES}),
    "well": Format(("trajectory", "time", "x", "y", "channel")),
    "pdebench": Format(("trajectory", "time", "x", "y"), times="t-coordinate", grouped=("time", "x", "y", "channel")),
    "apebench": Format(("trajectory", "time", "channel", "x", "y")),
}


class Fields:
    """The variables of one file. A context manager: it closes the file.

    Raises UserError, naming the file, where it cannot be read.
    """

    def __init__(self, path: Path, format: str, dimensions: Dimensions, *, line: bool) -> None:
        """line: whether the fields are on a line, without y"""
        self.groups = dict(sorted(_open(path).items(), key=lambda item: by_number(item[0])))
        layout = FORMATS[format]
        usual = layout.grouped if len(self.groups) > 1 and layout.grouped else layout.dimensions
        self.path, self.line, self.given = path, line, bool(dimensions)
        self.dimensions = dimensions or usual
        if isinstance(usual, Mapping) and isinstance(dimensions, Mapping):
            self.dimensions = {**usual, **dimensions}
        self.times = self._times(layout.times)

    def __enter__(self) -> "Fields":
        return self

    def __exit__(self, *unused: object) -> None:
        for group in self.groups.values():
            group.close()

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the whole file."""
        return dict(self.groups["/"].attrs)

    def variable(self, name: str) -> xr.DataArray:
        """A variable with our names of dimensions, not read yet: of one trajectory where each group holds one.

        Raises UserError if there is no such variable, if its dimensions are others, or if groups differ in it.
        """
        holders = self._holders(name)
        if not holders:
            known = ", ".join(sorted({str(key) for group in self.groups.values() for key in group.data_vars}))
            raise UserError(
                f"{self.path}: variable {name!r}: it holds {known or 'none'}, expected one "
                "of this name; say in data.channels what each channel is in the files"
            )
        variables = {group: dataset.variables[name] for group, dataset in holders.items()}
        arrays = {group: _renamed(array, self._axes(name, array)) for group, array in variables.items()}
        (first, expected), *others = arrays.items()
        if others and "trajectory" in expected.dims:
            raise UserError(
                f"{self.path}: variable {name!r}: {len(arrays)} groups hold one, expected one; where each "
                "group is a trajectory, leave trajectory out of data.dimensions"
            )
        for group, array in others:
            if (array.dims, array.shape, array.dtype) != (expected.dims, expected.shape, expected.dtype):
                raise UserError(
                    f"{self.path}: variable {name!r} has {dict(array.sizes)} of {array.dtype} in group {group}, "
                    f"expected {dict(expected.sizes)} of {expected.dtype} as in {first}; groups are trajectories, alike"
                )
        return expected

    def trajectories(self, name: str) -> int:
        """How many trajectories a variable holds: its groups are one each where it has no such dimension."""
        return self.variable(name).sizes.get("trajectory", len(self._holders(name)))

    def read(self, name: str, rows: slice, times: slice) -> np.ndarray:
        """Part of a variable, (n, t, Y, X) or (n, t, C, Y, X), with Y = 1 on a line."""
        array = self.variable(name)
        if "trajectory" in array.dims:
            blocks = [array.isel(trajectory=rows)]
        else:
            groups = list(self._holders(name).values())[rows]
            blocks = [_renamed(group.variables[name], array.dims) for group in groups]
        parts = []
        for block in blocks:
            # Read before it is turned: turning first would make xarray pick the numbers one by one.
            part = block.isel(time=times).load()
            # What is computed of half precision would be rounded again at every step.
            part = part.astype(np.float32) if part.dtype == np.float16 else part
            part = part.expand_dims([axis for axis in ("trajectory", "y") if axis not in part.dims])
            parts.append(part.transpose(*[axis for axis in AXES if axis in part.dims]).values)
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _holders(self, name: str) -> dict[str, xr.Dataset]:
        """The groups with a variable of this name, in the order of the numbers in their names."""
        return {key: group for key, group in self.groups.items() if name in group.variables}

    def series(self, name: str) -> tuple[str, ...]:
        """The groups that hold the trajectories of a variable; variables that are combined have the same."""
        return tuple(self._holders(name)) if "trajectory" not in self.variable(name).dims else ()

    def _axes(self, name: str, array: xr.Variable) -> list[str]:
        expected = [axis for axis in self.dimensions if not (self.line and axis == "y")]
        if isinstance(self.dimensions, Mapping):
            ours = {theirs: axis for axis, theirs in self.dimensions.items()}
            axes = [ours.get(str(dimension), "") for dimension in array.dims]
            names = ", ".join(self.dimensions[axis] for axis in expected)
        else:
            axes = [axis for axis in expected if len(expected) == array.ndim or axis != "channel"]
            names = ", ".join(expected)
            theirs = [str(dimension) for dimension in array.dims]
            if self.given and not all(dimension.startswith(("phony_dim_", "axis ")) for dimension in theirs):
                raise UserError(
                    f"{self.path}: variable {name!r} names its dimensions ({', '.join(theirs)}), found a list in "
                    "data.dimensions; expected the name of each, such as {time: t, x: lon}"
                )
        needed = {"time", "x"} if self.line else {"time", "y", "x"}
        if len(axes) != array.ndim or not needed <= set(axes) <= set(expected):
            shape = ", ".join(f"{dimension} {size}" for dimension, size in array.sizes.items())
            line = "" if self.line or array.ndim > 3 else "; for fields on a line set data.size: [1, cells]"
            raise UserError(
                f"{self.path}: variable {name!r} has dimensions ({shape}), expected ({names}), of which trajectory "
                f"and channel may be left out; say which is which in data.dimensions{line}"
            )
        return axes

    def _times(self, name: str) -> np.ndarray | None:
        if isinstance(self.dimensions, Mapping):
            name = self.dimensions.get("time", name)
        for group in self.groups.values():
            if name in group.variables and group.variables[name].ndim == 1:
                values = group.variables[name].values
                return np.asarray(values, dtype=np.float64) if values.dtype.kind in "iuf" else None
        return None


def _renamed(array: xr.Variable, axes: Iterable[Hashable]) -> xr.DataArray:
    return xr.DataArray(array).rename(dict(zip(array.dims, axes, strict=True)))


def _open(path: Path) -> dict[str, xr.Dataset]:
    if not path.exists():
        raise UserError(f"{path}: no such file; mend data.files")
    options: dict[str, Any] = {"decode_times": False, "cache": False, "chunks": None}
    try:
        if path.suffix == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            return {"/": xr.Dataset({"state": (tuple(f"axis {n}" for n in range(array.ndim)), array)})}
        if path.is_dir():
            with warnings.catch_warnings():
                # Files of ours or others beside the arrays, and metadata that is not gathered in one place.
                for harmless in ("Object at", "Failed to open Zarr store with consolidated"):
                    warnings.filterwarnings("ignore", message=harmless)
                return {"/": xr.open_dataset(path, engine="zarr", **options)}
        return xr.open_groups(path, engine="h5netcdf", phony_dims="access", **options)
    except Exception as error:  # each library has errors of its own for what it cannot read
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: cannot be read ({reason}). Expected a whole netCDF, HDF5, Zarr or .npy "
            "file; make or fetch it again"
        ) from None
