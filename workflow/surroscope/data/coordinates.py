"""Where the cells of files lie and in what units: what files and classes of one study have to agree in."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surroscope.data.formats import Fields
from surroscope.errors import UserError

# Of the width of a cell: coordinates are often rounded to single precision.
TOLERANCE = 1e-3
REMEDY = "mend the files, or set data.coordinates: ignore if their cells and units are the same"


@dataclass(frozen=True)
class Coordinates:
    """What a file says of them.

    cells: axis, y or x -> centres of the stored cells, which ascend where they are in order; descending: axes that do
    so in the file; units: of y, x, time and of each variable
    """

    cells: Mapping[str, np.ndarray]
    descending: tuple[str, ...]
    units: Mapping[str, str]

    def turned(self, values: np.ndarray) -> np.ndarray:
        """Values of a file (.., Y, X) in the order of the store."""
        y, x = (slice(None, None, -1 if axis in self.descending else None) for axis in ("y", "x"))
        return values[..., y, x]


NONE = Coordinates({}, (), {})


@functools.lru_cache(maxsize=1)
def of(fields: Fields, names: tuple[str, ...], grid: tuple[int, int], *, timed: bool) -> Coordinates:
    """What a file says of the coordinates of these variables; grid: cells (Y, X) into which its own are averaged.

    timed: whether its times count
    """
    centres: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    descending = []
    for axis, cells in zip(("y", "x"), grid, strict=True):
        held = fields.variable(names[0]).sizes.get(axis, 1)
        try:
            if (found := fields.beside(names[0], axis)) is None:
                continue
            places = found.read(slice(None)).astype(np.float64)
        except Exception:  # what cannot be read beside the variables stands in nobody's way
            continue
        places = (places[1:] + places[:-1]) / 2 if len(places) == held + 1 else places  # edges
        if held == 1 or len(places) != held or not np.isfinite(places).all() or (places == places[0]).all():
            continue
        if (np.diff(places) < 0).all():
            descending.append(axis)
            places = places[::-1]
        centres[axis], units[axis] = places.reshape(cells, -1).mean(1), unit(found.attributes)
    if timed and (times := fields.beside(names[0], "time")) is not None:
        units["time"] = unit(times.attributes).partition(" since ")[0]
    units |= {name: unit(fields.variable(name).arrays[0].attributes) for name in names}
    return Coordinates(centres, tuple(descending), {name: told for name, told in units.items() if told})


def unit(attributes: Mapping[str, Any]) -> str:
    """The attribute `units`, but for how words are parted; empty if there is none."""
    told = attributes.get("units", "")
    return " ".join((told.decode() if isinstance(told, bytes) else str(told)).replace("_", " ").split())


class Agreement:
    """What the files of a class say, the first that says something of each."""

    def __init__(self) -> None:
        self.cells: dict[str, tuple[Path, np.ndarray]] = {}
        self.units: dict[str, tuple[Path, str]] = {}

    def add(self, path: Path, own: Coordinates) -> None:
        """A further file. Raises UserError, naming both, where it says something else."""
        for axis, values in own.cells.items():
            first, expected = self.cells.setdefault(axis, (path, values))
            if not alike(values, expected):
                raise UserError(
                    f"{path}: {axis} goes from {ends(values)}, in {first} from {ends(expected)}; a class has one set "
                    f"of cells: {REMEDY}"
                )
        for name, told in own.units.items():
            first, other = self.units.setdefault(name, (path, told))
            if told != other:
                raise UserError(
                    f"{path}: the units of {name} are {told!r}, in {first} {other!r}; a class has one unit: {REMEDY}"
                )

    def axes(self, grid: tuple[int, int]) -> dict[str, Any]:
        """The coordinates of the store: those of the files, or cells' centres in units of the domain's side."""
        found: dict[str, Any] = {}
        for axis, cells in zip(("y", "x"), grid, strict=True):
            if axis in self.cells:
                found[axis] = (axis, self.cells[axis][1], {"long_name": "cell centre as in the files"})
            else:
                said = {"units": "1", "long_name": "cell centre in units of the domain's side"}
                found[axis] = (axis, (np.arange(cells) + 0.5) / cells, said)
        return found

    def told(self) -> dict[str, dict[str, str]]:
        """The units as an attribute of the store, if there are any. Not as `units`, by which times would be decoded."""
        units = {name: told for name, (_, told) in sorted(self.units.items())}
        return {"units_in_files": units} if units else {}


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two coordinates are those of the same cells."""
    width = abs(one[-1] - one[0]) / max(len(one) - 1, 1)
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=0, atol=TOLERANCE * width))


def ends(values: np.ndarray) -> str:
    return f"{values[0]:.6g} to {values[-1]:.6g} ({len(values)})"
