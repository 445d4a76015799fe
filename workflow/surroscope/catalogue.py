"""Every table of a study, every figure with the table that it draws, and the names of influence and of its units."""

from collections.abc import Collection
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FigureSpec:
    """A figure: its table, the observable that responds to a step on the cost (None: all of the table), its heading.

    part: the section of the configuration that asks for the figure (None: every study has it)
    caption: the name of its caption in workflow/report
    """

    table: str
    observable: str | None
    title: str
    part: str | None = None
    caption: str = ""


# Every other observable than the cost has the first two as well, under names such as two_time_mass.
OF_OBSERVABLES = {
    "two_time": "Influence on {} between times",
    "time_lag": "Influence on {} against time lag",
}
FIGURES = {
    "training": FigureSpec("training", None, "Training and validation error"),
    "rollout": FigureSpec("rollout", None, "Error of autoregressive rollouts"),
    "prediction": FigureSpec("prediction", None, "Predicted fields beside the truth"),
    "two_time": FigureSpec("two_time", "smse", "Influence between times"),
    "time_lag": FigureSpec("time_lag", "smse", "Influence against time lag"),
    "class_transfer": FigureSpec("class_transfer", "smse", "Influence between classes"),
    "interpolation": FigureSpec("interpolation", None, "Influence against distance"),
    "sensitivity": FigureSpec("sensitivity", None, "Conclusions against damping and method", "sensitivity"),
    "spectrum": FigureSpec("spectrum", None, "Spectrum of the metric during training"),
    "channels": FigureSpec("channels", None, "Influence between channels"),
    "fronts": FigureSpec("fronts", None, "Share of the response on fronts"),
    "response_maps": FigureSpec("response_maps", None, "Maps of the response to a step", "maps"),
    "attribution": FigureSpec("attribution_fields", None, "Training trajectories that help and hurt", "cross"),
    "leverage": FigureSpec("leverage", None, "Leverage against time", "cross"),
    "symmetry": FigureSpec("symmetry", None, "Influence between a sample and its images", "symmetry"),
    "snapshots": FigureSpec("snapshots", None, "Snapshots of the data"),
}
# Table -> the part of a study that makes it. The identity's row of `symmetry` is always there, even where it is not
# drawn; the last two tables are for readers and are drawn nowhere.
_PARTS = {spec.table: spec.part for spec in FIGURES.values()}
_PARTS |= {"symmetry": None, "attribution": "cross", "scalars": None}
TABLES = tuple(_PARTS)

QUANTITIES = {
    "span": "influence within the span of the gradients",
    "full": "influence in the full parameter space",
    "euclidean": "gradient dot products (no metric)",
    "cosine": "cosine of the gradients",
    "adam": "Adam-preconditioned step",
}

# Normalisation -> what H is then called, and what its values are, as captions say it.
UNITS = {
    "standard": ("standardised influence", "in units of the standard deviation of its row"),
    "none": ("influence", "how much a unit step lowers the error"),
    "cosine": ("cosine of influence", "relative to the geometric mean of the two self-influences"),
    "row": ("influence", "relative to the self-influence of the response"),
    "column": ("influence", "relative to the self-influence of the step"),
    "trace": ("influence", "relative to the mean self-influence"),
    "softmax": (
        "attention by influence",
        "an exponential weight among the perturbations of its row, which add up to 1",
    ),
}


def figure(name: str) -> FigureSpec:
    """A figure by its name. Raises KeyError if there is none."""
    for table, title in OF_OBSERVABLES.items():
        if name.startswith(f"{table}_"):
            observable = name.removeprefix(f"{table}_")
            return FigureSpec(
                table, observable, title.format(observable.replace("_", " ")), caption=f"{table}_observable"
            )
    return replace(FIGURES[name], caption=name)


def figures_for(observables: Collection[str], parts: Collection[str] = ()) -> tuple[str, ...]:
    """Names of the figures of a system with these observables, in a study that has these optional parts."""
    own = [name for name, spec in FIGURES.items() if spec.part is None or spec.part in parts]
    return *own, *(f"{table}_{name}" for name in observables if name != "smse" for table in OF_OBSERVABLES)


def tables_for(parts: Collection[str] = ()) -> tuple[str, ...]:
    """Names of the tables of a study that has these optional parts."""
    return tuple(table for table, part in _PARTS.items() if part is None or part in parts)
