"""Influence between times, classes and distances, and the spectrum of its metric (definitions: arXiv 2509.00024).

Every function takes one table that `draw.check` has passed and draws its numbers as they are.
"""

from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from surroscope.plots.style import (
    DIVERGING,
    DOTTED,
    DOUBLE_COLUMN,
    REFERENCE,
    SEQUENTIAL,
    SINGLE_COLUMN,
    Options,
    by_model,
    decades,
    extend,
    footnote,
    grid,
    influence_label,
    mark_above,
    number,
    panels,
    quantity_note,
    sample_size,
    text_colour,
)


def label_of(table: pd.DataFrame) -> str:
    """Axis label of H as the table holds it."""
    responds = table["observable"].iloc[0]
    return influence_label(table["normalization"].iloc[0], f"on the {responds} error " if responds != "smse" else "")


def two_time(table: pd.DataFrame, options: Options) -> Figure:
    """Median H of a step at time t (x) for the response at time tau (y), one heatmap a model."""
    table = table.sort_values(["perturbation_time", "response_time"], kind="stable")
    medians = table["median"].to_numpy()
    if table["observable"].iloc[0] == "smse":
        low, high, colours = 0.0, options.heatmap_limit, SEQUENTIAL
    else:
        high = float(np.abs(medians).max()) or 1.0
        low, colours = -high, DIVERGING
    parts = by_model(table, options)
    figure, axes = panels(len(parts), sharex=True, sharey=True)
    for panel, (model, part, _) in zip(axes, parts, strict=True):
        matrix = grid(part, "two_time", "response_time", "perturbation_time", "median", table)
        image = panel.imshow(matrix, origin="lower", cmap=colours, norm=Normalize(low, high), interpolation="nearest")
        if colours == DIVERGING:
            rows, columns = np.nonzero(matrix < -DOTTED * high)
            marks = [text_colour(colour) for colour in np.asarray(image.cmap(image.norm(matrix[rows, columns])))]
            panel.scatter(columns, rows, s=3, c=marks, linewidths=0)
        for axis, column in ((panel.xaxis, "perturbation_time"), (panel.yaxis, "response_time")):
            times = np.sort(table[column].unique())
            every = ceil(len(times) / 6)
            axis.set_ticks(range(0, len(times), every), [f"{time:g}" for time in times[::every]])
        panel.spines[:].set_visible(False)
        panel.set(title=model, xlabel="perturbation time $t$ (snapshot)", ylabel="response time $τ$ (snapshot)")
        panel.label_outer()
    figure.colorbar(image, ax=axes, label=label_of(table), extend=extend(medians, low, high), shrink=0.9)
    notes = [f"dots: below {number(-DOTTED * high, '.2g')}"] if colours == DIVERGING else []
    extremes = f"medians range from {number(medians.min(), '.3g')} to {number(medians.max(), '.3g')}"
    footnote(figure, sample_size(table), quantity_note(table), extremes, *notes)
    return figure


def class_transfer(table: pd.DataFrame, options: Options) -> Figure:
    """Median H between classes: input class (x), response class (y), with the quartiles in small print."""
    medians = table["median"].to_numpy()
    scale = Normalize(min(0.0, float(medians.min())), float(medians.max()) if medians.max() > 0 else 1.0)
    parts = by_model(table, options)
    figure, axes = panels(len(parts), sharex=True, sharey=True)
    for panel, (model, part, _) in zip(axes, parts, strict=True):
        median, q25, q75 = (
            grid(part, "class_transfer", "response_class", "perturbation_class", column, table)
            for column in ("median", "q25", "q75")
        )
        image = panel.imshow(median, cmap=SEQUENTIAL, norm=scale, interpolation="nearest")
        for (row, column), value in np.ndenumerate(median):
            colour = text_colour(image.cmap(scale(value)))
            panel.annotate(number(float(value), ".2f"), (column, row), ha="center", va="center", color=colour)
            quartiles = " to ".join(number(float(ends[row, column]), ".2f") for ends in (q25, q75))
            panel.annotate(
                quartiles,
                (column, row),
                xytext=(0, -9),
                textcoords="offset points",
                ha="center",
                va="center",
                color=colour,
                fontsize=5,
            )
        for axis, column in ((panel.xaxis, "perturbation_class"), (panel.yaxis, "response_class")):
            classes = table[column].unique()
            axis.set_ticks(range(len(classes)), classes)
        panel.spines[:].set_visible(False)
        panel.set(title=model, xlabel="class the step is taken on", ylabel="class that responds")
        panel.label_outer()
    figure.colorbar(image, ax=axes, label=label_of(table), shrink=0.9)
    footnote(figure, sample_size(table), quantity_note(table), "large: median, small: quartiles")
    return figure


