"""Aggregate all seeds of one system -> tidy tables (CSV), every number that a figure shows, and the verdict."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.config import jobs
from surroscope.diagnostics import bootstrap, coherence, scalars
from surroscope.diagnostics.scalars import SCALARS, Measured
from surroscope.errors import UserError
from surroscope.influence.matrices import MATRIX
from surroscope.influence.normalize import NORMALIZATIONS, standard
from surroscope.influence.responses import Response
from surroscope.influence.solvers import QUANTITY
from surroscope.runtime import cli, store
from surroscope.stages.influence import responses_of
from surroscope.tables import parts, published, rollouts

# Bins of distance and half their width in bins, as in arXiv 2509.00024; other systems get those of CE.
BINS = {"CE": (19, 1), "NS": (15, 2)}
# These tables are of one kind of influence, the study's first solver's, and so say which.
OF_ONE_QUANTITY = ("two_time_training", "rollout_correlation", "checkpoints")
# One-step errors by epoch, from the history of training: column -> what it is.
ONE_STEP = {
    "validation": "one-step SMSE on validation trajectories",
    "persistence": "SMSE of predicting no change",
    "train": "one-step SMSE on training transitions, mean of the epoch",
}


def stage(
    settings: jobs.Tables,
    *,
    influences: list[Path],
    evaluations: list[Path],
    histories: list[Path],
    tables: cli.Outputs,
    verdict: cli.Output,
    sensitivities: Sequence[Path] = (),
    crosses: Sequence[Path] = (),
    maps: Sequence[Path] = (),
) -> None:
    matrices = [store.read(path).load().isel(solver=0) for path in influences]
    flights = [store.read(path) for path in evaluations]
    history = pd.concat([pd.read_csv(path) for path in histories], ignore_index=True)
    frames: dict[str, list[pd.DataFrame]] = {path.stem: [] for path in tables}
    verdicts = {}
    for model in settings.models:
        errors = history[history.model == model]
        epochs = sorted({matrix.attrs["epoch"] for matrix in matrices if matrix.attrs["model"] == model})
        by_epoch = {
            epoch: [(m, f.load()) for m, f in zip(matrices, flights, strict=True) if of(m) == of(f) == (model, epoch)]
            for epoch in epochs
        }
        final, flown = ([pair[i] for pair in by_epoch[epochs[-1]]] for i in (0, 1))
        measured = {epoch: gather(pairs, settings.system) for epoch, pairs in by_epoch.items()}
        last = measured[epochs[-1]]
        counts = {"n_seeds": len(final), "n_probes": final[0].sizes["probe"]}
        found = influence_tables(final, settings.system, settings.normalization)
        found |= parts.resolved(final, last.seeds) | parts.images(final)
        found |= rollouts.of_model(flown, last)
        found |= {
            "training": training(errors),
            "spectrum": pd.DataFrame([{"epoch": epoch} | spectrum(m) for epoch, m in measured.items()]),
            "two_time_training": two_time_training(measured),
            "rollout_correlation": rollout_correlation(last, settings.system, settings.architectures.get(model, "")),
            "checkpoints": checkpoints(measured, errors),
            "scalars": main_numbers(last, errors, epochs[-1], settings.system, settings.architectures.get(model, "")),
        }
        quantity = QUANTITY[str(final[0]["solver"].item())]
        for name in OF_ONE_QUANTITY:
            found[name].insert(0, "quantity", quantity)
        numbers = found["scalars"].set_index("quantity")
        half_life, transfer = (
            scalars.Estimate(*numbers.loc[name, list(scalars.Estimate._fields)])
            for name in ("half_life", "class_transfer_ratio")
        )
        validation, persistence = (float(numbers.loc[name, "value"]) for name in ("validation", "persistence"))
        reach = len(last.lags["intra"]) // 2
        label, sentence = scalars.verdict(half_life, transfer, validation, persistence, reach)
        verdicts[model] = {"label": label, "sentence": sentence, "influence": quantity}
        for name, table in found.items():
            if name in frames:
                frames[name].append(labelled(table, model, counts))
    first = next(f for f in flights if f.attrs["model"] == settings.models[0]).load()
    frames["snapshots"].append(rollouts.snapshots(first))
    frames["rollout"].append(rollouts.baseline(frames["rollout"][0], last))
    for name, table in parts.optional(sensitivities, crosses, maps).items():
        frames[name].append(table)
    for path in tables:
        with store.atomic(path) as temporary:
            # A system without symmetries has no images.
            own = frames[path.stem] or [pd.DataFrame(columns=["model"])]
            pd.concat(own, ignore_index=True).to_csv(temporary, index=False)
    with store.atomic(verdict) as temporary:
        temporary.write_text(json.dumps(verdicts, indent=1) + "\n")


def of(dataset: xr.Dataset) -> tuple[str, int]:
    return dataset.attrs["model"], dataset.attrs["epoch"]


def labelled(table: pd.DataFrame, model: str, counts: dict[str, int]) -> pd.DataFrame:
    """The table with its model, and with n where it is of all seeds and does not say it itself."""
    if "median" in table:
        table = table.assign(**{name: n for name, n in counts.items() if name not in table})
    table.insert(0, "model", model)
    return table


def gather(pairs: list[tuple[xr.Dataset, xr.Dataset]], system: str) -> Measured:
    """Influence and evaluation of all seeds at one epoch, unit by unit."""
    matrices, flights = zip(*pairs, strict=True)
    cost = [m.isel(response=responses_of(m).index(Response("smse"))) for m in matrices]

    def stacked(datasets: Sequence[xr.Dataset], name: str, *dims: str) -> np.ndarray:
        return np.concatenate([dataset[name].transpose("probe", *dims).values for dataset in datasets])

    influence = stacked(cost, "influence", *MATRIX)
    size = influence.shape[1] * influence.shape[2]
    try:
        standardised = standard(influence.reshape(-1, size, size)).reshape(influence.shape)
    except ValueError as error:
        about = "{model} on {system}, epoch {epoch}".format_map(matrices[0].attrs)
        raise UserError(f"{about}, influence of the error on itself: {error}; probe another epoch") from None
    distance = stacked(matrices, "distance", *MATRIX)
    centres, binned = coherence.binned(standardised, distance, *BINS.get(system, BINS["CE"]))
    return Measured(
        seeds=np.repeat([m.attrs["seed"] for m in matrices], matrices[0].sizes["probe"]),
        influence=influence,
        standardised=standardised,
        centres=tuple(centres),
        binned=binned,
        eigenvalue=stacked(cost, "eigenvalue", "mode"),
        outputs=matrices[0].attrs["outputs"],
        error=stacked(flights, "error", "class", "start", "snapshot"),
        persistence=stacked(flights, "persistence", "class", "start", "snapshot"),
        image_error=stacked(flights, "image_error", "action", "class", "time"),
        actions=tuple(str(name) for name in flights[0]["action"].values),
        drift=stacked(flights, "drift", "class", "step", "conserved"),
    )


def influence_tables(matrices: list[xr.Dataset], system: str, normalization: str) -> dict[str, pd.DataFrame]:
    """The influence statistics of one model: matrices of all seeds pooled, a table part a response."""
    classes = [str(name) for name in matrices[0]["response_class"].values]
    seeds = np.repeat([m.attrs["seed"] for m in matrices], matrices[0].sizes["probe"])
    parts: dict[str, list[pd.DataFrame]] = {"two_time": [], "class_transfer": [], "time_lag": [], "interpolation": []}
    for number, response in enumerate(responses_of(matrices[0])):
        # Only influence of an observable on itself has a diagonal to normalise by.
        chosen = normalization if response.observable == response.step else "standard"
        h = normalized(matrices, number, response, system, chosen)
        for name, table in (
            ("two_time", coherence.two_time(h, seeds)),
            ("class_transfer", coherence.class_transfer(h, seeds, classes)),
            ("time_lag", coherence.time_lag(h, seeds)),
        ):
            table.insert(0, "normalization", chosen)
            table.insert(0, "step", response.step)
            table.insert(0, "observable", response.observable)
            parts[name].append(table)
        if response == Response("smse"):
            distances = np.concatenate([matrix["distance"].values for matrix in matrices])
            table = coherence.interpolation(h, seeds, distances, *BINS.get(system, BINS["CE"]))
            table.insert(0, "normalization", chosen)
            parts["interpolation"].append(table)
    quantity = QUANTITY[str(matrices[0]["solver"].item())]
    found = {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}
    for table in found.values():
        table.insert(0, "quantity", quantity)
    return found


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


def spectrum(m: Measured) -> dict[str, float]:
    """Eigenvalues of η̂ in the cost's span, pooled over probes and seeds."""
    pooled = m.eigenvalue[~np.isnan(m.eigenvalue)]
    return (
        {"minimum": float(pooled.min())}
        | coherence.quartiles(pooled)
        | {"maximum": float(pooled.max())}
        | {name: SCALARS[name].value(m) for name in ("condition", "largest_metric_eigenvalue")}
    )


