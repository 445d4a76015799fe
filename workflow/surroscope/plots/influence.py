"""Influence between times, classes and distances, and the spectrum of its metric (definitions: arXiv 2509.00024).

Every function takes one table that `draw.check` has passed and draws its numbers as they are.
"""

from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from surroscope.plots import style


def label_of(table: pd.DataFrame) -> str:
    """Axis label of H as the table holds it."""
    responds = table["observable"].iloc[0]
    return style.influence_label(
        table["normalization"].iloc[0], f"on the {responds} error " if responds != "smse" else ""
    )


HALF = "line: half of the mean of the diagonal"


def half_of_diagonal(panel: Axes, matrix: np.ndarray) -> bool:
    """Enclose the times at which influence is at least half of its mean at the time itself; True if any is below."""
    level = np.nanmean(np.diagonal(matrix)) / 2
    there = bool(np.nanmin(matrix) < level < np.nanmax(matrix))
    if there:
        panel.contour(matrix, levels=[level], colors="white", linewidths=0.8)
    return there


def two_time(table: pd.DataFrame, options: style.Options) -> Figure:
    """Median H of a step at time t (x) for the response at time tau (y), one heatmap a model."""
    table = table.sort_values(["perturbation_time", "response_time"], kind="stable")
    medians = table["median"].to_numpy()
    cost, limited = table["observable"].iloc[0] == "smse", ""
    if cost:
        high, limited = options.limit(table["median"])
    else:
        high = float(np.abs(medians).max()) or 1.0
    # Both signs are in one map; of values that are all positive half of it would show nothing.
    low, colours = (0.0, style.SEQUENTIAL) if cost or medians.min() >= 0 else (-high, style.DIVERGING)
    shown = {
        model: style.grid(part, "two_time", "response_time", "perturbation_time", "median", table, within=True)
        for model, part, _ in style.by_model(table, options)
    }
    figure, axes = style.panels(len(shown), sharex=True, sharey=True)
    images = style.heatmaps(axes, shown, Normalize(low, high), colours, **style.BETWEEN_TIMES)
    dots = halved = False
    for panel, image, matrix in zip(axes, images, shown.values(), strict=True):
        if cost:
            halved |= half_of_diagonal(panel, matrix)
        if colours == style.DIVERGING:
            rows, columns = np.nonzero(matrix < -style.DOTTED * high)
            dots |= len(rows) > 0
            marks = [style.text_colour(colour) for colour in np.asarray(image.cmap(image.norm(matrix[rows, columns])))]
            panel.scatter(columns, rows, s=3, c=marks, linewidths=0)
        style.tick_times(panel.xaxis, table["perturbation_time"])
        style.tick_times(panel.yaxis, table["response_time"])
    label = style.limited(label_of(table), limited)
    figure.colorbar(images[-1], ax=axes, label=label, extend=style.extend(medians, low, high), shrink=0.9)
    notes = [HALF] * halved + [f"dots: below {style.number(-style.DOTTED * high, '.2g')}"] * dots
    extremes = f"medians range from {style.number(medians.min(), '.3g')} to {style.number(medians.max(), '.3g')}"
    style.footnote(figure, style.sample_size(table), style.quantity_note(table), extremes, *notes)
    return figure


