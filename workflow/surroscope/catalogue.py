"""Every table of a study, and every figure with the table that it draws."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class FigureSpec:
    """A figure: its table, the observable that it is about (None: all of the table), and its heading."""

    table: str
    observable: str | None
    title: str


FIGURES = {
    "training": FigureSpec("training", None, "Training and validation error"),
    "rollout": FigureSpec("rollout", None, "Error of autoregressive rollouts"),
    "prediction": FigureSpec("prediction", None, "Predicted fields beside the truth"),
    "two_time": FigureSpec("two_time", "smse", "Influence between times"),
    "time_lag": FigureSpec("time_lag", "smse", "Influence against time lag"),
    "class_transfer": FigureSpec("class_transfer", "smse", "Influence between classes"),
    "interpolation": FigureSpec("interpolation", None, "Influence against distance"),
    "spectrum": FigureSpec("spectrum", None, "Spectrum of the metric during training"),
    "two_time_mass": FigureSpec("two_time", "mass", "Influence on mass between times"),
    "time_lag_mass": FigureSpec("time_lag", "mass", "Influence on mass against time lag"),
    "two_time_energy": FigureSpec("two_time", "energy", "Influence on energy between times"),
    "time_lag_energy": FigureSpec("time_lag", "energy", "Influence on energy against time lag"),
    "snapshots": FigureSpec("snapshots", None, "Snapshots of the data"),
}
TABLES = (*dict.fromkeys(spec.table for spec in FIGURES.values()), "scalars")


def figures_for(observables: Collection[str]) -> tuple[str, ...]:
    """Names of the figures of a system with these observables."""
    return tuple(name for name, spec in FIGURES.items() if spec.observable is None or spec.observable in observables)
