"""Aggregate all seeds of one system -> tidy tables (CSV), every number that a figure shows, and the verdict."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from surroscope import store
from surroscope.catalogue import QUANTITIES
from surroscope.diagnostics import coherence, scalars
from surroscope.errors import UserError
from surroscope.response.labelled import MATRIX, QUANTITY
from surroscope.response.normalize import NORMALIZATIONS
from surroscope.response.rows import Response
from surroscope.stages import cli, part_tables
from surroscope.stages.influence import responses_of

# Bins of distance and half their width in bins, as in arXiv 2509.00024; other systems get those of CE.
BINS = {"CE": (19, 1), "NS": (15, 2)}
SHOWN_SNAPSHOTS = 5
SHOWN_STEPS = (1, 4, 16)


@dataclass(frozen=True)
class Settings:
    system: str
    models: list[str]
    normalization: str


def stage(
    settings: Settings,
    *,
    influences: list[Path],
    rollouts: list[Path],
    histories: list[Path],
    sensitivities: list[Path],
    crosses: list[Path],
    maps: list[Path],
    tables: list[Path],
    verdict: Path,
) -> None:
    matrices = [store.read(path).load().isel(solver=0) for path in influences]
    flights = [store.read(path).load() for path in rollouts]
    history = pd.concat([pd.read_csv(path) for path in histories], ignore_index=True)
    frames: dict[str, list[pd.DataFrame]] = {path.stem: [] for path in tables}
    verdicts = {}
    for model in settings.models:
        own = [matrix for matrix in matrices if matrix.attrs["model"] == model]
        last = max(matrix.attrs["epoch"] for matrix in own)
        final = [matrix for matrix in own if matrix.attrs["epoch"] == last]
        counts = {"n_seeds": len(final), "n_probes": final[0].sizes["probe"]}
        found = {
            "spectrum": spectrum(own),
            "training": training(history[history.model == model]),
            "rollout": rollout([flight for flight in flights if flight.attrs["model"] == model], "error"),
            "prediction": prediction(next(flight for flight in flights if flight.attrs["model"] == model)),
        }
        found |= influence_tables(final, settings.system, settings.normalization)
        found |= part_tables.resolved(final)
        cost = {
            name: table[(table.observable == "smse") & (table.step == "smse")]
            for name, table in found.items()
            if "observable" in table
        }
        rows = scalars.signature(**cost | {"interpolation": found["interpolation"]})
        rows += training_scalars(final, history[history.model == model], last)
        found["scalars"] = pd.DataFrame([asdict(row) for row in rows])
        for name, table in found.items():
            if name not in frames:
                continue
            frames[name].append(labelled(table, model, {} if name in ("prediction", "training") else counts))
        one_step = frames["scalars"][-1]["quantity"].isin(["validation", "persistence", "train"])
        frames["scalars"][-1].loc[one_step, "n_probes"] = np.nan
        errors = found["scalars"].set_index("quantity")["value"]
        half_life, transfer = standard_conclusions(final, settings.system)
        reach = int(cost["time_lag"]["lag"].max())
        label, sentence = scalars.verdict(
            half_life, transfer, float(errors["validation"]), float(errors["persistence"]), reach
        )
        influence = QUANTITIES[QUANTITY[str(final[0]["solver"].item())]]
        verdicts[model] = {"label": label, "sentence": sentence, "influence": influence}

    baseline = [flight for flight in flights if flight.attrs["model"] == settings.models[0]]
    counts = {"n_seeds": len(baseline), "n_probes": baseline[0].sizes["probe"]}
    frames["rollout"].append(labelled(rollout(baseline, "persistence"), "persistence", counts))
    frames["snapshots"].append(snapshots(flights[0]))
    for name, table in part_tables.optional(sensitivities, crosses, maps).items():
        frames[name].append(table)
    for path in tables:
        with store.atomic(path) as temporary:
            pd.concat(frames[path.stem], ignore_index=True).to_csv(temporary, index=False)
    with store.atomic(verdict) as temporary:
        temporary.write_text(json.dumps(verdicts, indent=1) + "\n")


def labelled(table: pd.DataFrame, model: str, counts: dict[str, int]) -> pd.DataFrame:
    table = table.assign(**counts)
    table.insert(0, "model", model)
    return table


def standard_conclusions(matrices: list[xr.Dataset], system: str) -> tuple[float, float]:
    """Half-life and class transfer of the standardised influence, which verdicts are about, whatever is drawn."""
    h = normalized(matrices, 0, Response("smse"), system, "standard")
    classes = [str(name) for name in matrices[0]["response_class"].values]
    return scalars.half_life(coherence.time_lag(h)), scalars.transfer_ratio(coherence.class_transfer(h, classes))


def influence_tables(matrices: list[xr.Dataset], system: str, normalization: str) -> dict[str, pd.DataFrame]:
    """The influence statistics of one model: matrices of all seeds pooled, a table part a response."""
    classes = [str(name) for name in matrices[0]["response_class"].values]
    parts: dict[str, list[pd.DataFrame]] = {"two_time": [], "class_transfer": [], "time_lag": [], "interpolation": []}
    symmetric = []
    for number, response in enumerate(responses_of(matrices[0])):
        if response.observable == response.step == "smse":
            symmetric.append(
                {"action": response.action} | own_image(normalized(matrices, number, response, system, "standard"))
            )
        if response.action != "e":
            continue
        # Only influence of an observable on itself has a diagonal to normalise by.
        chosen = normalization if response.observable == response.step else "standard"
        h = normalized(matrices, number, response, system, chosen)
        for name, table in (
            ("two_time", coherence.two_time(h)),
            ("class_transfer", coherence.class_transfer(h, classes)),
            ("time_lag", coherence.time_lag(h)),
        ):
            table.insert(0, "normalization", chosen)
            table.insert(0, "step", response.step)
            table.insert(0, "observable", response.observable)
            parts[name].append(table)
        if response == Response("smse"):
            distances = np.concatenate([matrix["distance"].values for matrix in matrices])
            table = coherence.interpolation(h, distances, *BINS.get(system, BINS["CE"]))
            table.insert(0, "normalization", chosen)
            parts["interpolation"].append(table)
    quantity = QUANTITY[str(matrices[0]["solver"].item())]
    found = {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}
    found["symmetry"] = pd.DataFrame(symmetric)
    for table in found.values():
        table.insert(0, "quantity", quantity)
    return found


def own_image(h: np.ndarray) -> dict[str, float]:
    """Influence of a step at a sample on the same sample, moved or not."""
    size = h.shape[1] * h.shape[2]
    return coherence.quartiles(np.diagonal(h.reshape(-1, size, size), axis1=1, axis2=2))


def normalized(
    matrices: list[xr.Dataset], number: int, response: Response, system: str, normalization: str
) -> np.ndarray:
    """One response of all seeds and probes, (n, C, T, C, T), each matrix normalised."""
    raw = np.concatenate([m["influence"].isel(response=number).transpose("probe", *MATRIX).values for m in matrices])
    size = raw.shape[1] * raw.shape[2]
    try:
        return NORMALIZATIONS[normalization](raw.reshape(-1, size, size)).reshape(raw.shape)
    except ValueError as error:
        raise UserError(
            f"{matrices[0].attrs['model']}, observable {response.observable}: {error}; a network that keeps it exactly "
            f"has no gradient of it. Leave it out of systems.{system}.observables"
        ) from None


def spectrum(matrices: list[xr.Dataset]) -> pd.DataFrame:
    """Eigenvalues of η̂ in the cost's span, epoch by epoch, pooled over probes and seeds."""
    rows = []
    for epoch in sorted({matrix.attrs["epoch"] for matrix in matrices}):
        chosen = [matrix for matrix in matrices if matrix.attrs["epoch"] == epoch]
        spectra = np.concatenate([matrix["eigenvalue"].isel(response=0).values for matrix in chosen])
        largest, smallest = np.nanmax(spectra, axis=1), np.nanmin(spectra, axis=1)
        pooled = spectra[~np.isnan(spectra)]
        rows.append(
            {"epoch": epoch, "minimum": pooled.min()}
            | coherence.quartiles(pooled)
            | {
                "maximum": pooled.max(),
                "condition": np.median(np.where(smallest > 0, largest / np.where(smallest > 0, smallest, 1), np.inf)),
                "largest_metric_eigenvalue": np.median(largest) * chosen[0].attrs["outputs"],
            }
        )
    return pd.DataFrame(rows)


