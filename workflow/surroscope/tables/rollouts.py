"""Tables of what a network does when it runs forward: rollouts, their fields and totals, errors at images of states."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from surroscope.diagnostics import coherence, correlation, scalars
from surroscope.diagnostics.scalars import Measured
from surroscope.symmetry import Action
from surroscope.tables import published

SHOWN_SNAPSHOTS = 5
SHOWN_STEPS = (1, 4, 16)
SHOWN_CELLS = 64
POOLED, WITHIN = ("value", "low", "high"), ("within", "within_low", "within_high")


def of_model(flights: Sequence[xr.Dataset], m: Measured) -> dict[str, pd.DataFrame]:
    """Every such table of one model at one epoch; fields are of the first seed."""
    return {
        "rollout": rollout(m.error, m.seeds, m.first),
        "rollout_error": rollout_error(m.error, m.seeds, m.first, scalars.trust_horizon(m)),
        "drift": drift(flights[0], m),
        "equivariance": equivariance(m),
        "prediction": prediction(flights[0], m.first),
        "rollout_fields": rollout_fields(flights[0], m.first),
    }


def rollout(errors: np.ndarray, seeds: np.ndarray, first: int) -> pd.DataFrame:
    """Cumulative SMSE (sum over the steps so far) for every start and later snapshot, over classes, probes, seeds.

    first: the snapshot of the first start
    """
    rows = []
    for start in range(errors.shape[-2]):
        cumulative = np.cumsum(errors[:, :, start, start + 1 :], axis=-1)
        for step in range(cumulative.shape[-1]):
            key = {"start": first + start, "snapshot": first + start + 1 + step}
            rows.append(key | coherence.summary(cumulative[..., step], seeds, positive=True))
    return pd.DataFrame(rows)


def rollout_error(errors: np.ndarray, seeds: np.ndarray, first: int, horizon: float) -> pd.DataFrame:
    """SMSE of each step of rollouts from the first start, over classes, probes, seeds; horizon: the trust horizon."""
    rows = [
        {"start": first, "snapshot": first + 1 + step}
        | coherence.summary(errors[:, :, 0, 1 + step], seeds, positive=True)
        for step in range(errors.shape[-1] - 1)
    ]
    return pd.DataFrame(rows).assign(trust_horizon=horizon)


def drift(flight: xr.Dataset, m: Measured) -> pd.DataFrame:
    """Relative change of each conserved total after each step of rollouts from the first snapshot that there are."""
    names = [str(name) for name in flight["conserved"].values]
    rows = [
        {"channel": name, "snapshot": m.first + step + 1}
        | coherence.summary(m.drift[:, :, step, f], m.seeds, positive=True)
        for f, name in enumerate(names)
        for step in range(m.drift.shape[2])
    ]
    return pd.DataFrame(rows)


def orbit(values: np.ndarray, actions: list[str], seeds: np.ndarray, positive: bool) -> pd.DataFrame:
    """A number at the image of every sample under every action, (n, A, ...), with the shift in cells of each."""
    rows = []
    for a, name in enumerate(actions):
        x, y = Action.parse(name).shift
        rows.append({"action": name, "shift_x": x, "shift_y": y} | coherence.summary(values[:, a], seeds, positive))
    return pd.DataFrame(rows)


def equivariance(m: Measured) -> pd.DataFrame:
    """SMSE(g s) / SMSE(s): how many times worse one step is at the image of a state."""
    return orbit(scalars.relative_errors(m), list(m.actions), m.seeds, positive=True)


def snapshots(flight: xr.Dataset) -> pd.DataFrame:
    """One trajectory of each class at equally spaced snapshots, first channel."""
    last = flight.sizes["snapshot"] - 1
    chosen = np.unique(np.linspace(0, last, SHOWN_SNAPSHOTS).round().astype(int))
    table = pixels(flight[["truth"]].isel(channel=[0], snapshot=chosen), chosen).rename(columns={"truth": "value"})
    table.insert(3, "time", flight["seconds"].values[table["snapshot"]])
    return table


def prediction(flight: xr.Dataset, first: int) -> pd.DataFrame:
    """Truth and rollout of one trajectory of each class after a few steps, first channel."""
    chosen = [first + step for step in SHOWN_STEPS if first + step < flight.sizes["snapshot"]]
    return pixels(flight[["truth", "prediction"]].isel(channel=[0], snapshot=chosen), chosen).assign(start=first)


def rollout_fields(flight: xr.Dataset, first: int) -> pd.DataFrame:
    """Truth and rollout of one trajectory of the first class, every channel and snapshot; of large grids some cells."""
    chosen = range(flight.sizes["snapshot"])
    cells = {axis: np.arange(flight.sizes[axis]) for axis in ("y", "x")}
    plane = min(flight.sizes["y"], flight.sizes["x"]) > 1
    some = slice(None, None, -(-max(map(len, cells.values())) // SHOWN_CELLS) if plane else 1)
    fields = flight[["truth", "prediction"]].assign_coords(cells).isel({"class": [0], "y": some, "x": some})
    return pixels(fields, chosen).assign(start=first)


def pixels(fields: xr.Dataset, snapshots: Iterable[int]) -> pd.DataFrame:
    """Fields (class, snapshot, channel, y, x) as rows: class, snapshot, channel, y, x, then a column a field."""
    axes = {"snapshot": list(snapshots)} | {axis: fields[axis].values for axis in ("y", "x")}
    numbered = fields.drop_vars("seconds").assign_coords(axes)
    return numbered.to_dataframe(dim_order=("class", "channel", "snapshot", "y", "x")).reset_index()


def training(history: pd.DataFrame) -> pd.DataFrame:
    """SMSE of one step at every epoch: median and range over seeds."""
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


def summed_error(m: Measured, horizon: int) -> np.ndarray:
    """The error of rollouts of so many steps, summed over them, of every unit and class: median over starts (n, C)."""
    starts = range(m.error.shape[2] + 1 - horizon)
    return np.median([m.error[:, :, t, t + 1 : t + 1 + horizon].sum(axis=-1) for t in starts], axis=0)


def rollout_points(m: Measured, classes: Sequence[str]) -> pd.DataFrame:
    """The points behind that correlation at the first and the last horizon: R and error of every unit and class."""
    ratio = scalars.off_diagonal_ratio(m.influence)
    found = [
        {"horizon": horizon, "class": name, "unit": unit, "ratio": ratio[unit, c], "error": error[unit, c]}
        for horizon in (1, m.influence.shape[2])
        for error in [summed_error(m, horizon)]
        for c, name in enumerate(classes)
        for unit in range(len(error))
    ]
    return pd.DataFrame(found).assign(**m.counts)


def rollout_correlation(m: Measured, system: str, architecture: str) -> pd.DataFrame:
    """Correlation of R with the rollout error at each horizon, over classes and units, and within classes.

    The error of a rollout is the sum of its steps' errors, the median over its starting times. Rollouts that left the
    floating-point numbers are left out; n_points counts the others.
    """
    ratio = scalars.off_diagonal_ratio(m.influence)
    theirs = published.CORRELATION.get((system, architecture), {})
    rows = []
    for horizon in range(1, m.influence.shape[2] + 1):
        error = summed_error(m, horizon)
        rows.append(
            {"horizon": horizon}
            | dict(zip(POOLED, correlation.estimate(correlation.pearson, ratio, error, m.seeds), strict=True))
            | dict(zip(WITHIN, correlation.estimate(correlation.within, ratio, error, m.seeds), strict=True))
            | {"n_points": int(np.isfinite(error).sum()), "published": theirs.get(horizon, np.nan)}
        )
    return pd.DataFrame(rows).assign(**m.counts)
