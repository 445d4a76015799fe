"""Divide each class's trajectories into train, validation and test by seed."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import xarray as xr

from surroscope import seeding
from surroscope.config import jobs, weights
from surroscope.data.coordinates import alike, same_unit
from surroscope.data.splits import numbers, read, split_counts
from surroscope.errors import UserError
from surroscope.runtime import cli, store

IGNORE = ", or set data.coordinates: ignore if their cells and units are the same"
OFFSET = ". Where only the start differs, set data.time_step, and times count from 0 in every file"
REMEDIES = {"time": OFFSET, "y": IGNORE, "x": IGNORE}


def stage(
    settings: jobs.Split,
    *,
    stores: list[Path],
    split: cli.Output,
    trained: Annotated[Sequence[Path], cli.FOREIGN] = (),
) -> None:
    """trained: the file that lists what networks were trained on elsewhere, if one does"""
    listed = settings.trained
    for path in trained:
        if weights.digest(path) != settings.listed:
            raise UserError(f"{path}: written again since this job was planned; run snakemake again")
        listed = read(path)
    paths = {path.stem: path for path in stores}
    opened = {name: store.read(paths[name], contents=False) for name in settings.classes}
    require_alike(opened, paths)
    require_distinct(opened, paths)
    parts = {}
    for name, data in opened.items():
        count = settings.trajectories
        if data.sizes["trajectory"] < count:
            raise UserError(
                f"{paths[name]}: holds {data.sizes['trajectory']} trajectories, expected {count} or more; "
                "delete it and run again"
            )
        order = seeding.generator(settings.seed, "split", name).permutation(count).tolist()
        known = None if listed is None else numbers(listed.get(name, []))
        if known is not None:
            order.sort(key=lambda number: number not in known)
        train, validation, _ = split_counts(
            count, settings.train, settings.validation, None if known is None else len(known.intersection(order))
        )
        parts[name] = {
            "train": order[:train],
            "validation": order[train : train + validation],
            "test": order[train + validation :],
        }
    with store.atomic(split) as temporary:
        temporary.write_text(json.dumps(parts) + "\n")


def require_alike(opened: dict[str, xr.Dataset], paths: dict[str, Path]) -> None:
    """Raise UserError, naming two stores, unless all have the same channels, grid, times and units: one network sees
    them."""
    for (first, expected), (name, found) in itertools.combinations(opened.items(), 2):
        for axis in ("channel", "y", "x", "time"):
            here, there = expected[axis].values, found[axis].values
            same = here.shape == there.shape
            if same and axis in ("y", "x"):
                # Files without coordinates say nothing of theirs.
                same = len({data[axis].attrs["long_name"] for data in (expected, found)}) > 1 or alike(here, there)
            elif same:
                same = alike(here, there) if axis == "time" else bool((here == there).all())
            if not same:
                raise UserError(
                    f"{paths[name]}: {axis} is {short(there)}, in {paths[first]} it is {short(here)}; the classes of a "
                    f"system must agree, so mend data.files or choose other classes{REMEDIES.get(axis, '')}"
                )
        for one, other in ((first, name), (name, first)):
            ways, others = (opened[each].attrs.get("axes_in_files", {}) for each in (one, other))
            for axis in sorted(ways):
                if ways[axis] == "descending" and axis not in others:
                    raise UserError(
                        f"{paths[other]}: not every file of it says where {axis} goes, in files of {paths[one]} it "
                        f"descends and is turned; expected it of each or of none: write the coordinate of {axis} into "
                        "every file of both classes, or write those that descend in ascending order"
                    )
        units, others_units = (data.attrs.get("units_in_files", {}) for data in (expected, found))
        for key in sorted(units.keys() & others_units.keys()):
            if not same_unit(units[key], others_units[key]):
                raise UserError(
                    f"{paths[name]}: the units of {key} are {others_units[key]!r}, in {paths[first]} {units[key]!r}; "
                    f"the classes of a system must agree, so mend data.files or choose other classes{IGNORE}"
                )


def require_distinct(opened: dict[str, xr.Dataset], paths: dict[str, Path]) -> None:
    """Raise UserError if a trajectory of one class is in another: a test would hold what was trained on."""
    seen: dict[int, tuple[str, int]] = {}
    for name, data in opened.items():
        for row, digest in enumerate(data["digest"].values.tolist()):
            other, first = seen.setdefault(digest, (name, row))
            if other != name:
                here, there = place(data, row), place(opened[other], first)
                raise UserError(
                    f"{paths[name]}: trajectory {row} ({here}) is the same as trajectory {first} of {paths[other]} "
                    f"({there}); expected different ones, so leave one out by data.skip_rows, or mend data.files"
                )


def place(data: xr.Dataset, row: int) -> str:
    return f"{data['file'].values[row]}, row {data['row'].values[row]}"


def short(values: np.ndarray) -> str:
    """The values of an axis, told apart from neighbours: all if they are few, else the first ones and the last."""
    shown: list[str] = []
    for digits in (6, 12):
        if len(set(shown)) < len(values):
            shown = [f"{value:.{digits}g}" if isinstance(value, float) else str(value) for value in values.tolist()]
    return " ".join(shown) if len(shown) < 7 else f"{' '.join(shown[:3])} .. {shown[-1]} ({len(shown)})"


if __name__ == "__main__":
    cli.run(stage)