def training(history: pd.DataFrame) -> pd.DataFrame:
    """SMSE of every epoch: median and range over seeds."""
    by_epoch = history.groupby("epoch")
    columns = {
        f"{part}_{name}": getattr(by_epoch[part], how)()
        for part in ("train", "validation")
        for name, how in (("minimum", "min"), ("median", "median"), ("maximum", "max"))
    }
    table = pd.DataFrame(
        columns | {"persistence": by_epoch["persistence"].median(), "n_seeds": by_epoch["seed"].nunique()}
    )
    return table.reset_index()


def rollout(flights: list[xr.Dataset], name: str) -> pd.DataFrame:
    """Cumulative SMSE (sum over the steps so far) for every start and later snapshot, over classes, probes, seeds."""
    errors = np.stack([flight[name].values for flight in flights])
    rows = []
    for start in range(errors.shape[-2]):
        cumulative = np.cumsum(errors[..., start, start + 1 :], axis=-1)
        for step in range(cumulative.shape[-1]):
            rows.append({"start": start, "snapshot": start + 1 + step} | coherence.quartiles(cumulative[..., step]))
    return pd.DataFrame(rows)


def snapshots(flight: xr.Dataset) -> pd.DataFrame:
    """One trajectory of each class at equally spaced snapshots, first channel."""
    last = flight.sizes["snapshot"] - 1
    chosen = np.unique(np.linspace(0, last, SHOWN_SNAPSHOTS).round().astype(int))
    fields = flight["truth"].isel(channel=0, snapshot=chosen).assign_coords(snapshot=chosen).drop_vars("time")
    table = pixels({"value": fields})
    table.insert(2, "time", flight["time"].values[table["snapshot"]])
    return table


