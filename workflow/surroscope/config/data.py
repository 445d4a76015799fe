"""Where the data come from, and what system they are of."""

import glob
import os
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, field_validator, model_validator

from surroscope.config.base import LARGEST, MOST, Count, Name, Natural, Positive, Section, once, require_known
from surroscope.data import expressions, pdegym
from surroscope.data.files import by_number
from surroscope.errors import UserError
from surroscope.observables.catalogue import COMPUTED

# Names of parts that data sets are published in.
PARTS = ("train", "training", "val", "valid", "validation", "test", "testing")
PAIR = Field(min_length=2, max_length=2)
Numbers = Literal["float16", "float32", "float64"]
Cells = Annotated[int, Field(ge=1, le=2**14)]


def _square(size: Any) -> Any:
    """A number of cells is that of both sides."""
    if isinstance(size, int) and not isinstance(size, bool):
        return [size, size]
    if not isinstance(size, list):
        raise ValueError("expected an integer, the cells per side, or a list [y, x]")
    return size


def _several(paths: Any) -> Any:
    return [paths] if isinstance(paths, str) else paths


def _revision(found: Any) -> Any:
    texts = found.values() if isinstance(found, dict) else [found]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("expected a branch, a tag or a commit, or one for each class")
    return found


def _dimensions(found: Any) -> Any:
    axes = ("trajectory", "time", "channel", "y", "x")
    names = list(found) if isinstance(found, dict | list) else []
    theirs = list(found.values()) if isinstance(found, dict) else names
    distinct = all(isinstance(name, str) for name in (*names, *theirs)) and len(set(theirs)) == len(set(names))
    if not isinstance(found, dict | list) or not distinct or len(set(names)) < len(names) or set(names) - set(axes):
        raise ValueError(f"expected some of {', '.join(axes)}, each with its own name in the files, or a list in order")
    return found


def _numbers(found: Any) -> Any:
    several = found if isinstance(found, list) else [found]
    if not several or not all(isinstance(each, str) and each in get_args(Numbers) for each in several):
        raise ValueError(f"expected {', '.join(get_args(Numbers))}, or a list of those that there are")
    return found


class Generation(Section):
    """Of simulated data."""

    preset: Literal["paper", "calibrated"] = "calibrated"
    seed: Annotated[int, Field(ge=-LARGEST, le=LARGEST)] = 0
    refinement: Count = 2


class Layout(Section):
    """Layout of files: channels as expressions, names of dimensions (empty: the format's own), numbers, times."""

    channels: dict[str, str] = {}
    dimensions: Annotated[dict[str, str] | list[str], PlainValidator(_dimensions, dict[str, str] | list[str])] = []
    dtype: Annotated[Numbers | list[Numbers], PlainValidator(_numbers, Numbers | list[Numbers])] = "float32"
    time_step: Positive | None = None
    coordinates: Literal["compare", "ignore"] = "compare"
    skip: Annotated[list[Literal["nan", "negative", "rest", "duplicate"]], AfterValidator(once)] = []


