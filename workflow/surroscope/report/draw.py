"""Draw any figure of the catalogue from its table, which is checked before."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from surroscope.influence.solvers import QUANTITIES
from surroscope.plots.style import Moving, Options, letter, styled, without_note
from surroscope.report.catalogue import figure
from surroscope.report.spec import ENDS, Columns
from surroscope.tables.reading import called


def check(table: pd.DataFrame, name: str, columns: Columns) -> None:
    """Raise ValueError, naming table and column, unless `table` holds what its figures draw, once and in full."""
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
    check(table, spec.table, spec.columns)
    module, _, function = spec.draw.partition(":")
    options = options or Options()
    labels = options.labels
    with styled():
        drawn = getattr(import_module(module), function)(
            called(table, labels), replace(options, models=[labels.get(model, model) for model in options.models])
        )
        figure_of = drawn.figure if isinstance(drawn, Moving) else drawn
        if not options.notes:
            without_note(figure_of)
        if options.letters and not isinstance(drawn, Moving):
            letter(figure_of)
    return drawn
