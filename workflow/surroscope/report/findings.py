"""What figures show in this study, a sentence each, computed from their tables; of some there is no sentence to say."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from surroscope.diagnostics import verdict
from surroscope.diagnostics.coupling import LAG


def percent(value: float) -> str:
    if not np.isfinite(value):
        return "–" if np.isnan(value) else "∞"
    return verdict.percent(value)


def number(value: float) -> str:
    return f"{value:.2g}".replace("-", "−") if np.isfinite(value) else "–" if np.isnan(value) else "∞"


def by_model(table: pd.DataFrame, of: Callable[[pd.DataFrame], str]) -> str:
    """One clause a network, in the order of the table."""
    return "; ".join(f"{name}: {of(rows)}" for name, rows in table.groupby("model", sort=False)) + "."


def at(rows: pd.DataFrame, **where: object) -> float:
    """Mean of the medians of the rows where columns have these values; NaN of none."""
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return float(rows["median"].mean()) if len(rows) else np.nan


def of_cost(table: pd.DataFrame) -> pd.DataFrame:
    """Responses of the cost to steps on the cost, which figures are of."""
    return table[(table["observable"] == "smse") & (table["step"] == "smse")]


def lags(rows: pd.DataFrame) -> float:
    """Within a class, at a lag of eight steps either way over that at none; NaN where there is none so far."""
    within = rows[rows["relation"] == "intra-class"]
    later = within[within["lag"].abs() == LAG]["median"].mean()
    return float(later / at(within, lag=0))


def training(table: pd.DataFrame) -> str:
    def of(rows: pd.DataFrame) -> str:
        last = rows.iloc[-1]
        return f"one step errs by {percent(last['validation_median'] / last['persistence'])} of no change in validation"

    return by_model(table, of)


def rollout(table: pd.DataFrame) -> str:
    start, end = table["start"].min(), table["snapshot"].max()
    still = at(table, model="persistence", start=start, snapshot=end)

    def of(rows: pd.DataFrame) -> str:
        return f"{percent(at(rows, start=start, snapshot=end) / still)} of the summed error of no change"

    return f"From snapshot {start} to {end}, " + by_model(table[table["model"] != "persistence"], of)


def coupling_lag(table: pd.DataFrame) -> str:
    trained = table[table["weights"] == "trained"]

    def of(rows: pd.DataFrame) -> str:
        shared, alike = (lags(rows[rows["measure"] == name]) for name in ("explained", "alignment"))
        return f"what is shared keeps {percent(shared)}, the likeness of what is left to learn {percent(alike)}"

    return f"At {LAG} steps apart within a class, mean of before and after, " + by_model(trained, of)


def coupling_classes(table: pd.DataFrame) -> str:
    shown = table[(table["weights"] == "trained") & (table["measure"] == "kernel_transfer")]
    between = shown[shown["response_class"] != shown["perturbation_class"]]

    def of(rows: pd.DataFrame) -> str:
        least, most = rows.loc[rows["median"].idxmin()], rows.loc[rows["median"].idxmax()]
        return (
            f"from {percent(least['median'])} (to {least['response_class']} from {least['perturbation_class']}) to "
            f"{percent(most['median'])} (to {most['response_class']} from {most['perturbation_class']})"
        )

    return "Kernel transfer between classes, " + by_model(between, of)


def time_lag(table: pd.DataFrame) -> str:
    def of(rows: pd.DataFrame) -> str:
        other = at(rows, relation="inter-class", lag=0) / at(rows, relation="intra-class", lag=0)
        told = f"{percent(lags(rows))} of that at lag 0 is left"
        return told if np.isnan(other) else f"{told}, and at lag 0 {percent(other)} of it reaches other classes"

    return f"After {LAG} steps, " + by_model(of_cost(table), of)


def apart(table: pd.DataFrame, key: str, words: tuple[str, str]) -> str:
    """Medians of the rows in which step and response have the same `key`, and of the others."""

    def of(rows: pd.DataFrame) -> str:
        same = rows[f"perturbation_{key}"] == rows[f"response_{key}"]
        own, other = (number(rows[which]["median"].median()) for which in (same, ~same))
        return f"{own} {words[0]}, {other} {words[1]}"

    return "Median, " + by_model(of_cost(table), of)


def two_time(table: pd.DataFrame) -> str:
    return apart(table, "time", ("on the diagonal", "off it"))


def class_transfer(table: pd.DataFrame) -> str:
    return apart(table, "class", ("within", "between classes"))


def interpolation(table: pd.DataFrame) -> str:
    def of(rows: pd.DataFrame) -> str:
        ends = rows.sort_values("distance")
        return (
            f"{number(ends['median'].iloc[0])} at the nearest, {number(ends['median'].iloc[-1])} at the furthest inputs"
        )

    return by_model(table, of)


def drift(table: pd.DataFrame) -> str:
    last = table[table["snapshot"] == table["snapshot"].max()]

    def of(rows: pd.DataFrame) -> str:
        worst = rows.loc[rows["median"].idxmax()]
        return f"{worst['channel'].replace('_', ' ')} most, by {percent(worst['median'])}"

    return f"At snapshot {table['snapshot'].max()} drifts, " + by_model(last, of)


def equivariance(table: pd.DataFrame) -> str:
    def of(rows: pd.DataFrame) -> str:
        return f"{number(rows['median'].min())} to {number(rows['median'].max())} times"

    return "Medians of the error at images are, " + by_model(table[table["action"] != "e"], of)


def rollout_correlation(table: pd.DataFrame) -> str:
    first = table["horizon"].min()

    def of(rows: pd.DataFrame) -> str:
        row = rows.iloc[0]
        told = "" if np.isnan(row["low"]) else f" ({number(row['low'])} to {number(row['high'])})"
        return f"{number(row['value'])}{told}"

    return f"At a horizon of {first}, " + by_model(table[table["horizon"] == first], of)


def sensitivity(table: pd.DataFrame) -> str:
    settled = table[table["converged"].astype(bool)]

    def of(rows: pd.DataFrame) -> str:
        half, transfer = rows["half_life"], rows["class_transfer"]
        told = f"half-life {number(half.min())} to {number(half.max())} steps"
        return (
            told
            if transfer.isna().all()
            else f"{told}, class transfer {number(transfer.min())} to {number(transfer.max())}"
        )

    return "Over all quantities and dampings, " + by_model(settled, of)


FINDINGS: dict[str, Callable[[pd.DataFrame], str]] = {
    "training": training,
    "rollout": rollout,
    "coupling_lag": coupling_lag,
    "coupling_classes": coupling_classes,
    "time_lag": time_lag,
    "two_time": two_time,
    "class_transfer": class_transfer,
    "interpolation": interpolation,
    "drift": drift,
    "equivariance": equivariance,
    "rollout_correlation": rollout_correlation,
    "sensitivity": sensitivity,
}


def finding(name: str, table: pd.DataFrame) -> str:
    """The sentence of a figure by its name; "" where there is none, or its table is empty."""
    return FINDINGS[name](table) if name in FINDINGS and len(table) else ""
