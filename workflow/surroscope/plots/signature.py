"""Influence, what the network shares and what is left to learn, against the one-step error of every checkpoint."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from surroscope.plots import style
from surroscope.tables.published import SOURCE

COLUMNS = ("signed influence $H$", "kernel: what is shared", "residuals: what is left")
# Rows of panels: column of the table -> its axis label, of each of COLUMNS.
SHOWN = (
    {
        "lag_8_ratio": "within a class,\nlag 8 over lag 0",
        "matched_white_lag_8": "matched transfer,\nlag 8",
        "alignment_lag_8": "alignment,\nlag 8",
    },
    {
        "class_transfer_ratio": "class transfer",
        "kernel_transfer_class": "kernel transfer\nbetween classes",
        "alignment_class": "alignment\nbetween classes",
    },
    {"lag_1_ratio": "within a class,\nlag 1 over lag 0", "kernel_transfer_time": "kernel transfer\nbetween times"},
    {"half_life": "half-life\n(steps)", "explained_lag_8": "explained,\nlag 8"},
    {"two_time_diagonal": "two-time diagonal", "matched_white_class": "matched transfer\nbetween classes"},
)
PUBLISHED: dict[str, Any] = {"color": style.REFERENCE, "marker": "D", "linestyle": "-", "linewidth": 1.0}


def signature(table: pd.DataFrame, published: pd.DataFrame, options: style.Options) -> Figure:
    """A row of panels a measure, the signed influence beside its factors; the error falls to the right.

    table, published: of tables.signature; a network of a study has one look, and its line follows the epochs of a seed
    """
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 7.6), layout="constrained")
    axes = figure.subplots(len(SHOWN), len(COLUMNS), sharex=True)
    named = table.assign(model=table["study"] + ": " + table["system"] + " " + table["model"])
    networks = style.by_model(named.sort_values("epoch", kind="stable"), options)
    beyond = False
    for row, shown in zip(axes, SHOWN, strict=True):
        for panel, (name, label) in zip(row, shown.items(), strict=False):
            for _, part, look in networks:
                beyond |= checkpoints(panel, part, name, look)
            marks(panel, published, name)
            panel.axhline(0, color="black", linewidth=0.6, zorder=0)
            panel.set_ylabel(label)
        for spare in row[len(shown) :]:
            spare.set_axis_off()
    axes[0, 0].set(xscale="log")
    axes[0, 0].invert_xaxis()
    for column, title in enumerate(COLUMNS):
        lowest = sum(len(shown) > column for shown in SHOWN) - 1
        axes[0, column].set_title(title)
        axes[lowest, column].set_xlabel("validation SMSE")
        axes[lowest, column].tick_params(labelbottom=True)
    handles = [Line2D([], [], label=name, markersize=3, **look | {"linestyle": "none"}) for name, _, look in networks]
    hollow: dict[str, Any] = {"color": "black", "marker": "o", "linestyle": "none", "markerfacecolor": "white"}
    handles.append(Line2D([], [], label="untrained (epoch 0)", markersize=3, **hollow))
    if len(published):
        source = SOURCE.partition(",")[0]
        handles.append(Line2D([], [], label=source, markersize=3, markerfacecolor="white", **PUBLISHED))
    legend = axes[2, 2].legend(handles=handles, loc="upper left", fontsize=style.SMALLEST, borderaxespad=0)
    legend.set_in_layout(False)  # it reaches down over the panels that are not there
    notes = ["a point: one checkpoint of one seed", "line: one seed through training", "dimensionless but for steps"]
    if beyond:
        notes.append("cross: infinite")
    style.footnote(figure, f"n = {len(table)} checkpoints of {len(networks)} networks", *notes)
    return figure


def checkpoints(panel: Axes, part: pd.DataFrame, name: str, look: dict[str, Any]) -> bool:
    """A network's points, hollow before training, joined along each seed; True if one is infinite."""
    colour = look["color"]
    for _, seed in part.groupby("seed"):
        shown = seed[np.isfinite(seed[name])]
        panel.plot(shown["validation"], shown[name], color=colour, linewidth=0.6, alpha=0.4)
        for untrained, points in shown.groupby(shown["epoch"] == 0):
            face = "white" if untrained else colour
            dots = look | {"linestyle": "none", "markersize": 3, "markerfacecolor": face}
            panel.plot(points["validation"], points[name], **dots)
    values = part[name].to_numpy()
    return style.mark_above(panel, part["validation"].to_numpy(), values, np.finfo(float).max, colour)


def marks(panel: Axes, published: pd.DataFrame, name: str) -> None:
    """What was published of a measure, at its published error: a range as two marks with a line."""
    if name not in published:
        return
    for (system, model), ends in published.dropna(subset=name).groupby(["system", "model"]):
        panel.plot(ends["validation"], ends[name], markersize=3, markerfacecolor="white", **PUBLISHED)
        side = -1 if model == "unet" else 1
        about: dict[str, Any] = {
            "textcoords": "offset points",
            "fontsize": style.SMALLEST,
            "va": "center",
            "color": style.REFERENCE,
        }
        place = ends["validation"].mean(), ends[name].mean()
        panel.annotate(f"{system} {model}", place, (4 * side, 0), ha="right" if side < 0 else "left", **about)
