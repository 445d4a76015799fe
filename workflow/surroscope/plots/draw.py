"""What each table must hold to be drawn, and the one function that draws every figure."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from surroscope.influence.solvers import QUANTITIES
from surroscope.plots import animations, dynamics, examples, fields, influence, orbits, response, sensitivity, training
from surroscope.plots.style import Moving, Options, styled
from surroscope.report.catalogue import figure


@dataclass(frozen=True)
class Columns:
    """What a table must hold. Keys identify a row; every other column is a finite number unless listed otherwise.

    ascending: columns whose values may not decrease from left to right in a row
    positive: columns drawn on a logarithmic axis
    infinite: columns in which +inf is a finding (a rollout that blew up), drawn as such
    missing: columns in which NaN says that the number has no meaning there (the damping of a method without one)
    single: columns that hold one value throughout: two would be pooled, or drawn over each other
    """

    text: tuple[str, ...]
    keys: tuple[str, ...]
    values: tuple[str, ...] = ()
    ascending: tuple[tuple[str, ...], ...] = ()
    positive: tuple[str, ...] = ()
    infinite: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    single: tuple[str, ...] = ()


QUARTILES, COUNTS = ("q25", "median", "q75"), ("n_seeds", "n_probes")
ENDS = ("low", "high")
TRAINED, VALIDATED = (
    tuple(f"{part}_{s}" for s in ("minimum", "median", "maximum")) for part in ("train", "validation")
)

REQUIRED = {
    "two_time": Columns(
        ("model", "observable", "step", "quantity", "normalization"),
        ("perturbation_time", "response_time"),
        QUARTILES + ENDS + COUNTS,
        ascending=(QUARTILES,),
        single=("quantity", "normalization"),
    ),
    "class_transfer": Columns(
        ("model", "observable", "step", "quantity", "normalization", "perturbation_class", "response_class"),
        (),
        QUARTILES + ENDS + COUNTS,
        ascending=(QUARTILES,),
        single=("quantity", "normalization"),
    ),
    "time_lag": Columns(
        ("model", "observable", "step", "quantity", "normalization", "relation"),
        ("lag",),
        QUARTILES + ENDS + COUNTS,
        ascending=(QUARTILES,),
        single=("quantity", "normalization"),
    ),
    "interpolation": Columns(
        ("model", "quantity", "normalization"),
        ("distance",),
        QUARTILES + ENDS + COUNTS,
        ascending=(QUARTILES,),
        positive=("distance",),
        single=("quantity", "normalization"),
    ),
    "spectrum": Columns(
        ("model",),
        ("epoch",),
        ("minimum", *QUARTILES, "maximum", "condition", "largest_metric_eigenvalue", *COUNTS),
        ascending=(("minimum", *QUARTILES, "maximum"),),
        positive=("maximum", "condition", "largest_metric_eigenvalue"),
        infinite=("condition",),
    ),
    "two_time_training": Columns(
        ("model", "quantity"),
        ("epoch", "perturbation_time", "response_time"),
        QUARTILES + ENDS + COUNTS,
        ascending=(QUARTILES,),
        single=("quantity",),
    ),
    "checkpoints": Columns(
        ("model", "quantity"),
        ("seed", "epoch"),
        tuple(dynamics.SHOWN),
        infinite=tuple(dynamics.SHOWN),
        missing=tuple(dynamics.SHOWN),
        single=("quantity",),
    ),
    "rollout_correlation": Columns(
        ("model", "quantity"),
        ("horizon",),
        ("value", "low", "high", "within", "within_low", "within_high", "n_points", "published", "n_seeds", "n_probes"),
        missing=("value", "low", "high", "within", "within_low", "within_high", "published"),
        single=("quantity",),
    ),
    "drift": Columns(
        ("model", "channel"),
        ("snapshot",),
        QUARTILES + ENDS + COUNTS,
        ascending=(QUARTILES,),
        infinite=QUARTILES + ENDS,
    ),
    "equivariance": Columns(
        ("model", "action"),
        ("shift_x", "shift_y"),
        QUARTILES + ENDS + COUNTS,
        ascending=(QUARTILES,),
        infinite=QUARTILES + ENDS,
    ),
    "training": Columns(
        ("model",),
        ("epoch",),
        (*TRAINED, *VALIDATED, "persistence", "n_seeds"),
        ascending=(TRAINED, VALIDATED),
    ),
    "rollout": Columns(
        ("model",),
        ("start", "snapshot"),
        QUARTILES + ENDS + COUNTS,
        ascending=(("start", "snapshot"), QUARTILES),
        infinite=QUARTILES + ENDS,
    ),
    "rollout_fields": Columns(
        ("model", "class", "channel"),
        ("start", "snapshot", "y", "x"),
        ("truth", "prediction"),
        infinite=("prediction",),
        single=("class", "start"),
    ),
    "snapshots": Columns(("class", "channel"), ("snapshot", "y", "x"), ("time", "value")),
    "prediction": Columns(
        ("model", "class", "channel"),
        ("start", "snapshot", "y", "x"),
        ("truth", "prediction"),
        infinite=("prediction",),
    ),
    "sensitivity": Columns(
        ("model", "quantity", "cut"),
        ("seed", "damping"),
        (*sensitivity.CONCLUSIONS, "relative_difference", "certificate", "converged", "reference", "n_probes"),
        positive=("damping",),
        infinite=("half_life",),
        missing=("damping", "certificate"),
    ),
    "channels": Columns(
        ("model", "quantity", "relation", "response_channel", "perturbation_channel"),
        (),
        QUARTILES + ENDS + COUNTS,
        ascending=(QUARTILES,),
        single=("quantity",),
    ),
    "fronts": Columns(
        ("model", "quantity", "relation"),
        (),
        (*QUARTILES, *ENDS, "area", *COUNTS),
        ascending=(QUARTILES,),
        single=("quantity", "area"),
    ),
    "response_maps": Columns(
        ("model", "quantity", "response_class", "perturbation_class", "channel"),
        ("pair", "response_time", "perturbation_time", "y", "x"),
        ("state", "response"),
        single=("quantity",),
    ),
    "attribution_fields": Columns(
        ("model", "quantity", "role", "class", "channel"),
        ("rank", "trajectory", "time", "y", "x"),
        ("influence", "value"),
        missing=("influence",),
        single=("quantity",),
    ),
    "leverage": Columns(
        ("model", "quantity", "class"),
        ("time",),
        (*QUARTILES, "n_batches"),
        ascending=(QUARTILES,),
        single=("quantity",),
    ),
    "symmetry": Columns(
        ("model", "quantity", "action"),
        ("shift_x", "shift_y"),
        QUARTILES + ENDS + COUNTS,
        ascending=(QUARTILES,),
        single=("quantity",),
    ),
}


DRAW: dict[str, Callable[[pd.DataFrame, Options], Figure | Moving]] = {
    "training": training.training,
    "rollout": training.rollout,
    "prediction": fields.prediction,
    "two_time": influence.two_time,
    "time_lag": influence.time_lag,
    "class_transfer": influence.class_transfer,
    "interpolation": influence.interpolation,
    "spectrum": influence.spectrum,
    "snapshots": fields.snapshots,
    "sensitivity": sensitivity.sensitivity,
    "channels": response.channels,
    "fronts": response.fronts,
    "turns": orbits.turns,
    "lines": orbits.lines,
    "box": orbits.box,
    "checkpoints": dynamics.dynamics,
    "rollout_correlation": dynamics.rollout_correlation,
    "drift": dynamics.drift,
    "two_time_training": animations.two_time_training,
    "rollout_fields": animations.rollout_fields,
    "leverage": response.leverage,
    "response_maps": examples.response_maps,
    "attribution_fields": examples.attribution,
}


def check(table: pd.DataFrame, name: str) -> None:
    """Raise ValueError, naming table and column, unless `table` holds what its figures draw, once and in full."""
    columns = REQUIRED[name]
    missing = [c for c in (*columns.text, *columns.keys, *columns.values) if c not in table]
    if missing:
        raise ValueError(f"table {name}: no column {', '.join(missing)}; found {', '.join(map(str, table.columns))}")
    if table.empty:
        raise ValueError(f"table {name}: no rows, nothing to draw in columns {', '.join(columns.values)}")
    for column in columns.text:
        if table[column].isna().any():
            raise ValueError(f"table {name}: column {column} has {table[column].isna().sum()} missing values")
    for column in (*columns.keys, *columns.values):
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise ValueError(f"table {name}: column {column} is {table[column].dtype}, expected numbers")
        values = table[column].to_numpy(dtype=float)
        # Of one probe batch there is no interval, and where some of many rollouts blew up it has no end.
        bad = np.isnan(values) & (column not in (*columns.missing, *ENDS))
        bad |= np.isinf(values) & (column not in (*columns.infinite, *ENDS))
        if column in columns.positive:
            bad |= values <= 0
        if bad.any():
            expected = "a positive number" if column in columns.positive else "a finite number"
            raise ValueError(
                f"table {name}: column {column} has {values[bad][0]} in row {bad.argmax()} "
                f"({bad.sum()} such rows), expected {expected}"
            )
    for ordered in columns.ascending:
        values = table[list(ordered)].to_numpy(dtype=float)
        if (values[:, 1:] < values[:, :-1]).any():
            raise ValueError(f"table {name}: columns {', '.join(ordered)} do not ascend in every row")
    for column in columns.single:
        if table[column].nunique() > 1:
            found = ", ".join(map(str, table[column].unique()))
            raise ValueError(f"table {name}: column {column} has {found}, expected one value")
    if "quantity" in columns.text and (unknown := set(table["quantity"]) - set(QUANTITIES)):
        found = ", ".join(sorted(map(str, unknown)))
        raise ValueError(f"table {name}: column quantity has {found}, expected one of {', '.join(QUANTITIES)}")
    keys = [*columns.text, *columns.keys]
    if table.duplicated(keys).any():
        raise ValueError(f"table {name}: columns {', '.join(keys)} do not identify a row; some occur twice")


def draw(name: str, table: pd.DataFrame, options: Options | None = None) -> Figure | Moving:
    """Draw a figure of the catalogue from its whole table; raises ValueError if the table cannot carry it."""
    spec = figure(name)
    if spec.observable is not None and "observable" in table:
        found = table["observable"].unique()
        table = table[table["observable"] == spec.observable]
        # Steps on other observables are in the table for readers; the figures are about steps on the cost.
        table = table[table["step"] == "smse"] if "step" in table else table
        if table.empty:
            raise ValueError(
                f"table {spec.table}: column observable has no {spec.observable!r}; found {', '.join(map(str, found))}"
            )
    check(table, spec.table)
    with styled():
        return DRAW[spec.form or spec.table](table, options or Options())
