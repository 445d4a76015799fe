"""What responds to a step: which channels, which cells, which training samples, and the images under a symmetry."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from surroscope.plots import style


def words(channel: str) -> str:
    """A channel's name as a reader writes it."""
    return channel.replace("_", " ")


def quartile_bars(
    axes: Axes, places: pd.Series, rows: pd.DataFrame, look: dict[str, Any], label: str
) -> ErrorbarContainer:
    """A marker at each median, with a broad pale bar from the lower to the upper quartile: intervals are thin."""
    bars = (rows["median"] - rows["q25"], rows["q75"] - rows["median"])
    drawn = {"color": look["color"], "marker": look["marker"], "linestyle": "none"} | style.broad(look["color"])
    return axes.errorbar(places, rows["median"], bars, **drawn, markersize=4.5, label=label)


def dodged(count: int, width: float = 0.5) -> np.ndarray:
    """Offsets of `count` models around a common place, so that none hides another."""
    return width * (np.arange(count) - (count - 1) / 2) / count


def channels(table: pd.DataFrame, options: style.Options) -> Figure:
    """Influence of the error in one channel (x) on the error in another (y): a row a model, a column a relation.

    In per cent, because between classes most of it is below a hundredth of the self-influence.
    """
    table = table.assign(**{column: 100 * table[column] for column in ("q25", "median", "q75")})
    parts, relations = style.by_model(table, options), table["relation"].unique()
    limit = float(table["median"].abs().max()) or 1.0
    values = {
        f"{model}: {relation}": [
            style.grid(cells, "channels", "response_channel", "perturbation_channel", column, table)
            for column in ("median", "q25", "q75")
        ]
        for model, part, _ in parts
        for relation, cells in part.groupby("relation", sort=False)
    }
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 2.02 * len(parts) + 0.9), layout="constrained")
    axes = figure.subplots(len(parts), len(relations), squeeze=False, sharex=True, sharey=True)
    shown = {title: median for title, (median, _, _) in values.items()}
    labels = {"xlabel": "channel of the step", "ylabel": "channel that responds"}
    images = style.heatmaps(axes.flat, shown, Normalize(-limit, limit), style.DIVERGING, **labels)
    for panel, image, matrices in zip(axes.flat, images, values.values(), strict=True):
        for matrix, offset, size in zip(matrices, (0, -8, 8), (7, style.SMALLEST, style.SMALLEST), strict=True):
            style.print_cells(panel, image, style.written(matrix, ".1f"), offset, fontsize=size)
        for axis, column in ((panel.xaxis, "perturbation_channel"), (panel.yaxis, "response_channel")):
            axis.set_ticks(range(len(names := table[column].unique())), list(map(words, names)))
        panel.set_xticks(panel.get_xticks(), panel.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")
        panel.tick_params(length=0)
    axes[0, 0].invert_yaxis()
    figure.colorbar(images[-1], ax=axes, label="influence (% of the\nmean self-influence)", shrink=0.9)
    style.footnote(
        figure,
        style.sample_size(table),
        style.quantity_note(table),
        "large: median, small: quartiles, the upper one above",
    )
    return figure


def fronts(table: pd.DataFrame, options: style.Options) -> Figure:
    """Share of the squared response that falls on fronts, with the share of all cells that fronts take."""
    parts, relations = style.by_model(table, options), list(table["relation"].unique())
    figure = Figure(figsize=(style.SINGLE_COLUMN, 2.8), layout="constrained")
    axes = figure.subplots()
    entries: list[Any] = []
    for offset, (model, part, look) in zip(dodged(len(parts)), parts, strict=True):
        entries.append(quartile_bars(axes, part["relation"].map(relations.index) + offset, part, look, model))
    area = float(table["area"].iloc[0])
    even = axes.axhline(area, color=style.REFERENCE, linestyle="--", linewidth=1.0, zorder=0, label="spread evenly")
    axes.set_xticks(range(len(relations)), relations)
    axes.set(xlim=(-0.5, len(relations) - 0.5), ylim=(0, 1.08 * max(area, float(table["q75"].max()))))
    axes.set_ylabel("share of the squared response\non fronts (dimensionless)")
    figure.legend(handles=[*entries, even], loc="outside upper center", ncols=3)
    share = f"dashed: the fronts' share of the cells, {area:.3g}"
    style.footnote(
        figure, style.sample_size(table), style.quantity_note(table), "marker: median, bar: quartiles", share
    )
    return figure


def leverage(table: pd.DataFrame, options: style.Options) -> Figure:
    """Leverage of each sample against its time, one line a class, one panel a model."""
    parts, classes = style.by_model(table.sort_values("time", kind="stable"), options), table["class"].unique()
    figure, axes = style.panels(len(parts), 2.5, sharex=True, sharey=True)
    shades = style.line_map()(np.linspace(0, 0.9, len(classes)))
    labels = {"xlabel": "time of the sample (snapshot)", "ylabel": "leverage (directions of the span)"}
    top = 1.08 * float(table["q75"].max())
    for panel, (model, part, _) in zip(axes, parts, strict=True):
        for i, (name, shade) in enumerate(zip(classes, shades, strict=True)):
            look = {
                "color": shade,
                "marker": style.MARKERS[i % len(style.MARKERS)],
                "linestyle": style.LINES[i % len(style.LINES)],
            }
            style.band(panel, part[part["class"] == name], "time", look, name)
        style.against_steps(panel, zero=False, title=model, **labels, ylim=(0, top))
    axes[0].legend()
    counted = style.sample_size(table) + " of test and training"
    style.footnote(figure, counted, style.quantity_note(table), "line: median, band: quartiles")
    return figure
