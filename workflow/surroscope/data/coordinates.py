"""Where the cells of files lie and in what units: what files and classes of one study have to agree in."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from surroscope.data.formats import Fields
from surroscope.errors import UserError

# Of the width of a cell: coordinates are often rounded to single precision.
TOLERANCE = 1e-3
WAYS = ("descending", "ascending")
# Names of units, in small letters, whose symbols are as common.
SPELLED = {
    name: symbol
    for symbol, spelled in {
        "m": "meter meters metre metres",
        "km": "kilometer kilometers kilometre kilometres",
        "kg": "kilogram kilograms",
        "s": "sec second seconds",
        "min": "minute minutes",
        "h": "hr hrs hour hours",
        "d": "day days",
        "K": "kelvin",
        "Pa": "pascal pascals",
        "deg": "degree degrees",
        "°C": "degc celsius",
    }.items()
    for name in spelled.split()
}
REMEDY = "mend the files, or set data.coordinates: ignore if their cells and units are the same"


@dataclass(frozen=True)
class Coordinates:
    """What is said of the coordinates of one array in a file.

    cells: axis, y or x -> centres of the stored cells, which ascend where they are in order; ways: axis -> how it goes
    in the file, "ascending", which whatever does not descend counts as, "descending", which is turned, or "untold";
    units: of y, x, time and of the variable
    """

    cells: Mapping[str, np.ndarray]
    ways: Mapping[str, str]
    units: Mapping[str, str]


def of(fields: Fields, name: str, grid: tuple[int, int], *, timed: bool) -> Iterator[tuple[str, Coordinates]]:
    """What a file says of the coordinates of a variable, array by array, each with where it is, for errors.

    grid: cells (Y, X) into which its own are averaged; timed: whether its times count
    """
    variable = fields.variable(name)
    for place, array, turned in zip(variable.places, variable.arrays, variable.turned, strict=True):
        cells: dict[str, np.ndarray] = {}
        ways: dict[str, str] = {}
        units = {name: array.unit}
        for axis, count in zip(("y", "x"), grid, strict=True):
            if (held := variable.sizes.get(axis, 1)) == 1:
                continue
            if (centres := fields.centres(place, axis, held)) is None:
                ways[axis] = "untold"
                continue
            ways[axis] = "descending" if axis in turned else "ascending"
            centres = centres[::-1] if axis in turned else centres
            cells[axis] = centres.reshape(count, -1).mean(1, dtype=np.float64).astype(centres.dtype)
            units[axis] = unit(fields, place, axis)
        if timed:
            units["time"] = unit(fields, place, "time").partition(" since ")[0]
        yield fields.where(place), Coordinates(cells, ways, {key: told for key, told in units.items() if told})


def unit(fields: Fields, place: str, axis: str) -> str:
    found = fields.beside(place, axis)
    return "" if found is None else found.unit


class Agreement:
    """What the files of a class say, the first that says something of each, but where no cells and units are compared.

    Which way an axis goes counts always: what is turned may not stand beside what may have to be.
    """

    def __init__(self, *, compared: bool = True) -> None:
        self.compared = compared
        self.ways: dict[str, dict[str, str]] = {}
        self.cells: dict[str, tuple[str, np.ndarray]] = {}
        self.units: dict[str, tuple[str, str]] = {}

    def add(self, path: str, own: Coordinates) -> None:
        """A further array, of this file and group. Raises UserError, naming both, where it says something else."""
        for axis, way in own.ways.items():
            known = self.ways.setdefault(axis, {})
            known.setdefault(way, path)
            if {"descending", "untold"} <= known.keys():
                raise UserError(
                    f"{known['untold']}: does not say where {axis} goes, in {known['descending']} it descends and is "
                    f"turned; expected it of each or of none: write the coordinate of {axis} into every file of the "
                    "class, or write those that descend in ascending order"
                )
        if not self.compared:
            return
        for axis, values in own.cells.items():
            first, expected = self.cells.setdefault(axis, (path, values))
            if not alike(values, expected):
                raise UserError(
                    f"{path}: {axis} goes from {ends(values)}, in {first} from {ends(expected)}; a class has one set "
                    f"of cells: {REMEDY}"
                )
        for name, told in own.units.items():
            first, other = self.units.setdefault(name, (path, told))
            if not same_unit(told, other):
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
        """Attributes of the store: the units, not as `units`, by which times would be decoded, and which way the axes
        go that every file says; none where there are none."""
        units = {name: told for name, (_, told) in sorted(self.units.items())}
        ways = {axis: min(known, key=WAYS.index) for axis, known in sorted(self.ways.items()) if "untold" not in known}
        return {key: told for key, told in {"units_in_files": units, "axes_in_files": ways}.items() if told}


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two coordinates are those of the same cells, or two series of times the same, as far as numbers of their
    precision can say."""
    width = abs(float(one[-1]) - float(one[0])) / max(len(one) - 1, 1)
    rounding = max(float(np.spacing(np.abs(values).max())) for values in (one, other))
    near = max(TOLERANCE * width, rounding)
    return one.shape == other.shape and bool((np.abs(one.astype(np.float64) - other) <= near).all())


def same_unit(one: str, other: str) -> bool:
    """Whether two units are one, by how it is commonly spelled: m/s, m s-1, m s^-1, m·s⁻¹, meters per second.

    Quantities that are equal under another name, such as N and kg m s-2, are not known to be.
    """
    return _powers(one) == _powers(other)


def _powers(unit: str) -> dict[str, int] | str:
    """The power of each of a unit's parts; the unit itself where it is not understood."""
    text = unicodedata.normalize("NFKC", unit).replace("\N{MINUS SIGN}", "-")
    text = re.sub(r"\bper\b", "/", text.replace("_", " "))
    text = re.sub(r"\*\*|\^", "", text)
    if not re.fullmatch(r"[\w\s°%·⋅*/.-]+", text):
        return unit
    powers: Counter[str] = Counter()
    # A slash is of the part behind it alone, as UDUNITS has it.
    for slash, part, power in re.findall(r"(/?)\s*([^\W\d]+|[°%]\w*|\d[\d.]*)(-?\d+)?", text):
        powers[SPELLED.get(part.lower(), part)] += (-1 if slash else 1) * int(power or 1)
    known = {part: power for part, power in powers.items() if power and part != "1"}
    return known or unit


def ends(values: np.ndarray) -> str:
    return f"{values[0]:.8g} to {values[-1]:.8g} ({len(values)})"


def short(times: np.ndarray) -> str:
    ends = (*times[:2], times[-1], len(times))
    return "{:.12g}, {:.12g} .. {:.12g} ({})".format(*ends) if len(times) > 1 else str(times)
