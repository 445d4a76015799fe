"""What networks share between times and between classes, against the limits of the verdict's labels."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from surroscope.diagnostics.verdict import LIMITS, UNTOLD
from surroscope.plots import style

ALONE = -0.2  # where marks of networks of one class stand, which share nothing with others nor keep it from them
MARKED: dict[str, Any] = {"markersize": 5, "linestyle": "none"}
BEFORE: dict[str, Any] = {"markersize": 4, "linestyle": "none", "markerfacecolor": "white"}
OTHER: dict[str, Any] = {"markersize": 2, "linestyle": "none", "alpha": 0.6}
PATH: dict[str, Any] = {"marker": "", "linewidth": 0.6, "linestyle": "-", "alpha": 0.6}
PALE: dict[str, Any] = {"alpha": 0.35}


def plane(table: pd.DataFrame, options: style.Options) -> Figure:
    """Kernel transfer between the first and the last times, and between classes: a mark a pair of classes.

    table: a row each network, `weights` (trained, untrained), `noise` and pair of `classes` (one class, if there is
    no other): `between_times` and `between_classes` with the ends of their intervals, `between_times_low` and so
    on, NaN where there are none, and the verdict's `label`. Bars stand at the pairs that share least and most, thin
    lines begin where the untrained network lies, and networks of which nothing can be said are pale.
    """
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 3.4), layout="constrained")
    axes = figure.subplots()
    bounds(axes)
    first = table.groupby("model")["noise"].transform("first")
    alone = ~table["classes"].str.contains(" and ", regex=False)
    table = table.assign(other=table["noise"] != first, between_classes=table["between_classes"].mask(alone, ALONE))
    handles = []
    for name, part, look in style.by_model(table, options):
        mark = {"color": look["color"], "marker": look["marker"]}
        label = part["label"].iloc[0]
        pale, told = (PALE, f"{name}: {label}") if label in UNTOLD else ({}, name)
        handles.append(Line2D([], [], **mark | MARKED | pale, label=told))
        trained, before = ((part["weights"] == weights) for weights in ("trained", "untrained"))
        own, before = part[trained & ~part["other"]], part[before & ~part["other"]]
        for _, both in pd.concat([before, own]).groupby("classes"):
            axes.plot(both["between_times"], both["between_classes"], **mark | PATH)
        for rows, drawn in ((before, BEFORE), (part[trained & part["other"]], OTHER), (own, MARKED | pale)):
            axes.plot(rows["between_times"], rows["between_classes"], **mark | drawn)
        ends = own.dropna(subset="between_classes").sort_values("between_classes")
        for _, row in ends.iloc[sorted({0, len(ends) - 1} if len(ends) else ())].iterrows():
            bars(axes, row, {"color": look["color"]} | pale)
    grey = {"color": style.REFERENCE, "marker": "o"}
    if (table["weights"] == "untrained").any():
        handles.append(Line2D([], [], **grey | BEFORE, label="before training"))
    if table["other"].any():
        handles.append(Line2D([], [], **grey | OTHER, label="other noise"))
    axes.set(xlabel="between first and last times (share of own)", ylabel="between two classes (share of own)")
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set(xlim=(min(-0.05, left), max(1.05, right)), ylim=(min(-0.05, low), max(1.05, high)))
    if alone.any():
        ticks = [] if alone.all() else [tick for tick in axes.get_yticks() if 0 <= tick <= max(1.05, high)]
        axes.set_yticks([ALONE, *ticks], ["one class", *(f"{tick:.1f}" for tick in ticks)])
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    bars_are = "bars: 95 % intervals"
    if not alone.all():
        bars_are = f"a filled mark: a pair of classes; {bars_are}, of the pairs at the ends"
    style.footnote(figure, bars_are, "dotted: limits between labels")
    return figure


def bounds(axes: Axes) -> None:
    """The limits, and what lies between them, named along the upper and the right edge."""
    for limit in LIMITS:
        axes.axhline(limit, color=style.REFERENCE, linewidth=0.8, linestyle=":", zorder=0)
        axes.axvline(limit, color=style.REFERENCE, linewidth=0.8, linestyle=":", zorder=0)
    apart, shared = LIMITS
    text: dict[str, Any] = {"fontsize": style.SMALLEST, "color": style.REFERENCE}
    upright = text | {"rotation": 270}
    for place, words in ((apart / 2, "kept apart"), ((apart + shared) / 2, "partly shared"), (shared + 0.06, "shared")):
        axes.annotate(words, (place, 1.01), xycoords=("data", "axes fraction"), ha="center", va="bottom", **text)
        axes.annotate(words, (1.01, place), xycoords=("axes fraction", "data"), ha="left", va="center", **upright)


def bars(axes: Axes, row: pd.Series, look: dict[str, Any]) -> None:
    """The intervals of a mark, of those that have one."""
    ends: dict[str, Any] = {
        f"{axis}err": [[max(row[name] - row[f"{name}_low"], 0.0)], [max(row[f"{name}_high"] - row[name], 0.0)]]
        for axis, name in (("x", "between_times"), ("y", "between_classes"))
        if np.isfinite([row[f"{name}_low"], row[f"{name}_high"]]).all()
    }
    axes.errorbar(row["between_times"], row["between_classes"], **ends, **look, linewidth=1.0, linestyle="none")
