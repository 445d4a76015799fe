"""Which axis of an array is which: by the names that it has, as its format says, or else by position."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surroscope.data.containers import Array, Container
from surroscope.errors import UserError

AXES = ("trajectory", "time", "channel", "y", "x")
Dimensions = Mapping[str, str] | Sequence[str]
# The Well's groups by the order of the tensors in them.
ORDERS = {"t0_fields": 0, "t1_fields": 1, "t2_fields": 2}
DIGITS = "0123456789"
VERTICAL = ("z", "depth", "height", "altitude", "lev", "level", "plev")
SOLID = "fields in three dimensions of space are not supported, those on a plane or a line are"


@dataclass(frozen=True)
class Format:
    """How its files are laid out.

    dimensions: our name -> the file's, or our names in the order of the axes; grouped: where each group is a trajectory
    times: the variable of the times; cells: those of the coordinates of y and x, where dimensions have no names
    """

    dimensions: Dimensions
    times: str = "time"
    cells: Sequence[str] = ()
    grouped: Sequence[str] = ()


FORMATS = {
    "native": Format({name: name for name in AXES}),
    "xarray": Format({name: name for name in AXES}),
    "well": Format(("trajectory", "time", "x", "y", "channel"), times="dimensions/time", cells=("dimensions/{}",)),
    "pdebench": Format(
        ("trajectory", "time", "x", "y"),
        times="t-coordinate",
        cells=("{}-coordinate", "grid/{}"),
        grouped=("time", "x", "y", "channel"),
    ),
    "apebench": Format(("trajectory", "time", "channel", "x", "y")),
    "py-pde": Format(("time", "channel", "x", "y"), times="times"),
}


class Layout:
    """The axes of the arrays of one file."""

    def __init__(self, container: Container, format: str, dimensions: Dimensions, *, line: bool) -> None:
        """dimensions: as the user says them, none where they are the format's; line: whether there is no y"""
        self.container, self.format, self.line, self.given = container, FORMATS[format], line, bool(dimensions)
        usual = self.format.dimensions
        self.dimensions: Dimensions = dimensions or usual
        if isinstance(usual, Mapping) and isinstance(dimensions, Mapping):
            self.dimensions = {**usual, **dimensions}
        groups = {place.rpartition("/")[0] for place in container.arrays}
        self.numbered = Counter(group.rstrip(DIGITS) for group in groups if group.endswith(tuple(DIGITS)))
        self.well = format == "well"
        self.solid = format == "pdebench" and any(place.endswith("z-coordinate") for place in container.arrays)

    def coordinates(self, axis: str) -> list[str]:
        """Names that the variable of an axis, time, y or x, may have."""
        if isinstance(self.dimensions, Mapping) and axis in self.dimensions:
            own = self.dimensions[axis]
            return [own, *(name.format(own) for name in self.format.cells)]
        return [self.format.times] if axis == "time" else [name.format(axis) for name in self.format.cells]

    def of(self, what: str, place: str, array: Array, *, steady: bool = False) -> tuple[str, ...]:
        """Our name of each axis of an array, `what` in errors; steady: whether it may have no time.

        Raises UserError if they are not those of fields on a plane or a line.
        """
        if self.well and self.container.attributes("").get("n_spatial_dims", 2) > 2:
            raise UserError(f"{what} has three dimensions of space, by the file's n_spatial_dims; {SOLID}")
        if self.solid:
            raise UserError(f"{what} has three dimensions of space, by the file's z-coordinate; {SOLID}")
        theirs: Mapping[str, str] = {}
        if isinstance(self.dimensions, Mapping):
            theirs = self.dimensions
            ours = {dimension: axis for axis, dimension in theirs.items()}
            axes, usual = [ours.get(dimension, "") for dimension in array.dims], list(theirs)
        else:
            if self.given and not all(dimension.startswith("axis ") for dimension in array.dims):
                raise UserError(
                    f"{what} names its dimensions ({', '.join(array.dims)}), found a list in "
                    "data.dimensions; expected the name of each, such as {time: t, x: lon}"
                )
            axes, usual = self._order(what, place, array)
        expected = [axis for axis in usual if not (self.line and axis == "y")]
        needed = {"x", *["y"] * (not self.line), *["time"] * (not steady)}
        if len(axes) == len(array.shape) and needed <= set(axes) <= set(expected):
            return tuple(axes)
        names = ", ".join(theirs.get(axis, axis) for axis in expected)
        further = [dimension for dimension, axis in zip(array.dims, axes, strict=False) if not axis]
        advice = "say which is which in data.dimensions"
        if further and needed <= set(axes):
            advice = f"{', '.join(further)} is none of them, and {SOLID}"
            if not set(further) & set(VERTICAL):
                advice += f"; if it counts the components of a vector, set data.dimensions: {{channel: {further[0]}}}"
                advice += f", if it counts trajectories {{trajectory: {further[0]}}}" * ("trajectory" not in axes)
        elif len(array.shape) > len(expected):
            advice = f"if that is a third dimension of space: {SOLID}; else {advice}"
        line = "" if self.line or len(array.shape) not in (2, 3) else "; for fields on a line set data.size: [1, cells]"
        raise UserError(
            f"{what} has dimensions ({sizes(array.dims, array)}), expected ({names}), "
            f"of which trajectory and channel may be left out; {advice}{line}"
        )

    def _order(self, what: str, place: str, array: Array) -> tuple[list[str], list[str]]:
        """Our names of the axes of an array that does not name them, and all that there may be."""
        group, number = place.rpartition("/")[0], len(array.shape)
        if self.well and not self.given and group.partition("/")[0] in ORDERS:
            axes = self._tensor(ORDERS[group.partition("/")[0]], array)
            return axes, [axis for axis in AXES if axis != "channel" or axis in axes]

        def fitting(order: Sequence[str]) -> list[str]:
            axes = [axis for axis in order if not (self.line and axis == "y")]
            return axes if len(axes) == number else [axis for axis in axes if axis != "channel"]

        usual, grouped = list(self.dimensions), self.format.grouped
        if self.given or not grouped or not group:
            return fitting(usual), usual
        # PDEBench numbers the groups of its trajectories, and each has a grid.
        arrays = self.container.arrays
        if f"{group}/x-coordinate" in arrays or len(fitting(grouped)) != number:
            return fitting(usual), usual
        alike = group.rpartition("/")[2].isdigit() or self.numbered[group.rstrip(DIGITS)] > 1
        if alike or f"{group}/grid/x" in arrays or len(fitting(usual)) != number:
            return fitting(grouped), list(grouped)
        either = " or ".join(f"[{', '.join(fitting(order))}]" for order in (usual, grouped))
        raise UserError(
            f"{what} has dimensions ({sizes(array.dims, array)}) in group /{group}, which may be {either}; "
            "set data.dimensions to what it is"
        )

    def _tensor(self, order: int, array: Array) -> list[str]:
        """The axes of one of The Well's fields, as the file says them: what a field does not vary along is left out."""
        told, said = self.container.attributes("dimensions"), array.attributes
        names = [
            name.decode(errors="replace") if isinstance(name, bytes) else str(name)
            for name in np.atleast_1d(told.get("spatial_dims", ()))
        ]
        space = names if sorted(names) == ["x", "y"] else ["x"] if self.line else ["x", "y"]
        varying = said.get("dim_varying", [True] * len(space))
        axes = ["trajectory"] * bool(said.get("sample_varying", True)) + ["time"] * bool(said.get("time_varying", True))
        axes += [axis for axis, varies in zip(space, varying, strict=False) if varies]
        return axes + ["channel"] * order


def sizes(names: Sequence[str], array: Array) -> str:
    """The axes of an array under these names, as text."""
    return ", ".join(f"{name} {size}" for name, size in zip(names, array.shape, strict=True))
