"""Networks of several studies by what they share between times and between classes."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from surroscope.diagnostics.verdict import LIMITS
from surroscope.plots import style


def plane(table: pd.DataFrame, options: style.Options) -> Figure:
    """A mark a network: kernel transfer between the first and the last times, and between classes.

    table: a row a network, `model` as it is called here; `value`, `low`, `high` of each of `times`, `least` and `most`,
    as columns times_value and so on. A line goes from the classes that share least to those that share most; where
    these are NaN, since there is one class, the mark stands on the lower edge. Bars are 95 % intervals. Dotted: the
    limits of "kept apart" and "shared".
    """
    figure = Figure(figsize=(style.DOUBLE_COLUMN * 0.75, 3.6), layout="constrained")
    axes = figure.subplots()
    for limit in LIMITS:
        axes.axhline(limit, color=style.REFERENCE, linewidth=0.8, linestyle=":", zorder=0)
        axes.axvline(limit, color=style.REFERENCE, linewidth=0.8, linestyle=":", zorder=0)
    for name, rows, look in style.by_model(table, options):
        (row,) = rows.to_dict("records")
        line = {"color": look["color"], "linewidth": 1.0}
        axes.plot([row["times_value"]] * 2, [row["least_value"], row["most_value"]], **line)
        for end, filled in (("least", look["color"]), ("most", "white")):
            if np.isnan(row[f"{end}_value"]):
                if end == "least":  # of one class
                    (mark,) = axes.plot(row["times_value"], 0, look["marker"], color=look["color"], label=name)
                    mark.set(transform=axes.get_xaxis_transform(), clip_on=False)
                continue
            bars = {
                f"{axis}err": [
                    [max(row[f"{of}_value"] - row[f"{of}_low"], 0.0)],
                    [max(row[f"{of}_high"] - row[f"{of}_value"], 0.0)],
                ]
                for axis, of in (("x", "times"), ("y", end))
                if np.isfinite([row[f"{of}_low"], row[f"{of}_high"]]).all()
            }
            axes.errorbar(
                *(row["times_value"], row[f"{end}_value"]),
                **bars | line,
                marker=look["marker"],
                markersize=5,
                markerfacecolor=filled,
                label=name if end == "least" else None,
            )
    axes.set(
        xlabel="kernel transfer, first and last times",
        ylabel="kernel transfer between classes\n(filled: those that share least)",
    )
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set(xlim=(min(-0.05, left), max(1.05, right)), ylim=(min(-0.05, low), max(1.05, high)))
    figure.legend(loc="outside right upper", frameon=False)
    return figure
