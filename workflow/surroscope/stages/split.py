"""Divide each class's trajectories into train, validation and test by seed."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from surroscope import seeding, store
from surroscope.errors import UserError
from surroscope.partition import split_counts
from surroscope.stages import cli


@dataclass(frozen=True)
class Settings:
    seed: int
    classes: list[str]
    train: float
    validation: float


def stage(settings: Settings, *, stores: list[Path], split: Path) -> None:
    paths = {path.stem: path for path in stores}
    opened = {name: store.read(paths[name], contents=False) for name in settings.classes}
    require_alike(opened, paths)
    parts = {}
    for name, data in opened.items():
        count = data.sizes["trajectory"]
        order = seeding.generator(settings.seed, "split", name).permutation(count).tolist()
        train, validation, _ = split_counts(count, settings.train, settings.validation)
        parts[name] = {
            "train": order[:train],
            "validation": order[train : train + validation],
            "test": order[train + validation :],
        }
    with store.atomic(split) as temporary:
        temporary.write_text(json.dumps(parts) + "\n")


def require_alike(opened: dict[str, xr.Dataset], paths: dict[str, Path]) -> None:
    """Raise UserError, naming two stores, unless all have the same channels, grid and times: one network sees them."""
    (first, expected), *others = opened.items()
    for name, found in others:
        for axis in ("channel", "y", "x", "time"):
            here, there = expected[axis].values, found[axis].values
            same = here.shape == there.shape
            if same and axis != "channel":
                same = np.allclose(here, there, rtol=1e-6, atol=1e-6 * abs(here[-1] - here[0]) / len(here))
            elif same:
                same = bool((here == there).all())
            if not same:
                raise UserError(
                    f"{paths[name]}: {axis} is {' '.join(map(str, there[:6]))} .. ({len(there)}), in {paths[first]} it "
                    f"is {' '.join(map(str, here[:6]))} .. ({len(here)}); the classes of a system must agree, so mend "
                    "data.files or choose other classes"
                )


if __name__ == "__main__":
    cli.run(stage, Settings, paths=("split",), lists=("stores",))
