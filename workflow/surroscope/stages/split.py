"""Divide each class's trajectories into train, validation and test by seed."""

import json
from dataclasses import dataclass
from pathlib import Path

import zarr

from surroscope import seeding, store
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
    parts = {}
    for name in settings.classes:
        store.manifest(paths[name])
        count = zarr.open_array(paths[name] / "state", mode="r").shape[0]
        order = seeding.generator(settings.seed, "split", name).permutation(count).tolist()
        train, validation, _ = split_counts(count, settings.train, settings.validation)
        parts[name] = {
            "train": order[:train],
            "validation": order[train : train + validation],
            "test": order[train + validation :],
        }
    with store.atomic(split) as temporary:
        temporary.write_text(json.dumps(parts) + "\n")


if __name__ == "__main__":
    cli.run(stage, Settings, paths=("split",), lists=("stores",))
