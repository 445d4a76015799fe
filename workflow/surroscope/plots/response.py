"""What responds to a step: which channels, which cells, which training samples, and the images under a symmetry."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from surroscope.plots.style import (
    DIVERGING,
    DOUBLE_COLUMN,
    LINES,
    MARKERS,
    REFERENCE,
    SINGLE_COLUMN,
    Options,
    by_model,
    footnote,
    grid,
    line_map,
    number,
    panels,
    quantity_note,
    sample_size,
    text_colour,
)


def words(channel: str) -> str:
    """A channel's name as a reader writes it."""
    return channel.replace("_", " ")


def quartile_bars(
    axes: Axes, places: pd.Series, rows: pd.DataFrame, look: dict[str, Any], label: str
) -> ErrorbarContainer:
    """A marker at each median, with a bar from the lower to the upper quartile."""
    bars = (rows["median"] - rows["q25"], rows["q75"] - rows["median"])
    style = {"color": look["color"], "marker": look["marker"], "linestyle": "none"}
    return axes.errorbar(places, rows["median"], bars, **style, elinewidth=1.2, capsize=2, markersize=4.5, label=label)


def dodged(count: int, width: float = 0.5) -> np.ndarray:
    """Offsets of `count` models around a common place, so that none hides another."""
    return width * (np.arange(count) - (count - 1) / 2) / count


def channels(table: pd.DataFrame, options: Options) -> Figure:
    """Influence of the error in one channel (x) on the error in another (y): a row a model, a column a relation.

    In per cent, because between classes most of it is below a hundredth of the self-influence.
    """
    table = table.assign(**{column: 100 * table[column] for column in ("q25", "median", "q75")})
    parts, relations = by_model(table, options), table["relation"].unique()
    limit = float(table["median"].abs().max()) or 1.0
    scale = Normalize(-limit, limit)
    figure = Figure(figsize=(DOUBLE_COLUMN, 1.9 * len(parts) + 0.9), layout="constrained")
    axes = figure.subplots(len(parts), len(relations), squeeze=False, sharex=True, sharey=True)
    for row, (model, part, _) in zip(axes, parts, strict=True):
        for panel, relation in zip(row, relations, strict=True):
            cells = part[part["relation"] == relation]
            median, q25, q75 = (
                grid(cells, "channels", "response_channel", "perturbation_channel", column, table)
                for column in ("median", "q25", "q75")
            )
            image = panel.imshow(median, cmap=DIVERGING, norm=scale, interpolation="nearest")
            for (i, j), value in np.ndenumerate(median):
                colour = text_colour(image.cmap(scale(value)))
                centred: dict[str, Any] = {"ha": "center", "va": "center", "color": colour}
                panel.annotate(number(float(value), ".1f"), (j, i), **centred, fontsize=7)
                for end, offset in ((q75, 7.5), (q25, -7.5)):
                    text = number(float(end[i, j]), ".1f")
                    panel.annotate(text, (j, i), (0, offset), textcoords="offset points", **centred, fontsize=5)
            for axis, column in ((panel.xaxis, "perturbation_channel"), (panel.yaxis, "response_channel")):
                axis.set_ticks(range(len(names := table[column].unique())), list(map(words, names)))
            panel.set_xticks(
                panel.get_xticks(), panel.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor"
            )
            panel.tick_params(length=0)
            panel.spines[:].set_visible(False)
            panel.set(title=f"{model}: {relation}", xlabel="channel of the step", ylabel="channel that responds")
            panel.label_outer()
    figure.colorbar(image, ax=axes, label="influence (% of the\nmean self-influence)", shrink=0.9)
    footnote(figure, sample_size(table), quantity_note(table), "large: median, small: quartiles, the upper one above")
    return figure


def fronts(table: pd.DataFrame, options: Options) -> Figure:
    """Share of the squared response that falls on fronts, with the share of all cells that fronts take."""
    parts, relations = by_model(table, options), list(table["relation"].unique())
    figure = Figure(figsize=(SINGLE_COLUMN, 2.8), layout="constrained")
    axes = figure.subplots()
    entries: list[Any] = []
    for offset, (model, part, look) in zip(dodged(len(parts)), parts, strict=True):
        entries.append(quartile_bars(axes, part["relation"].map(relations.index) + offset, part, look, model))
    area = float(table["area"].iloc[0])
    even = axes.axhline(area, color=REFERENCE, linestyle="--", linewidth=1.0, zorder=0, label="spread evenly")
    axes.set_xticks(range(len(relations)), relations)
    axes.set(xlim=(-0.5, len(relations) - 0.5), ylim=(0, 1.08 * max(area, float(table["q75"].max()))))
    axes.set_ylabel("share of the squared response\non fronts (dimensionless)")
    figure.legend(handles=[*entries, even], loc="outside upper center", ncols=3)
    share = f"dashed: the fronts' share of the cells, {area:.3g}"
    footnote(figure, sample_size(table), quantity_note(table), "marker: median, bar: quartiles", share)
    return figure


def leverage(table: pd.DataFrame, options: Options) -> Figure:
    """Leverage of each sample against its time, one line a class, one panel a model."""
    parts, classes = by_model(table.sort_values("time", kind="stable"), options), table["class"].unique()
    figure, axes = panels(len(parts), 2.5, sharex=True, sharey=True)
    shades = line_map()(np.linspace(0, 0.9, len(classes)))
    for panel, (model, part, _) in zip(axes, parts, strict=True):
        for i, name in enumerate(classes):
            curve, colour = part[part["class"] == name], shades[i]
            style: dict[str, Any] = {"marker": MARKERS[i % len(MARKERS)], "linestyle": LINES[i % len(LINES)]}
            panel.fill_between(curve["time"], curve["q25"], curve["q75"], color=colour, alpha=0.2, linewidth=0)
            panel.plot(curve["time"], curve["median"], color=colour, label=name, **style)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set(title=model, xlabel="time of the sample (snapshot)", ylabel="leverage (directions of the span)")
        panel.set_ylim(0, 1.08 * float(table["q75"].max()))
        panel.label_outer()
    axes[0].legend()
    footnote(
        figure,
        sample_size(table) + " of test and training",
        quantity_note(table),
        "line: median, band: quartiles",
    )
    return figure
