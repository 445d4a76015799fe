"""Where the data come from, and what system they are of."""

import glob
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, field_validator, model_validator

from surroscope import expressions
from surroscope.config.base import Count, Name, Positive, Section, once, require_known
from surroscope.errors import UserError


def _square(size: Any) -> Any:
    """A number of cells is that of both sides."""
    if isinstance(size, int) and not isinstance(size, bool):
        return [size, size]
    if not isinstance(size, list):
        raise ValueError("expected an integer, the cells per side, or a list [y, x]")
    return size


def _several(paths: Any) -> Any:
    return [paths] if isinstance(paths, str) else paths


def _dimensions(found: Any) -> Any:
    axes = ("trajectory", "time", "channel", "y", "x")
    names = list(found) if isinstance(found, dict | list) else [None]
    if set(names) - set(axes) or len(set(names)) < len(names) or not all(isinstance(name, str) for name in found):
        raise ValueError(
            f"expected some of {', '.join(axes)}, each with its name in the files, or a list of them in order"
        )
    return found


class Data(Section):
    dataset: Name
    source: Literal["simulation", "pdegym", "files"] = "simulation"
    size: Annotated[list[Count], Field(min_length=2, max_length=2), BeforeValidator(_square)] = [128, 128]
    snapshots: Annotated[int, Field(ge=3)] = 21
    preset: Literal["paper", "calibrated"] = "calibrated"
    seed: int = 0
    refinement: Count = 2
    block: Count = 64
    revision: str = "main"
    format: Literal["xarray", "well", "pdebench", "apebench"] = "xarray"
    files: dict[Name, Annotated[list[str], Field(min_length=1), BeforeValidator(_several)]] = {}
    channels: dict[str, str] = {}
    dimensions: Annotated[dict[str, str] | list[str], PlainValidator(_dimensions)] = []
    dtype: Literal["float16", "float32", "float64"] = "float32"
    time_step: Positive | None = None
    keep_raw: bool = True
    reader: Literal["memory", "mapped"] = "memory"

    @field_validator("channels")
    @classmethod
    def _expressions(cls, channels: dict[str, str]) -> dict[str, str]:
        for expression in channels.values():
            try:
                expressions.names(expression)
            except UserError as error:
                raise ValueError(str(error)) from None
        return channels

    @model_validator(mode="after")
    def _of_its_source(self) -> "Data":
        rows, columns = self.size
        if self.source == "simulation" and (rows != columns or columns % 2 or columns < 8):
            raise ValueError(
                f"size is {rows} x {columns}; the solvers need a square of an even number of cells per side, at least 8"
            )
        if (self.source == "files") != bool(self.files):
            raise ValueError(f"source is {self.source!r} and files {dict(self.files)}; files go with source: files")
        patterns = [pattern for chosen in self.files.values() for pattern in chosen]
        for pattern in patterns:
            if patterns.count(pattern) > 1:
                raise ValueError(f"files names {pattern!r} twice; a trajectory belongs to one class, once")
        return self

    def paths(self, ic: str) -> list[str]:
        """The files of a class in the order of its trajectories: as listed, a pattern's by the numbers in their names.

        Raises UserError if there are none.
        """
        found: list[str] = []
        for pattern in self.files[ic]:
            paths = sorted(glob.glob(pattern), key=_by_number)
            if not paths:
                raise UserError(f"data.files.{ic}: found no file {pattern!r}; mend the path or fetch the file")
            found += paths
        return found

    @property
    def grid(self) -> tuple[int, int]:
        """Cells (Y, X) of the stored states; Y is 1 on a line."""
        return self.size[0], self.size[1]


def _by_number(path: str) -> list[tuple[int, str]]:
    """So that file_10 comes after file_9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


class Equations(Section):
    """A system that is not of the table: see System."""

    title: str | None = None
    channels: Annotated[list[Name], Field(min_length=1)]
    positive: list[str] = []
    conserved: list[str] = []
    vectors: list[Annotated[list[str], Field(min_length=1, max_length=2)]] = []
    boundary: Literal["periodic", "open"] = "periodic"
    units: str = "dimensionless"

    @model_validator(mode="after")
    def _of_its_channels(self) -> "Equations":
        once(self.channels)
        known = tuple(self.channels)
        require_known("positive", self.positive, known)
        require_known("conserved", self.conserved, known)
        require_known("vectors", once([name for vector in self.vectors for name in vector]), known)
        return self
