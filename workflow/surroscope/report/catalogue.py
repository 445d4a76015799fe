"""Every table of a study, and every figure with the table that it draws."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class FigureSpec:
    """A figure: its table, the observable that responds to a step on the cost (None: all of the table), its heading.

    shows: what of the papers it is, T for arXiv 2509.00024, S for arXiv 2601.20172; empty: it is in neither
    needs: the parts of a study without which there is no such figure, first the section of the configuration that asks
        for it; `Study.parts` has their names
    form: how the table is drawn, where several figures draw one
    moving: whether it is an animation
    caption: the name of its caption in workflow/report
    """

    table: str
    observable: str | None
    title: str
    shows: str = ""
    needs: tuple[str, ...] = ()
    form: str = ""
    moving: bool = False
    caption: str = ""

    @property
    def suffixes(self) -> tuple[str, ...]:
        return ("gif",) if self.moving else ("pdf", "png")


# Every other observable than the cost has the first two as well, under names such as two_time_mass.
OF_OBSERVABLES = {
    "two_time": "Influence on {} between times",
    "time_lag": "Influence on {} against time lag",
}
OF_PAPER = {"mass": "T: mass", "energy": "T: energy"}
FIGURES = {
    "training": FigureSpec("training", None, "Training and validation error", "T: optimisation curves"),
    "rollout": FigureSpec("rollout", None, "Error of autoregressive rollouts", "T: rollouts"),
    "prediction": FigureSpec("prediction", None, "Predicted fields beside the truth", "T: predictions"),
    "rollout_fields": FigureSpec("rollout_fields", None, "A rollout beside the truth", moving=True),
    "two_time": FigureSpec("two_time", "smse", "Influence between times", "T: two-time influence"),
    "time_lag": FigureSpec("time_lag", "smse", "Influence against time lag", "T: time-lag curve (horizon)"),
    "class_transfer": FigureSpec("class_transfer", "smse", "Influence between classes", "T: class transferability"),
    "interpolation": FigureSpec("interpolation", None, "Influence against distance", "T: interpolation"),
    "rollout_correlation": FigureSpec(
        "rollout_correlation", None, "Influence against rollout error", "T: influence against rollout error"
    ),
    "drift": FigureSpec("drift", None, "Drift of conserved totals in rollouts", needs=("conserved",)),
    "equivariance": FigureSpec(
        "equivariance",
        None,
        "Error at turned and mirrored states",
        "S: equivariance error, D4",
        needs=("turns",),
        form="turns",
    ),
    "equivariance_lines": FigureSpec(
        "equivariance",
        None,
        "Error at shifted states",
        "S: equivariance error, lines",
        needs=("symmetry", "lines"),
        form="lines",
    ),
    "equivariance_box": FigureSpec(
        "equivariance",
        None,
        "Error at states shifted both ways",
        "S: equivariance error, box",
        needs=("symmetry", "box"),
        form="box",
    ),
    "symmetry": FigureSpec(
        "symmetry",
        None,
        "Influence on turned and mirrored images",
        "S: symmetry influence, D4",
        needs=("symmetry", "turns"),
        form="turns",
    ),
    "symmetry_lines": FigureSpec(
        "symmetry",
        None,
        "Influence on shifted images",
        "S: symmetry influence, lines",
        needs=("symmetry", "lines"),
        form="lines",
    ),
    "symmetry_box": FigureSpec(
        "symmetry",
        None,
        "Influence on images shifted both ways",
        "S: symmetry influence, box",
        needs=("symmetry", "box"),
        form="box",
    ),
    "dynamics": FigureSpec(
        "checkpoints", None, "Influence during training", "T: influence dynamics", needs=("epochs",)
    ),
    "two_time_training": FigureSpec(
        "two_time_training",
        None,
        "Influence between times during training",
        needs=("epochs",),
        moving=True,
    ),
    "spectrum": FigureSpec("spectrum", None, "Spectrum of the metric during training", "T: spectrum"),
    "sensitivity": FigureSpec("sensitivity", None, "Conclusions against damping and method", needs=("sensitivity",)),
    "channels": FigureSpec("channels", None, "Influence between channels"),
    "fronts": FigureSpec("fronts", None, "Share of the response on fronts"),
    "response_maps": FigureSpec("response_maps", None, "Maps of the response to a step", needs=("maps",)),
    "attribution": FigureSpec("attribution_fields", None, "Training trajectories that help and hurt", needs=("cross",)),
    "leverage": FigureSpec("leverage", None, "Leverage against time", needs=("cross",)),
    "snapshots": FigureSpec("snapshots", None, "Snapshots of the data"),
}
# Sections of the configuration that ask for tables, and which. `attribution` and `scalars` are for readers and drawn
# nowhere; tables of other parts are always there, even where they are empty.
OPTIONAL = {
    "sensitivity": ("sensitivity",),
    "cross": ("attribution_fields", "leverage", "attribution"),
    "maps": ("response_maps",),
    "symmetry": ("symmetry",),
}


def figure(name: str) -> FigureSpec:
    """A figure by its name. Raises KeyError if there is none."""
    if name not in FIGURES:
        for table, title in OF_OBSERVABLES.items():
            if name.startswith(f"{table}_"):
                observable = name.removeprefix(f"{table}_")
                title, shows = title.format(observable.replace("_", " ")), OF_PAPER.get(observable, "")
                return FigureSpec(table, observable, title, shows, caption=f"{table}_observable")
    return replace(FIGURES[name], caption=name)


def caption(name: str, system: str, n: str, unit: str) -> str:
    """The caption of a figure in reStructuredText; n: the sample size of the study, unit: of influence in it."""
    spec = figure(name)
    text = (Path(__file__).parents[2] / "report" / f"{spec.caption}.rst").read_text()
    return text.format(system=system, n=n, unit=unit, observable=spec.observable)


def figures_for(observables: Collection[str], parts: Collection[str] = ()) -> tuple[str, ...]:
    """Names of the figures of a system with these observables, in a study that has these optional parts."""
    own = [name for name, spec in FIGURES.items() if set(spec.needs) <= set(parts)]
    return *own, *(f"{table}_{name}" for name in observables if name != "smse" for table in OF_OBSERVABLES)


def tables_for(parts: Collection[str] = ()) -> tuple[str, ...]:
    """Names of the tables of a study that has these optional parts."""
    always = dict.fromkeys(spec.table for spec in FIGURES.values()) | {"scalars": None, "attribution": None}
    absent = {table for part, tables in OPTIONAL.items() if part not in parts for table in tables}
    return tuple(table for table in always if table not in absent)
