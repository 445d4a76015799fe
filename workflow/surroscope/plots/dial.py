"""Control networks: measures against what is known to be shared, through training, and their ROC curves."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from surroscope.plots.style import (
    COLOURS,
    DOUBLE_COLUMN,
    LINES,
    REFERENCE,
    SMALLEST,
    Options,
    footnote,
    line_map,
    mark_above,
    number,
)

# (metric, normalisation, measure) -> how it is called; of each kind the paper's first.
SHOWN: dict[str, dict[tuple[str, str, str], str]] = {
    "class": {
        ("span", "standard", "class_transfer_ratio"): "signed $H$:\nclass transfer",
        ("checkpoint", "checkpoint", "kernel_transfer_class"): "kernel transfer",
        ("checkpoint", "checkpoint", "matched_white_class"): "matched transfer\nof white noise",
        ("checkpoint", "checkpoint", "coupling_class"): "coupling $κ$",
    },
    "time": {
        ("span", "standard", "lag_ratio"): "signed $H$:\nlag 8 over lag 0",
        ("checkpoint", "checkpoint", "kernel_transfer_time"): "kernel transfer",
        ("checkpoint", "checkpoint", "matched_white_lag_8"): "matched transfer\nof white noise",
        ("checkpoint", "checkpoint", "coupling_lag_8"): "coupling $κ$",
    },
}
KINDS = {"class": "between classes", "time": "between times"}


def measures(table: pd.DataFrame, options: Options) -> Figure:
    """Each measure shown (columns) against the known share of each kind (rows), a colour an epoch."""
    kinds = [kind for kind in SHOWN if (table["kind"] == kind).any()]
    columns = max(len(rows_of(table, kind)) for kind in kinds)
    figure = Figure(figsize=(DOUBLE_COLUMN, 0.5 + 1.8 * len(kinds)), layout="constrained")
    grid = figure.subplots(len(kinds), columns, squeeze=False)
    epochs = sorted(table["epoch"].unique())
    colours = dict(zip(epochs, line_map()(np.linspace(0, 1, len(epochs))), strict=True))
    for axes, kind in zip(grid, kinds, strict=True):
        shown = rows_of(table, kind)
        for panel in axes[len(shown) :]:
            panel.remove()
        for panel, (label, rows) in zip(axes, shown.items(), strict=False):
            for place, (epoch, part) in enumerate(rows.groupby("epoch")):
                shift = 0.02 * (place - (len(epochs) - 1) / 2)
                look: dict[str, Any] = {"color": colours[epoch], "linestyle": "none", "markersize": 3, "marker": "o"}
                finite = part[np.isfinite(part["value"])]
                panel.plot(finite["share"] + shift, finite["value"], **look)
                medians = part.groupby("share")["value"].median()
                panel.plot(medians.index, medians.where(np.isfinite(medians)), color=colours[epoch])
                mark_above(
                    panel,
                    part["share"].to_numpy() + shift,
                    part["value"].to_numpy(),
                    np.finfo(float).max,
                    colours[epoch],
                )
            panel.axhline(0, color="black", linewidth=0.6, zorder=0)
            panel.set(title=label, xlabel=f"share {KINDS[kind]}\n(fraction)")
        axes[0].set_ylabel("measure (dimensionless)")
    figure.legend(
        handles=[Line2D([], [], color=colours[epoch], marker="o", label=f"epoch {epoch}") for epoch in epochs],
        loc="outside upper center",
        ncols=len(epochs),
    )
    footnote(figure, sample(table), "a point: one network of one seed at one epoch", "line: median of networks")
    return figure


def curves(table: pd.DataFrame, options: Options) -> Figure:
    """The ROC curves of the measures shown, a panel a kind; all epochs pooled."""
    kinds = [kind for kind in SHOWN if (table["kind"] == kind).any()]
    figure = Figure(figsize=(DOUBLE_COLUMN, 3.9), layout="constrained")
    for panel, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        panel.plot([0, 1], [0, 1], color=REFERENCE, linewidth=0.6)
        for place, (label, rows) in enumerate(rows_of(table, kind).items()):
            x, y = rows["false_positive"].to_numpy(), rows["true_positive"].to_numpy()
            area = float(np.trapezoid(y, x))
            name = f"{label.replace(chr(10), ' ')} ({number(area, '.2f')})"
            panel.plot(x, y, color=COLOURS[place % len(COLOURS)], linestyle=LINES[place % len(LINES)], label=name)
        panel.set(
            title=f"sharing {KINDS[kind]}",
            xlabel="networks that share less than half\nand are taken to share (fraction)",
            ylabel="networks that share half or more\nand are taken to share (fraction)",
            aspect="equal",
        )
        panel.legend(loc="lower right", fontsize=SMALLEST)
    footnote(figure, "in brackets: area under the curve", "diagonal: chance")
    return figure


def rows_of(table: pd.DataFrame, kind: str) -> dict[str, pd.DataFrame]:
    """The rows of each measure shown of a kind that the table has, by its label."""
    found = {}
    for (metric, normalization, measure), label in SHOWN[kind].items():
        of = (table["metric"] == metric) & (table["normalization"] == normalization) & (table["measure"] == measure)
        rows = table[of & (table["kind"] == kind)]
        if len(rows):
            found[label] = rows
    return found


def sample(table: pd.DataFrame) -> str:
    """How many networks and seeds there are."""
    return f"n = {table['model'].nunique()} networks × {table['seed'].nunique()} seeds"
