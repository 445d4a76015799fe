"""A finished study as labelled arrays, tables and figures, for plots and questions of one's own."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from surroscope.errors import UserError
from surroscope.plots.style import Moving, Options
from surroscope.report.catalogue import FIGURES, figure
from surroscope.report.draw import draw
from surroscope.runtime import provenance, store
from surroscope.tables.reading import read_csv

FALL = "fall of what responds, per unit of a natural gradient step"
SHARE = "share of what random steps change here that is told by"
# What the variables of each store are, where the store does not say it. All are dimensionless.
ABOUT = {
    "influence": {
        "influence": f"influence: {FALL}",
        "image_influence": f"influence on the image of a sample under a symmetry: {FALL}",
        "distance": "distance between the two inputs",
        "coupling": "influence between channels of the error, which adds up to the influence",
        "front_share": "share of the squared response that lies on fronts",
        "eigenvalue": "eigenvalues of the metric in the span of the gradients",
        "rank": "directions of the span that are kept",
        "discarded_share": "share of the gradients' energy in directions that are left out",
        "damping": "damping of the metric",
        "zero_gradients": "samples whose gradient is exactly zero",
    },
    "coupling": {
        "explained": f"{SHARE} another transition",
        "explained_class": f"{SHARE} another class",
        "explained_window": f"{SHARE} another window of times",
        "explained_group": f"{SHARE} another class and window",
        "coupling": "coupling κ of the two Jacobians",
        "matched_white": "matched transfer ρ of white noise",
        "matched_residual": "matched transfer ρ of the residuals of the study",
        "alignment": "cosine of the residuals",
        "distance": "distance between the two inputs",
    },
    "evaluation": {
        "error": "SMSE of each single step of a rollout, not cumulative",
        "cumulative_error": "SMSE of a rollout, summed over its steps so far",
        "persistence": "SMSE of no change, of each single step, not cumulative",
        "drift": "relative change of a conserved total since the first snapshot of a rollout",
        "image_error": "SMSE of one step from the image of a state under a symmetry",
    },
    "full": {"influence": f"influence in the space of all parameters: {FALL}", "relative": "certified relative error"},
    "cross": {"influence": f"influence among test and training samples: {FALL}", "leverage": "leverage of a sample"},
    "maps": {"response": "change of the prediction, per unit of a natural gradient step"},
}


class StudyTree(xr.DataTree):
    """A tree that says which nodes it has where one is asked for that it has not."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        """As of xarray.DataTree. Raises KeyError that lists the nodes there are."""
        try:
            return super().__getitem__(key)
        except KeyError:
            names = [node.relative_to(self) for node in self.subtree if node.has_data]
            raise KeyError(f"no {key!r}; there are {', '.join(names) or 'no nodes'}") from None


def open_study(path: str | Path) -> StudyTree:
    """What a study computed, as a tree of xarray datasets, read when it is used.

    path: a folder results/{study} that holds provenance.json, of a study that ran to its end

    Below /{system}/{model}:
    - influence: H of every observable on steps on every other, with spectra, distances, channels and fronts; not
      normalised
    - coupling: what the network shares between inputs, trained and untrained
    - evaluation: errors of rollouts, `error` of each single step and `cumulative_error` of all steps so far; errors at
      images of states, drift, fields of one rollout
    and where the study has them
    - full: H in the space of all parameters, with its certificate
    - cross: H among test and training samples, leverage
    - maps: response fields of chosen pairs
    - sensitivity: conclusions for other quantities, rank cuts and dampings, a `variant` each, of some seeds

    All but the last have the leading dimensions seed and epoch, NaN where a checkpoint has no such number (influence on
    images is of the last probed epoch alone). Variables say in `long_name` and `units` what they are. Attributes of the
    root are the configuration, with all defaults, and the versions. Raises UserError where the study is not finished,
    DamagedStoreError where a store is not what was written, and KeyError, with the nodes there are, where a node is
    asked for that there is not.
    """
    folder = Path(path)
    record = recorded(folder)
    digests = {Path(at).parts[-5:]: held["digest"] for at, held in record["stores"].items()}
    nodes: dict[str, xr.Dataset] = {"/": xr.Dataset(attrs={"config": record["config"], "versions": record["versions"]})}
    for system, chosen in record["config"]["systems"].items():
        for model in chosen["models"]:
            found: dict[str, xr.Dataset] = {}
            for name in ABOUT:
                of_seeds = [
                    [
                        _opened(folder, (system, model, f"seed{seed}", f"epoch{epoch}"), name, digests)
                        for epoch in chosen["models"][model]["probe_epochs"]
                        if (system, model, f"seed{seed}", f"epoch{epoch}", f"{name}.zarr") in digests
                    ]
                    for seed in record["config"]["seeds"]
                ]
                if any(of_seeds):
                    joined = _joined("seed", (_joined("epoch", of) for of in of_seeds if of))
                    found[name] = _described(joined, ABOUT[name])
            if "full" in found:  # whose responses are those of the influence
                responses = found["influence"].indexes["response"]
                labels = xr.Coordinates.from_pandas_multiindex(responses, "response")
                found["full"] = found["full"].assign_coords(labels)
            if record["config"].get("sensitivity"):
                found["sensitivity"] = _variants(read_table(folder, system, "sensitivity"), model)
            nodes |= {f"/{system}/{model}/{name}": dataset for name, dataset in found.items()}
    return StudyTree.from_dict(nodes)


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


def _opened(folder: Path, place: tuple[str, ...], name: str, digests: Mapping[tuple[str, ...], str]) -> xr.Dataset:
    path = folder.joinpath(*place, f"{name}.zarr")
    if store.manifest(path)["digest"] != digests[*place, path.name]:
        raise UserError(f"{path}: written again since the study was finished; run snakemake, which finishes it again")
    found = store.read(path, chunks={})
    found = found.assign_coords(seed=found.attrs["seed"], epoch=found.attrs["epoch"])
    # Of modes there are as many as the span has directions, which may differ between checkpoints.
    numbered = {"mode", "start", "snapshot"} & set(found.sizes)
    found = found.assign_coords({axis: np.arange(found.sizes[axis]) for axis in numbered})
    if responses := json.loads(found.attrs.pop("responses", "[]")):
        labels = {key: ("response", [response[key] for response in responses]) for key in ("observable", "step")}
        found = found.assign_coords(labels).set_index(response=["observable", "step"])
    return found


def _joined(dimension: str, datasets: Iterable[xr.Dataset]) -> xr.Dataset:
    return xr.concat(list(datasets), dimension, join="outer", combine_attrs="drop_conflicts")


def _described(dataset: xr.Dataset, about: Mapping[str, str]) -> xr.Dataset:
    if "cumulative_error" in about:
        steps = dataset["error"]
        dataset = dataset.assign(cumulative_error=steps.cumsum("snapshot").where(steps.notnull()))
    for name in about.keys() & dataset.data_vars.keys():
        dataset[name].attrs |= {"long_name": about[name], "units": "1"}
    return dataset


def _variants(table: pd.DataFrame, model: str) -> xr.Dataset:
    """The sensitivity of one model, (seed, variant)."""
    rows = table[table["model"] == model].drop(columns="model")
    rows = rows.assign(variant=rows.groupby("seed").cumcount()).set_index(["seed", "variant"])
    return rows.to_xarray().set_coords(["quantity", "cut", "damping"])


def read_table(path: str | Path, system: str, name: str) -> pd.DataFrame:
    """A tidy table of a study's system, as its figures show it: two_time, scalars, checkpoints, ...

    Of `rollout` the errors are cumulative, summed over the steps so far. Raises UserError where there is no such table,
    and DamagedStoreError where it is not what was written.
    """
    file = Path(path) / system / "tables" / f"{name}.csv"
    if not file.is_file():
        known = ", ".join(sorted(other.stem for other in file.parent.glob("*.csv"))) or "none"
        raise UserError(f"{file}: no such table; there are: {known}")
    store.require_whole(file)
    return read_csv(file)


def verdict(path: str | Path) -> pd.DataFrame:
    """The verdicts of a finished study, a row a network, indexed by system and model.

    path: a folder results/{study}

    Columns are label, sentence and details, the published signature (its label), and what else the page says of it in
    plain words, among it its answer; docs/verdict.md defines them. Raises UserError where the study is not finished,
    and DamagedStoreError where a file is not what was written.
    """
    folder, rows = Path(path), {}
    for system in recorded(folder)["config"]["systems"]:
        file = folder / system / "tables" / "verdict.json"
        store.require_whole(file)
        for model, told in json.loads(file.read_text()).items():
            rows[system, model] = told | {"signature": told["signature"]["label"]}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["system", "model"])


def plot(
    name: str,
    study: str | Path,
    *,
    system: str | None = None,
    only: Mapping[str, Collection[Any]] | None = None,
    **options: Any,
) -> Figure:
    """Draw a figure of a finished study as the study drew it, with other options where they are given.

    name: of a figure as docs/gallery.md and its file have it: two_time, time_lag, class_transfer, ...
    study: a folder results/{study}
    system: which, unless the study has one alone
    only: column of the figure's table -> the values of rows to draw, as {"model": ["vit"]}; all, unless given
    options: of `surroscope.plots.style.Options` but for dpi; what is not given is as the study has it in `figures`

    Gives a matplotlib figure, of an animation its first frame: change it, and `savefig` it. Raises UserError where
    there is no such figure, table, column or option, where nothing is left to draw, and where the study is not
    finished; DamagedStoreError where a table is not what was written.
    """
    folder = Path(study)
    systems = list(recorded(folder)["config"]["systems"])
    if system is None and len(systems) > 1:
        raise UserError(f"{folder} has systems {', '.join(systems)}; say which, as in system={systems[0]!r}")
    place = folder / (system or systems[0])
    try:
        table = figure(name).table
    except KeyError:
        there = [known for known, spec in FIGURES.items() if (place / f"tables/{spec.table}.csv").is_file()]
        raise UserError(f"{place}: no figure {name!r}; there are: {', '.join(there)}") from None
    known = [field.name for field in fields(Options) if field.name != "dpi"]  # which is of files
    if unknown := [option for option in options if option not in known]:
        raise UserError(f"plot has no option {', '.join(unknown)}; there are: {', '.join(known)}")
    rows = read_table(folder, place.name, table)
    for column, values in (only or {}).items():
        if column not in rows:
            raise UserError(f"only: table {table} has no column {column!r}; there are: {', '.join(rows)}")
        values_there = ", ".join(map(str, rows[column].unique()))
        rows = rows[rows[column].isin(list(values))]
        if rows.empty:
            raise UserError(f"only: no row is left with {column} {list(values)}; there are: {values_there}")
    # What made the study's own figures, one for all of a system.
    made = next(filter(None, map(store.made, (place / "figures").glob("*.*"))), None)
    if made is None:
        raise UserError(f"{place}/figures: no figure says how it was made; run snakemake, which draws them again")
    chosen = {option: value for option, value in made["settings"].items() if option in known} | options
    try:
        drawn = draw(name, rows, Options(**chosen))
    except ValueError as error:
        raise UserError(f"{place.name}, figure {name}: {error}") from None
    if isinstance(drawn, Moving):
        drawn.update(0)
        return drawn.figure
    return drawn
