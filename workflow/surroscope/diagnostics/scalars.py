"""The numbers that sum a checkpoint up, and the verdict that they support."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from surroscope.diagnostics.coherence import first_crossing

LAGS = (0, 1, 2, 8)
TIME_LOCKED_HALF_LIFE = 2.0
CLASS_LOCKED_TRANSFER = 0.25


@dataclass(frozen=True)
class Scalar:
    quantity: str
    value: float
    q25: float
    q75: float
    description: str


def signature(
    two_time: pd.DataFrame, class_transfer: pd.DataFrame, time_lag: pd.DataFrame, interpolation: pd.DataFrame
) -> list[Scalar]:
    """The published signature's numbers from the tables of one model and the cost's influence on itself."""
    found = []
    diagonal = two_time[two_time.perturbation_time == two_time.response_time]
    found.append(
        Scalar(
            "two_time_diagonal",
            *_middle(diagonal["median"]),
            "influence of a step on its own transition; quartiles over times",
        )
    )
    for relation in ("intra-class", "inter-class"):
        curve = time_lag[time_lag.relation == relation].set_index("lag")
        for lag in LAGS:
            if lag in curve.index:
                row = curve.loc[lag]
                name = f"{relation.replace('-', '_')}_lag_{lag}"
                text = f"{relation} influence {lag} steps after the perturbation"
                found.append(Scalar(name, row["median"], row.q25, row.q75, text))
    own = class_transfer.perturbation_class == class_transfer.response_class
    for name, rows, text in (
        ("class_diagonal", class_transfer[own], "same-time influence within a class; quartiles over classes"),
        (
            "class_off_diagonal",
            class_transfer[~own],
            "same-time influence between classes; quartiles over pairs",
        ),
    ):
        found.append(Scalar(name, *_middle(rows["median"]), text))
    found.append(
        _plain("half_life", half_life(time_lag), "lag at which intra-class influence is half of that at lag 0")
    )
    found.append(
        _plain("class_transfer_ratio", transfer_ratio(class_transfer), "class_off_diagonal over class_diagonal")
    )
    distance, height = interpolation.distance.to_numpy(), interpolation["median"].to_numpy()
    found.append(_plain("influence_nearest", float(height[0]), "influence between the nearest distinct inputs"))
    crossing = first_crossing(distance, height, 0.0)
    found.append(_plain("dynamic_correlation_length", crossing, "distance at which influence first crosses zero"))
    return found


def half_life(time_lag: pd.DataFrame) -> float:
    """Lag, either way, at which median intra-class influence falls to half of its value at lag 0, in steps."""
    curve = time_lag[time_lag.relation == "intra-class"].groupby(time_lag.lag.abs())["median"].mean()
    return first_crossing(curve.index.to_numpy(float), curve.to_numpy(), curve.loc[0] / 2)


def transfer_ratio(class_transfer: pd.DataFrame) -> float:
    """Median off the diagonal over median on the diagonal of the class matrix's medians."""
    own = class_transfer.perturbation_class == class_transfer.response_class
    return float(class_transfer["median"][~own].median() / class_transfer["median"][own].median())


def off_diagonal_ratio(h: np.ndarray) -> np.ndarray:
    """R = Σ of intra-class off-diagonal H / Σ of its diagonal, per batch and class: (n, C, T, C, T) to (n, C)."""
    own = np.einsum("nctcs->ncts", h)
    diagonal = np.trace(own, axis1=2, axis2=3)
    return (own.sum(axis=(2, 3)) - diagonal) / diagonal


def verdict(half_life: float, transfer: float, validation: float, persistence: float, reach: int) -> tuple[str, str]:
    """A label and a sentence; reach: the largest lag that there is.

    Time-locked: half-life of 2 steps or fewer. Class-locked: transfer below 1/4.

    The thresholds are ours: half the published curve's width at 128 x 128 is below one step, and its transfer 0.1.
    Raises ValueError where a number is missing.
    """
    if not validation < persistence:
        return "not trained", (
            f"One-step error {validation:.3g} does not beat persistence ({persistence:.3g}): "
            "influence of an untrained network says nothing about generalisation."
        )
    if np.isnan(half_life) or np.isnan(transfer):
        raise ValueError(f"half-life {half_life} and class transfer {transfer} support no verdict")
    locks = []
    if half_life <= TIME_LOCKED_HALF_LIFE:
        locks.append("time-locked")
    if transfer < CLASS_LOCKED_TRANSFER:
        locks.append("class-locked")
    after = f"{half_life:.2g} steps" if np.isfinite(half_life) else f"more than {reach} steps"
    share = f"{100 * abs(transfer):.0f} %"
    given = f"{share} of it reaches other classes" if transfer >= 0 else f"harms other classes by {share} of it"
    limits = (f"{TIME_LOCKED_HALF_LIFE:g} or fewer", f"below {100 * CLASS_LOCKED_TRANSFER:.0f} %")
    sentence = (
        f"A gradient step's help within its class halves after {after} (time-locked: {limits[0]}), and "
        f"{given} (class-locked: {limits[1]}). "
        f"One-step error {validation:.3g} against {persistence:.3g} for persistence."
    )
    return " and ".join(locks) or "coherent", sentence


def _middle(values: pd.Series) -> tuple[float, float, float]:
    return float(values.median()), float(values.quantile(0.25)), float(values.quantile(0.75))


def _plain(name: str, value: float, text: str) -> Scalar:
    return Scalar(name, value, np.nan, np.nan, text)