def reference(table: pd.DataFrame, options: style.Options) -> Figure:
    """Median H_std between times at epoch 0 and at the last one: a row a model that was probed at both."""
    table = table.sort_values(["epoch", "perturbation_time", "response_time"], kind="stable")
    shown = {
        f"{model}, {'untrained' if epoch == 0 else f'epoch {epoch:g}'}": style.grid(
            part[part["epoch"] == epoch],
            "two_time_training",
            "response_time",
            "perturbation_time",
            "median",
            table,
            within=True,
        )
        for model, part, _ in style.by_model(table, options)
        if part["epoch"].max() > 0 and 0 in set(part["epoch"])
        for epoch in (0, part["epoch"].max())
    }
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 1.45 * len(shown) + 0.4), layout="compressed")
    axes = list(figure.subplots(len(shown) // 2, 2, squeeze=False, sharex=True, sharey=True).flat)
    high, limited = options.limit(table["median"])
    images = style.heatmaps(axes, shown, Normalize(0.0, high), **style.BETWEEN_TIMES)
    for panel in axes:
        for axis in (panel.xaxis, panel.yaxis):
            style.tick_times(axis, table["response_time"])
    values = np.concatenate([matrix.ravel() for matrix in shown.values()])
    arrows, label = style.extend(values, 0.0, high), style.limited(style.influence_label("standard"), limited)
    figure.colorbar(images[0], ax=axes, label=label, extend=arrows, shrink=0.9)
    style.footnote(figure, style.sample_size(table), style.quantity_note(table), "median")
    return figure


def histogram(table: pd.DataFrame, options: style.Options) -> Figure:
    """Density of H_std between different transitions, a panel a model."""
    parts = style.by_model(table, options)
    figure, axes = style.panels(len(parts), 2.4, sharey=True)
    for panel, (model, part, look) in zip(axes, parts, strict=True):
        colours = {"intra-class": look["color"], "inter-class": style.REFERENCE}
        for relation in style.relations(table):
            colour = colours[relation]
            bars = part[part["relation"] == relation].sort_values("from")
            edges = [*bars["from"], bars["to"].iloc[-1]]
            panel.stairs(bars["density"], edges, color=colour, fill=True, alpha=0.3)
            panel.stairs(bars["density"], edges, color=colour, label=relation)
        panel.axvline(0, color="black", linewidth=0.6)
        panel.set(title=model, xlabel=style.influence_label("standard"), ylabel="density (per unit of $H$)")
        panel.label_outer()
        panel.legend()
    style.footnote(figure, style.sample_size(table), style.quantity_note(table))
    return figure


def class_transfer(table: pd.DataFrame, options: style.Options) -> Figure:
    """Median H between classes: input class (x), response class (y), with its 95 % interval in small print."""
    medians = table["median"].to_numpy()
    scale = Normalize(min(0.0, float(medians.min())), float(medians.max()) if medians.max() > 0 else 1.0)
    values = {
        model: [
            style.grid(part, "class_transfer", "response_class", "perturbation_class", column, table)
            for column in ("median", "high", "low")
        ]
        for model, part, _ in style.by_model(table, options)
    }
    figure, axes = style.panels(len(values), sharex=True, sharey=True)
    shown = {model: median for model, (median, _, _) in values.items()}
    labels = {"xlabel": "class the step is taken on", "ylabel": "class that responds"}
    images = style.heatmaps(axes, shown, scale, **labels)
    for panel, image, matrices in zip(axes, images, values.values(), strict=True):
        style.print_stack(panel, image, matrices, ".2f")
        for axis, column in ((panel.xaxis, "perturbation_class"), (panel.yaxis, "response_class")):
            classes = table[column].unique()
            axis.set_ticks(range(len(classes)), classes)
    axes[0].invert_yaxis()
    figure.colorbar(images[-1], ax=axes, label=label_of(table), shrink=0.9)
    style.footnote(figure, style.sample_size(table), style.quantity_note(table), style.STACKED)
    return figure


def time_lag(table: pd.DataFrame, options: style.Options) -> Figure:
    """H against the lag between response and perturbation, inside a class and between classes."""
    table = table.sort_values("lag", kind="stable")
    parts = style.by_model(table, options)
    figure, axes = style.panels(len(parts), 2.7, sharex=True, sharey=True)
    for panel, (model, part, look) in zip(axes, parts, strict=True):
        other: dict[str, Any] = {"color": style.REFERENCE, "marker": "s", "linestyle": "--", "markerfacecolor": "white"}
        own = {**look, "marker": "o", "linestyle": "-"}
        curves = {"intra-class": own, "inter-class": other}
        for relation in style.relations(table):
            rows = part[part["relation"] == relation]
            style.band(panel, rows, "lag", curves[relation], relation, alpha=0.22)
            style.intervals(panel, rows, "lag", curves[relation])
        style.mark_shared(panel, part)
        style.against_steps(panel, title=model, xlabel="lag $τ - t$ (snapshots)", ylabel=label_of(table))
        panel.legend(loc="upper right")
    notes = [style.quantity_note(table), style.SPREAD, *style.sharing_note(table)]
    style.footnote(figure, style.sample_size(table), *notes)
    return figure


def interpolation(table: pd.DataFrame, options: style.Options) -> Figure:
    """H against the distance between two inputs, all models in one panel."""
    figure = Figure(figsize=(style.SINGLE_COLUMN, 2.7), layout="constrained")
    axes = figure.subplots()
    for model, part, look in style.by_model(table.sort_values("distance", kind="stable"), options):
        style.band(axes, part, "distance", look, model)
        style.intervals(axes, part, "distance", look)
    axes.axhline(0, color="black", linewidth=0.6, zorder=0)
    axes.set(
        xscale="log",
        xlabel="distance between the inputs (dimensionless)",
        ylabel=style.influence_label(table["normalization"].iloc[0]),
    )
    axes.legend()
    style.footnote(figure, style.sample_size(table), style.quantity_note(table), style.SPREAD)
    return figure


def spectrum(table: pd.DataFrame, options: style.Options) -> Figure:
    """Eigenvalues of the reduced metric per epoch as box plots; its condition and largest eigenvalue below."""
    table = table.sort_values("epoch", kind="stable")
    parts = style.by_model(table, options)
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 4.8), layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=(1.1, 1))
    boxes = rows[0].subgridspec(1, len(parts)).subplots(sharey=True, squeeze=False)[0]
    condition, largest = rows[1].subgridspec(1, 2).subplots(squeeze=False)[0]
    # Rounding, or a class at rest, can leave eigenvalues at or below zero, which a logarithmic axis cannot show:
    # such a whisker or box runs to the bottom edge, and the note says so.
    shown, high = table[["minimum", "q25", "median", "q75", "maximum"]], table["maximum"].max()
    bottom = shown.where(shown > 0).min(axis=None) / 3
    # One epoch a model is no course of training, and the last of one is not that of another.
    alone = not table.duplicated("model").any()
    for number, (panel, (model, part, look)) in enumerate(zip(boxes, parts, strict=True)):
        part = part.assign(place=number if alone else part["epoch"])
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
        condition.plot(finite["place"], finite["condition"], label=model, **look)
        style.mark_above(condition, part["place"], part["condition"], np.finfo(float).max, look["color"])
        largest.plot(part["place"], part["largest_metric_eigenvalue"], label=model, **look)
    style.decades(condition, table["condition"])
    style.decades(largest, table["largest_metric_eigenvalue"])
    condition.set(xlabel="epoch", ylabel="largest / smallest\neigenvalue (dimensionless)")
    largest.set(xlabel="epoch", ylabel="largest eigenvalue of $M\\hat{η}$\n(dimensionless)")
    if alone:
        for panel in (condition, largest):
            panel.set(xlim=(-0.5, len(parts) - 0.5), xlabel="")
            panel.set_xticks(range(len(parts)), [model for model, _, _ in parts])
    else:
        condition.legend()
    notes = ["box: quartiles, whiskers: smallest and largest"]
    if (table["minimum"] <= 0).any():
        notes.append("a whisker to the bottom edge: smallest eigenvalue not positive")
    if not np.isfinite(table["condition"]).all():
        notes.append("cross: ratio not finite")
    style.footnote(figure, style.sample_size(table), *notes)
    return figure