def time_lag(table: pd.DataFrame, options: Options) -> Figure:
    """H against the lag between response and perturbation, inside a class and between classes."""
    table = table.sort_values("lag", kind="stable")
    parts = by_model(table, options)
    figure, axes = panels(len(parts), 2.7, sharex=True, sharey=True)
    for panel, (model, part, look) in zip(axes, parts, strict=True):
        other: dict[str, Any] = {"color": REFERENCE, "marker": "s", "linestyle": "--", "markerfacecolor": "white"}
        own = {**look, "marker": "o", "linestyle": "-"}
        for relation, style in (("intra-class", own), ("inter-class", other)):
            curve = part[part["relation"] == relation]
            panel.fill_between(curve["lag"], curve["q25"], curve["q75"], color=style["color"], alpha=0.22, linewidth=0)
            panel.plot(curve["lag"], curve["median"], label=relation, **style)
        panel.axhline(0, color="black", linewidth=0.6, zorder=0)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set(title=model, xlabel="lag $τ - t$ (snapshots)", ylabel=label_of(table))
        panel.label_outer()
        panel.legend(loc="upper right")
    footnote(figure, sample_size(table), quantity_note(table), "line: median, band: quartiles")
    return figure


def interpolation(table: pd.DataFrame, options: Options) -> Figure:
    """H against the distance between two inputs, all models in one panel."""
    figure = Figure(figsize=(SINGLE_COLUMN, 2.7), layout="constrained")
    axes = figure.subplots()
    for model, part, look in by_model(table.sort_values("distance", kind="stable"), options):
        axes.fill_between(part["distance"], part["q25"], part["q75"], color=look["color"], alpha=0.2, linewidth=0)
        axes.plot(part["distance"], part["median"], label=model, **look)
    axes.axhline(0, color="black", linewidth=0.6, zorder=0)
    axes.set(
        xscale="log",
        xlabel="distance between the inputs (dimensionless)",
        ylabel=influence_label(table["normalization"].iloc[0]),
    )
    axes.legend()
    footnote(figure, sample_size(table), quantity_note(table), "line: median, band: quartiles")
    return figure


def spectrum(table: pd.DataFrame, options: Options) -> Figure:
    """Eigenvalues of the reduced metric per epoch as box plots; its condition and largest eigenvalue below."""
    table = table.sort_values("epoch", kind="stable")
    parts = by_model(table, options)
    figure = Figure(figsize=(DOUBLE_COLUMN, 4.8), layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=(1.1, 1))
    boxes = rows[0].subgridspec(1, len(parts)).subplots(sharey=True, squeeze=False)[0]
    condition, largest = rows[1].subgridspec(1, 2).subplots(squeeze=False)[0]
    # Rounding, or a class at rest, can leave eigenvalues at or below zero, which a logarithmic axis cannot show:
    # such a whisker or box runs to the bottom edge, and the note says so.
    shown, high = table[["minimum", "q25", "median", "q75", "maximum"]], table["maximum"].max()
    bottom = shown.where(shown > 0).min(axis=None) / 3
    for panel, (model, part, look) in zip(boxes, parts, strict=True):
        records = part.to_dict("records")
        statistics = [
            {"whislo": max(r["minimum"], bottom), "q1": max(r["q25"], bottom), "med": max(r["median"], bottom)}
            | {"q3": max(r["q75"], bottom), "whishi": r["maximum"]}
            for r in records
        ]
        line = {"color": look["color"], "linewidth": 0.8}
        panel.bxp(
            statistics,
            positions=range(len(records)),
            widths=0.6,
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": "white", "edgecolor": look["color"], "linewidth": 0.8},
            medianprops={"color": look["color"], "linewidth": 1.6},
            whiskerprops=line,
            capprops=line,
        )
        every = ceil(len(records) * len(parts) / 22)
        panel.set_xticks(range(0, len(records), every), [f"{r['epoch']:g}" for r in records[::every]])
        panel.set(title=model, xlabel="epoch", yscale="log", ylim=(bottom, 2 * high))
        panel.set_ylabel(r"eigenvalues of $\hat{η}$ (dimensionless)")
        panel.label_outer()
        finite = part[np.isfinite(part["condition"])]
        condition.plot(finite["epoch"], finite["condition"], label=model, **look)
        mark_above(condition, part["epoch"], part["condition"], np.finfo(float).max, look["color"])
        largest.plot(part["epoch"], part["largest_metric_eigenvalue"], label=model, **look)
    decades(condition, table["condition"])
    decades(largest, table["largest_metric_eigenvalue"])
    condition.set(xlabel="epoch", ylabel="largest / smallest\neigenvalue (dimensionless)")
    largest.set(xlabel="epoch", ylabel="largest eigenvalue of $M\\hat{η}$\n(dimensionless)")
    condition.legend()
    notes = ["box: quartiles, whiskers: smallest and largest"]
    if (table["minimum"] <= 0).any():
        notes.append("a whisker to the bottom edge: smallest eigenvalue not positive")
    if not np.isfinite(table["condition"]).all():
        notes.append("cross: ratio not finite")
    footnote(figure, sample_size(table), *notes)
    return figure