def two_time_training(measured: dict[int, Measured]) -> pd.DataFrame:
    """Standardised influence of the cost between times, epoch by epoch."""
    tables = [coherence.two_time(m.standardised, m.seeds).assign(epoch=epoch) for epoch, m in measured.items()]
    return pd.concat(tables, ignore_index=True)


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


def rollout_correlation(m: Measured, system: str, architecture: str) -> pd.DataFrame:
    """Pearson's correlation, over classes and units, of R with the rollout error at each horizon.

    The error of a rollout is the sum of its steps' errors, the median over its starting times. Rollouts that left the
    floating-point numbers are left out; n_points counts the others.
    """
    ratio = scalars.off_diagonal_ratio(m.influence)
    rows = []
    theirs = published.CORRELATION.get((system, architecture), {})
    for horizon in range(1, m.influence.shape[2] + 1):
        starts = range(m.error.shape[2] + 1 - horizon)
        cumulative = [m.error[:, :, t, t + 1 : t + 1 + horizon].sum(axis=-1) for t in starts]
        error = np.median(cumulative, axis=0)
        points = int(np.isfinite(error).sum())

        def correlation(units: np.ndarray, error: np.ndarray = error) -> np.ndarray:
            with np.errstate(divide="ignore"):  # of a perfect one it is infinite
                return np.arctanh(pearson(ratio[units].ravel(), error[units].ravel()))

        # In Fisher's z, where ends cannot leave the range of a correlation.
        low, high = np.tanh(bootstrap.interval(correlation, m.seeds))
        value = np.tanh(correlation(np.arange(len(m.seeds))))
        ours = {"horizon": horizon, "value": value, "low": low, "high": high, "n_points": points}
        rows.append(ours | {"published": theirs.get(horizon, np.nan)})
    return pd.DataFrame(rows).assign(n_seeds=len(set(m.seeds)), n_probes=len(m.seeds) // len(set(m.seeds)))


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of the finite points of two samples; NaN where one is constant."""
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if not x.size or x.std() == 0 or y.std() == 0:
        return np.nan
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))


def checkpoints(measured: dict[int, Measured], history: pd.DataFrame) -> pd.DataFrame:
    """One row a checkpoint: every scalar of each seed at each probed epoch."""
    rows = []
    for epoch, m in measured.items():
        for seed in dict.fromkeys(m.seeds.tolist()):
            own = m.take(np.flatnonzero(m.seeds == seed))
            at = history[(history.epoch == epoch) & (history.seed == seed)].iloc[0]
            one_step = {name: float(at[name]) for name in ONE_STEP}
            values = {name: scalar.value(own) for name, scalar in SCALARS.items()}
            rows.append({"seed": seed, "epoch": epoch} | one_step | values | {"n_probes": len(own.seeds)})
    return pd.DataFrame(rows)


def main_numbers(m: Measured, history: pd.DataFrame, epoch: int, system: str, architecture: str) -> pd.DataFrame:
    """Every scalar at one epoch over all seeds, with its 95 % interval and what was published of it."""
    at = history[history.epoch == epoch]
    rows = []
    for name, text in ONE_STEP.items():
        values = at[name].to_numpy(float)
        low, high = bootstrap.median_interval(values, at["seed"].to_numpy())
        rows.append({"quantity": name, "value": np.median(values), "low": low, "high": high, "description": text})
    names = list(SCALARS)

    def all_of(units: np.ndarray) -> np.ndarray:
        part = m.take(units)
        return np.array([SCALARS[name].value(part) for name in names])

    ends = bootstrap.interval(all_of, m.seeds)
    for name, value, low, high in zip(names, all_of(np.arange(len(m.seeds))), *ends, strict=True):
        rows.append(
            {"quantity": name, "value": value, "low": low, "high": high}
            | {"description": SCALARS[name].description, "n_probes": len(m.seeds) // len(set(m.seeds))}
        )
    # A number that this study cannot have (a lag beyond its times) has no row.
    table = pd.DataFrame(rows).dropna(subset="value").assign(n_seeds=len(set(m.seeds)))
    table["published_low"], table["published_high"] = zip(
        *(published.ends(system, architecture, name) for name in table["quantity"]), strict=True
    )
    return table


if __name__ == "__main__":
    cli.run(stage)
