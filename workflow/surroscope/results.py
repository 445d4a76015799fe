"""A finished study as labelled arrays, for plots and questions of one's own."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from surroscope.errors import UserError
from surroscope.runtime import provenance, store
from surroscope.tables.reading import read_csv


def open_study(path: str | Path) -> xr.DataTree:
    """What a study computed, as a tree of xarray datasets, read when it is used.

    path: a folder results/{study} that holds provenance.json, of a study that ran to its end

    - /{system}/{model}/influence: H of every observable on steps on every other, with spectra, distances, channels and
      fronts; not normalised
    - /{system}/{model}/coupling: what the network shares between inputs, trained and untrained
    - /{system}/{model}/evaluation: errors of rollouts and at images of states, drift, fields of one rollout

    All have the leading dimensions seed and epoch, NaN where a checkpoint has no such number (influence on images
    is of the last probed epoch alone). Attributes of the root are the configuration, with all defaults, and the
    versions. Raises UserError where the study is not finished, and DamagedStoreError where a store is not what was
    written.
    """
    folder = Path(path)
    record = recorded(folder)
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs={"config": record["config"], "versions": record["versions"]})}
    for system, chosen in record["config"]["systems"].items():
        for model, network in chosen["models"].items():
            place, epochs = folder / system / model, network["probe_epochs"]
            for name in ("influence", "coupling", "evaluation"):
                nodes[f"/{system}/{model}/{name}"] = _joined(
                    "seed",
                    (
                        _joined("epoch", (_opened(place, name, seed, epoch, record) for epoch in epochs))
                        for seed in record["config"]["seeds"]
                    ),
                )
    return xr.DataTree.from_dict(nodes)


def recorded(folder: Path) -> dict[str, Any]:
    """What a finished study's provenance.json says.

    Raises UserError where the study is not finished, and DamagedStoreError where the file is not what was written.
    """
    path = folder / provenance.FILE
    if not path.is_file():
        found = "is not there" if not folder.is_dir() else f"has no {provenance.FILE}, so the study is not finished"
        raise UserError(f"{folder}: {found}; expected results/{{study}} of a study that ran to its end")
    if store.record_of(path).is_file():
        store.require_whole(path)
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); delete it and run the study again") from None


def _opened(folder: Path, name: str, seed: int, epoch: int, record: dict[str, Any]) -> xr.Dataset:
    path = folder / f"seed{seed}" / f"epoch{epoch}" / f"{name}.zarr"
    within = "/".join(path.parts[-5:])
    expected = next(held["digest"] for at, held in record["stores"].items() if at.endswith(within))
    if store.manifest(path)["digest"] != expected:
        raise UserError(f"{path}: written again since the study was finished; run snakemake, which finishes it again")
    found = store.read(path, chunks={}).assign_coords(seed=seed, epoch=epoch)
    if responses := json.loads(found.attrs.pop("responses", "[]")):
        labels = {key: ("response", [response[key] for response in responses]) for key in ("observable", "step")}
        found = found.assign_coords(labels).set_index(response=["observable", "step"])
    return found


def _joined(dimension: str, datasets: Iterable[xr.Dataset]) -> xr.Dataset:
    return xr.concat(list(datasets), dimension, join="outer", combine_attrs="drop_conflicts")


def read_table(path: str | Path, system: str, name: str) -> pd.DataFrame:
    """A tidy table of a study's system, as its figures show it: two_time, scalars, checkpoints, ...

    Raises UserError where there is no such table, and DamagedStoreError where it is not what was written.
    """
    file = Path(path) / system / "tables" / f"{name}.csv"
    if not file.is_file():
        known = ", ".join(sorted(other.stem for other in file.parent.glob("*.csv"))) or "none"
        raise UserError(f"{file}: no such table; there are: {known}")
    store.require_whole(file)
    return read_csv(file)