class Data(Generation, Layout):
    dataset: Name
    source: Literal["simulation", "pdegym", "files"] = "simulation"
    size: Annotated[list[Cells], PAIR, BeforeValidator(_square, Cells | Annotated[list[Cells], PAIR])] = [128, 128]
    snapshots: Annotated[int, Field(ge=3, le=MOST)] = 21
    block: Count = 64
    revision: Annotated[str | dict[str, str], PlainValidator(_revision, str | dict[str, str])] = "main"
    format: Literal["xarray", "well", "pdebench", "apebench", "py-pde"] = "xarray"
    files: dict[Name, Annotated[list[str], Field(min_length=1), BeforeValidator(_several, str | list[str])]] = {}
    skip_rows: dict[Name, dict[str, list[Natural]]] = {}
    orientation: Literal["check", "accept"] = "check"
    links: Literal["inside", "anywhere"] = "inside"
    keep_raw: bool = True
    reader: Literal["memory", "mapped"] = "memory"

    @field_validator("channels")
    @classmethod
    def _expressions(cls, channels: dict[str, str]) -> dict[str, str]:
        for channel, expression in channels.items():
            try:
                # Of no values, which shows all that does not depend on them.
                expressions.evaluate(expression, lambda *_: np.empty(0))
            except UserError as error:
                raise ValueError(f"{channel}: {error}") from None
        return channels

    @field_validator("files")
    @classmethod
    def _of_classes(cls, files: dict[str, list[str]]) -> dict[str, list[str]]:
        parts = [name for name in files if name.lower() in PARTS]
        if len(parts) > 1:
            listed = [path for name in parts for path in files[name]]
            raise ValueError(
                f"{', '.join(parts)} are names of parts of a data set, not of classes of initial conditions; list them "
                f"under one name, as in {{all: [{', '.join(listed)}]}}: trajectories are split here, see split"
            )
        return files

    @model_validator(mode="after")
    def _of_its_source(self) -> "Data":
        rows, columns = self.size
        if self.source == "simulation" and (rows != columns or columns % 2 or columns < 8):
            raise ValueError(
                f"size is {rows} x {columns}; the solvers need a square of an even number of cells per side, at least 8"
            )
        if (self.source == "files") != bool(self.files):
            raise ValueError(f"source is {self.source!r} and files {dict(self.files)}; files go with source: files")
        theirs = {
            "format",
            "dimensions",
            "dtype",
            "time_step",
            "links",
            "coordinates",
        } & self.model_fields_set
        if theirs and self.source != "files":
            raise ValueError(f"{', '.join(sorted(theirs))} goes with source: files, found {self.source!r}; remove it")
        given = {name for name in ("channels", "skip", "skip_rows") if getattr(self, name)}
        given |= {"orientation"} if self.orientation == "accept" else set()
        if given and self.source == "simulation":
            raise ValueError(
                f"{', '.join(sorted(given))} goes with source: files or pdegym, found 'simulation'; remove it"
            )
        if self.source == "pdegym" and (
            rows != columns or pdegym.CELLS % columns or self.snapshots > pdegym.SNAPSHOTS or columns < 4
        ):
            raise ValueError(
                f"size is {rows} x {columns} and snapshots {self.snapshots}; PDEGym has {pdegym.CELLS} cells a side, "
                f"which a smaller size must divide, and {pdegym.SNAPSHOTS} snapshots"
            )
        return self

    def paths(self) -> dict[str, list[str]]:
        """The files of every class in the order of its trajectories: as listed, a pattern's by the numbers in them.

        A path that is there is no pattern, whatever characters it holds; ~ is the home folder.
        Raises UserError if a pattern has none, or if a file is named twice.
        """
        found: dict[str, list[str]] = {ic: [] for ic in self.files}
        owner: dict[str, str] = {}
        for ic, patterns in self.files.items():
            for pattern in patterns:
                place = os.path.expanduser(pattern)
                paths = [place] if os.path.exists(place) else sorted(glob.glob(place), key=by_number)
                if not paths:
                    raise UserError(f"data.files.{ic}: found no file {pattern!r}; mend the path or fetch the file")
                for path in paths:
                    other = owner.setdefault(os.path.realpath(path), ic)
                    if other != ic or path in found[ic]:
                        raise UserError(f"data.files.{ic}: {path} is of {other} already; list each file once")
                    if set(path) & set("{}"):
                        raise UserError(f"data.files.{ic}: {path} has a brace in its name; rename it")
                    found[ic].append(path)
        return found

    def revision_of(self, ic: str) -> str:
        """The branch, tag or commit of a class's repository."""
        return self.revision if isinstance(self.revision, str) else self.revision.get(ic, "main")

    @property
    def grid(self) -> tuple[int, int]:
        """Cells (Y, X) of the stored states; Y is 1 on a line."""
        return self.size[0], self.size[1]


class Equations(Section):
    """A system that is not of the table: see System."""

    title: str | None = None
    channels: Annotated[list[Name], Field(min_length=1)]
    positive: list[str] = []
    conserved: list[str] = []
    vectors: list[Annotated[list[str], Field(min_length=1, max_length=2)]] = []
    symmetries: list[Literal["turns", "shifts"]] = []
    boundary: Literal["periodic", "open"] = "periodic"
    constants: list[Name] = []

    @model_validator(mode="after")
    def _of_its_channels(self) -> "Equations":
        once([*self.channels, *self.constants])
        for name in COMPUTED:
            if name in self.channels:
                raise ValueError(f"channels holds {name!r}, the name of an observable of other channels; rename it")
        known = tuple(self.channels)
        require_known("positive", self.positive, known)
        require_known("conserved", self.conserved, known)
        require_known("vectors", once([name for vector in self.vectors for name in vector]), known)
        return self