def prediction(flight: xr.Dataset) -> pd.DataFrame:
    """Truth and rollout of one trajectory of each class after a few steps, first channel."""
    chosen = [step for step in SHOWN_STEPS if step < flight.sizes["snapshot"]]
    names = ("truth", "prediction")
    table = pixels(
        {
            name: flight[name].isel(channel=0, snapshot=chosen).assign_coords(snapshot=chosen).drop_vars("time")
            for name in names
        }
    )
    table.insert(1, "start", 0)
    return table


def pixels(fields: dict[str, xr.DataArray]) -> pd.DataFrame:
    numbered = {
        name: field.assign_coords({axis: np.arange(field.sizes[axis]) for axis in ("y", "x")})
        for name, field in fields.items()
    }
    table = xr.Dataset(numbered).to_dataframe(dim_order=("class", "snapshot", "y", "x")).reset_index()
    table.insert(2, "channel", table.pop("channel"))
    return table


def training_scalars(matrices: list[xr.Dataset], history: pd.DataFrame, epoch: int) -> Iterable[scalars.Scalar]:
    """One-step error and the metric's numbers at the epoch that was probed last."""
    at = history[history.epoch == epoch]
    cost = [matrix.isel(response=0) for matrix in matrices]
    largest = np.concatenate([np.nanmax(matrix["eigenvalue"].values, axis=-1) for matrix in cost])
    for name, values, text in (
        ("validation", at["validation"], "one-step SMSE on validation trajectories"),
        ("persistence", at["persistence"], "SMSE of predicting no change"),
        ("train", at["train"], "one-step SMSE on training transitions, mean of the epoch"),
        ("largest_metric_eigenvalue", largest * cost[0].attrs["outputs"], "largest eigenvalue of M η̂"),
        ("rank", np.concatenate([matrix["rank"].values for matrix in cost]), "directions kept of the span"),
    ):
        middle = coherence.quartiles(np.asarray(values, float))
        yield scalars.Scalar(name, middle["median"], middle["q25"], middle["q75"], text)


if __name__ == "__main__":
    cli.run(
        stage,
        Settings,
        paths=("verdict",),
        lists=("influences", "rollouts", "histories", "tables"),
        parts=("sensitivities", "crosses", "maps"),
        writes=("tables", "verdict"),
    )
