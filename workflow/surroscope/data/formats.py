"""Files of trajectories in the formats that people publish: opened lazily, with the names of our dimensions.

A file holds variables along some of (trajectory, time, channel, y, x). A variable without trajectory is one trajectory,
and each group of a file may hold one; a field on a line has no y. Where a format names its dimensions they are found by
name, else as the format says, else by position.

- native: netCDF as the embedded solvers write it
- xarray: netCDF, HDF5 or Zarr
- well: HDF5 of The Well (Ohana et al. 2024): t0_fields (B, T, X, Y), t1_fields (B, T, X, Y, D), t2_fields (.., D, D)
- pdebench: HDF5 of PDEBench (Takamoto et al. 2022): (B, T, X, Y), or with a group a trajectory (T, X, Y, C)
- apebench: numpy arrays of APEBench (Koehler et al. 2024): (N, T, C, X, Y), in one .npy file, called `state`
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surroscope.data.axes import AXES, Dimensions, Layout, sizes
from surroscope.data.containers import Array, opened
from surroscope.data.files import by_number
from surroscope.data.unreadable import refusal
from surroscope.errors import UserError


@dataclass(frozen=True)
class Coordinate:
    """A coordinate of one axis as the file has it: its numbers, none if they are not real ones, and their unit."""

    values: np.ndarray
    unit: str

    def centres(self, cells: int) -> np.ndarray | None:
        """Of this many cells, by their centres or their edges; None where it does not say where they are."""
        values = self.values
        if len(values) == cells + 1:
            values = ((values[1:].astype(np.float64) + values[:-1]) / 2).astype(values.dtype)
        told = cells > 1 and len(values) == cells and np.isfinite(values).all() and not (values == values[0]).all()
        return values if told else None


def descends(centres: np.ndarray) -> bool:
    return bool((np.diff(centres) < 0).all())


@dataclass(frozen=True)
class Variable:
    """A variable with our names of its axes, not read yet: one array, or one a trajectory, alike.

    places: paths of the arrays in the file; turned: of each array, those of y and x that descend in the file, which are
    read in ascending order
    """

    axes: tuple[str, ...]
    arrays: list[Array]
    places: tuple[str, ...]
    turned: list[tuple[str, ...]]
    dtype: np.dtype

    @property
    def sizes(self) -> dict[str, int]:
        """Cells, snapshots and so on along each axis; the components of a tensor are those of one axis."""
        sizes: dict[str, int] = {}
        for axis, size in zip(self.axes, self.arrays[0].shape, strict=True):
            sizes[axis] = sizes.get(axis, 1) * size
        return sizes

    @property
    def trajectories(self) -> int:
        return self.sizes.get("trajectory", len(self.arrays))

    @property
    def common(self) -> bool:
        """Whether it is one field of all trajectories and times."""
        return len(self.arrays) == 1 and not {"trajectory", "time"} & set(self.axes)

    @property
    def series(self) -> tuple[str, ...]:
        """The groups that hold a trajectory each; variables that are combined have the same."""
        return tuple(map(group_of, self.places)) if "trajectory" not in self.axes else ()

    def read(self, rows: slice, times: slice) -> np.ndarray:
        """Part of it, (n, t, Y, X) or (n, t, C, Y, X), with Y = 1 on a line; what has no time is the same at all."""
        whole = "trajectory" in self.axes
        ranges = {"trajectory": rows, "time": times}
        order = [self.axes.index(axis) for axis in AXES if axis in self.axes]
        parts = []
        chosen = slice(None) if whole or self.common else rows
        for array, turned in zip(self.arrays[chosen], self.turned[chosen], strict=True):
            # Read before it is turned, in the order of the file.
            part = array.read(*(ranges.get(axis, slice(None)) for axis in self.axes))
            part = np.flip(part, tuple(self.axes.index(axis) for axis in turned))
            # What is computed of half precision would be rounded again at every step.
            part = part.astype(np.float32) if part.dtype == np.float16 else part
            if self.axes.count("channel") == 2:
                part = part.reshape(*part.shape[:-2], -1)
            part = part.transpose(order)
            part = part if "y" in self.axes else part[..., np.newaxis, :]
            parts.append(part if whole else part[np.newaxis])
        found = np.concatenate(parts) if len(parts) > 1 else parts[0]
        if "time" in self.axes:
            return found
        count = rows.stop - rows.start if self.common else len(found)
        return np.broadcast_to(found[:, np.newaxis], (count, times.stop - times.start, *found.shape[1:]))


class Fields:
    """The variables of one file. A context manager: it closes the file.

    Raises UserError, naming the file, where it cannot be read.
    """

    def __init__(
        self, path: Path, format: str, dimensions: Dimensions, *, line: bool, steady: Collection[str] = ()
    ) -> None:
        """line: whether the fields are on a line, without y; steady: names of variables that may have no time"""
        self.path, self.container = path, opened(path)
        self.layout, self.steady = Layout(self.container, format, dimensions, line=line), steady
        self.places: dict[str, list[str]] = {}
        for place in sorted(self.container.arrays, key=lambda place: by_number(f"/{place}".rpartition("/")[0])):
            self.places.setdefault(place.rpartition("/")[2], []).append(place)
        self.variables: dict[str, Variable] = {}
        self.coordinates: dict[str, Coordinate | None] = {}

    def __enter__(self) -> "Fields":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        self.container.close()

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the whole file, but for what its library leaves there."""
        return {key: value for key, value in self.container.attributes("").items() if not key.startswith("_NC")}

    def has(self, name: str) -> bool:
        """Whether it holds a variable of this name, or at this path."""
        return bool(self._holders(name))

    def variable(self, name: str) -> Variable:
        """A variable: of the file's root or at its path in the file, or else of all groups that hold one of its name.

        Raises UserError if there is no such variable, if its dimensions are others, or if groups differ in it.
        """
        if name not in self.variables:
            self.variables[name] = self._variable(name)
        return self.variables[name]

    def read(self, name: str, rows: slice, times: slice) -> np.ndarray:
        """Part of a variable: see Variable. Raises UserError if it cannot be read."""
        try:
            return self.variable(name).read(rows, times)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            part = f"variable {name!r}, trajectories {rows.start} to {rows.stop - 1}, "
            raise refusal(self.path, error, part) from None

    def beside(self, place: str, axis: str) -> Coordinate | None:
        """The coordinate of an axis, time, y or x, of the array at this place: of its group or of one above.

        None if there is none in real numbers. Raises UserError if it cannot be read.
        """
        group = place.rpartition("/")[0]
        above = [group.rsplit("/", depth)[0] for depth in range(group.count("/") + 1)] if group else []
        for wanted in self.layout.coordinates(axis):
            for near in [*(f"{higher}/{wanted}" for higher in above), wanted]:
                if near not in self.coordinates:
                    self.coordinates[near] = self._coordinate(near) if near in self.container.arrays else None
                if (found := self.coordinates[near]) is not None:
                    return found if len(found.values) else None
        return None

    def centres(self, place: str, axis: str, cells: int) -> np.ndarray | None:
        """Where the cells of the array at this place are along y or x, in the order of the file; None if that is not
        said."""
        try:
            found = self.beside(place, axis)
        except UserError:  # what cannot be read beside the variables stands in nobody's way
            return None
        return None if found is None else found.centres(cells)

    def where(self, place: str) -> str:
        """The file, and the group if it is not the root, for errors."""
        group = group_of(place)
        return f"{self.path}" if group == "/" else f"{self.path}, group {group}"

    def _coordinate(self, place: str) -> Coordinate | None:
        """What is at this place, if it is a coordinate."""
        array = self._array(place)
        if len(array.shape) != 1 or array.valueless:
            return None
        kind, size = array.dtype.kind, array.dtype.itemsize
        if kind not in "iuf":
            return Coordinate(np.empty(0), "")
        try:
            values = array.read(slice(None))
        except Exception as error:
            raise refusal(self.path, error, f"variable {place!r} ") from None
        # Coarser numbers stay so: they show how exact they are.
        return Coordinate(values.astype(f"f{min(size, 8)}" if kind == "f" else np.float64), array.unit)

    def _holders(self, name: str) -> list[str]:
        """Where a variable is, in the order of the numbers in the names of groups."""
        if (path := name.lstrip("/")) in self.container.arrays:
            return [path]
        return self.places.get(name, [])

    def _array(self, place: str) -> Array:
        try:
            array = self.container.arrays[place]()
            _ = array.dtype  # not all that a file may hold is a kind of numbers here
        except Exception as error:
            raise refusal(self.path, error, f"variable {place!r} ") from None
        return array

    def _variable(self, name: str) -> Variable:
        found = self._holders(name)
        if found and self.container.broken and name.lstrip("/") not in self.container.arrays:
            raise UserError(
                f"{self.path}: {self.container.broken[0]!r} cannot be read, and may be or hold one of the variables "
                f"{name!r}; make or fetch the file again, or name one with its group, in quotes, such as "
                f'"{found[0]}"'
            )
        held = {place: self._array(place) for place in found}
        held = {place: array for place, array in held.items() if not array.valueless}
        if not held:
            raise UserError(
                f"{self.path}: variable {name!r}: it holds {self._known()}, expected one of this name; say in "
                'data.channels what each channel is in the files, with quotes around a name such as "train/2m-height"'
            )
        places, arrays = list(held), list(held.values())
        groups = list(map(group_of, places))
        what, steady = f"{self.path}: variable {name!r}", name in self.steady
        shapes = [self.layout.of(what, *pair, steady=steady) for pair in held.items()]
        first = arrays[0]
        if len(arrays) > 1 and "trajectory" in shapes[0]:
            raise UserError(
                f"{self.path}: variable {name!r}: {len(arrays)} groups hold one, expected one; name it with its group, "
                f'in quotes, such as "{places[0]}", or where each group is a trajectory, leave trajectory out of '
                "data.dimensions"
            )
        for group, axes, array in zip(groups, shapes, arrays, strict=True):
            if (axes, array.shape, array.dtype) != (shapes[0], first.shape, first.dtype):
                raise UserError(
                    f"{self.path}: variable {name!r} has ({sizes(axes, array)}) of {array.dtype} in group {group}, "
                    f"expected ({sizes(shapes[0], first)}) of {first.dtype} as in {groups[0]}; "
                    "groups are trajectories, alike"
                )
        turned = [
            tuple(
                axis
                for axis, cells in zip(shapes[0], array.shape, strict=True)
                if axis in ("y", "x")
                and (centres := self.centres(place, axis, cells)) is not None
                and descends(centres)
            )
            for place, array in held.items()
        ]
        return Variable(shapes[0], arrays, tuple(places), turned, first.dtype)

    def _known(self) -> str:
        """What it holds but for coordinates, with groups where that is short."""

        def coordinate(place: str, name: str) -> bool:
            try:
                return self.container.arrays[place]().dims == (name,)
            except Exception:  # it is there, whatever it is
                return False

        held = {name: places for name, places in self.places.items() if not coordinate(places[0], name)}
        every = sorted(place for places in held.values() for place in places)
        return ", ".join(every if len(every) < 10 else sorted(held)) or "none"


def group_of(place: str) -> str:
    """The group that an array is in, "/" for the root."""
    return f"/{place}".rpartition("/")[0] or "/"


class Reader:
    """Opens one file at a time and keeps it open over all that is read of it. A context manager: it closes the last."""

    def __init__(self, format: str, dimensions: Dimensions, *, line: bool, steady: Collection[str] = ()) -> None:
        """As of Fields."""
        self.options: dict[str, Any] = {"format": format, "dimensions": dimensions, "line": line, "steady": steady}
        self.fields: Fields | None = None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *unused: object) -> None:
        if self.fields is not None:
            self.fields.close()

    def open(self, path: Path) -> Fields:
        if self.fields is None or self.fields.path != path:
            self.__exit__()
            self.fields = Fields(path, **self.options)
        return self.fields
