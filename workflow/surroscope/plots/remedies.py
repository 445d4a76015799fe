"""Networks that differ in how they are trained: outcomes against a baseline, and what foretells them."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from surroscope.plots.style import (
    COLOURS,
    DOUBLE_COLUMN,
    REFERENCE,
    SMALLEST,
    Options,
    by_model,
    footnote,
    panels,
    sample_size,
)

PANELS = {
    ("rollout", "trained on"): "rollouts,\nclasses trained on",
    ("rollout", "held out"): "rollouts,\nclasses held out",
    ("one_step", "trained on"): "one step,\nclasses trained on",
}
# Of foresight_arms, with the axis's unit.
SHOWN = {
    "kernel_transfer_class": "kernel transfer between\nclasses (fraction)",
    "kernel_transfer_time": "kernel transfer between\ntimes (fraction)",
    "off_diagonal_ratio": "R of signed influence\n(dimensionless)",
    "validation": "validation SMSE\n(dimensionless)",
}
ROW = 0.17  # inches


def face(planted: bool, colour: str = COLOURS[0]) -> dict[str, Any]:
    """Of a marker: hollow of what is planted."""
    return {"color": colour, "markerfacecolor": "white" if planted else colour}


def rows_down(panel: Axes, names: list[str]) -> None:
    """A row a name, the first on top, named on the first panel of a row of panels alone."""
    panel.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=SMALLEST)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.label_outer()


def ratios(axis: Axis) -> None:
    """Number a logarithmic axis by round numbers, 1 among them: 0.8, 1, 1.2 of a short one, 0.5, 1, 2 of a long one."""
    low, high = axis.get_view_interval()
    short, long = MaxNLocator(7, steps=[1, 2, 5, 10]), LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,))
    ticks = [tick for tick in (short if high < 4 * low else long).tick_values(low, high) if low <= tick <= high]
    axis.set_minor_locator(NullLocator())
    axis.set_ticks(ticks, [f"{tick:.3g}" for tick in ticks])


def of_rows(count: int, height: float) -> Figure:
    """A figure of so many rows with names, which are wider at one resolution than at another."""
    figure = Figure(figsize=(DOUBLE_COLUMN, height + ROW * count))
    figure.set_layout_engine("constrained", w_pad=0.12)
    return figure


def outcomes(table: pd.DataFrame, options: Options) -> Figure:
    """A row a network in the order of the first panel, its ratio to the baseline with interval."""
    there = [key for key in PANELS if ((table["outcome"] == key[0]) & (table["classes"] == key[1])).any()]
    parts = {key: table[(table["outcome"] == key[0]) & (table["classes"] == key[1])] for key in there}
    order = parts[there[0]].sort_values(["rank", "model"])["model"].tolist()
    figure = of_rows(len(order), 1.3)
    for panel, (key, rows) in zip(
        figure.subplots(1, len(there), squeeze=False, sharey=True)[0], parts.items(), strict=True
    ):
        panel.axvline(1, color=REFERENCE, linewidth=0.6)
        for row, planted in zip(rows.itertuples(), rows["planted"].astype(bool), strict=True):
            place = order.index(row.model)
            if np.isinf(row.ratio):
                panel.plot(1, place, "x", color="black", transform=panel.get_yaxis_transform(), clip_on=False)
                continue
            ends = [end if np.isfinite(end) and end > 0 else row.ratio for end in (row.low, row.high)]
            panel.plot(ends, [place, place], color=COLOURS[0], linewidth=1)
            panel.plot(row.ratio, place, "o", **face(planted))
        panel.set_xscale("log")
        ratios(panel.xaxis)
        panel.set(title=PANELS[key], xlabel="error over the baseline's\n(ratio)")
        rows_down(panel, order)
    notes = [
        f"baseline: {table['model'][table['baseline'].astype(bool)].iloc[0]}",
        f"rollouts of {table['steps'].iloc[0]:g} steps",
        "median of paired ratios, 95 % interval",
    ]
    if blown := table.loc[table["blown_up"] > 0, "model"].nunique():
        notes.append(f"networks of which some rollouts blew up: {blown}")
    footnote(figure, sample_size(table), *notes)
    return figure


def foresight(table: pd.DataFrame, options: Options) -> Figure:
    """A row a measure, a panel a kind of classes; rivals last."""
    rivals = table["rival"].astype(bool)
    names = list(dict.fromkeys([*table["measure"][~rivals], *table["measure"][rivals]]))
    kinds = list(dict.fromkeys(table["classes"]))
    figure = of_rows(len(names), 1.4)
    for panel, kind in zip(figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0], kinds, strict=True):
        rows = table[table["classes"] == kind]
        panel.axvline(0, color="black", linewidth=0.6)
        of_all = rows[rows["arms"] == "all"]
        for limit in (of_all["critical"].min(), -of_all["critical"].min()):
            if np.isfinite(limit):
                panel.axvline(limit, color=REFERENCE, linestyle="--", linewidth=0.6)
        if rivals.any() and not rivals.all():
            panel.axhline(len(set(table["measure"][~rivals])) - 0.5, color=REFERENCE, linewidth=0.6)
        for row in rows.itertuples():
            place, whole = names.index(row.measure), row.arms == "all"
            if whole and np.isfinite([row.low, row.high]).all():
                panel.plot([row.low, row.high], [place, place], color=COLOURS[0], linewidth=1)
            panel.plot(row.spearman, place, "o", **face(not whole), zorder=2 if whole else 3)
            if whole:
                panel.plot(row.partial, place, "x", color=COLOURS[1], zorder=4)
        panel.set(
            xlim=(-1.05, 1.05),
            xticks=(-1, -0.5, 0, 0.5, 1),
            title=f"classes {kind}",
            xlabel="rank correlation, 1: foretells\n(dimensionless)",
        )
        rows_down(panel, names)
    arms = int(table["n_arms"].max())
    footnote(
        figure,
        f"epoch {table['epoch'].iloc[0]:g}",
        f"n = {arms} networks, means over {int(table['n_seeds'].max())} seeds",
        "filled: all, with interval; hollow: without planted ones; cross: given the validation error; dashed: 5 %",
    )
    return figure


def arms(table: pd.DataFrame, options: Options) -> Figure:
    """A panel a number: each network by it and by its outcome, with its name."""
    table = table[table["classes"] == table["classes"].iloc[0]]
    there = [name for name in SHOWN if (table["measure"] == name).any()] or [table["measure"].iloc[0]]
    figure, axes = panels(len(there), 2.4, sharey=True)
    for panel, name in zip(axes, there, strict=True):
        rows = table[table["measure"] == name]
        panel.axhline(1, color=REFERENCE, linewidth=0.6)
        for model, row, look in by_model(rows, options):
            hollow = face(bool(row["planted"].astype(bool).iloc[0]), look["color"])
            shown = row[np.isfinite(row["value"]) & np.isfinite(row["ratio"])]
            panel.plot(shown["value"], shown["ratio"], look["marker"], **hollow, label=model)
        panel.set(xlabel=SHOWN.get(name, f"{name} (dimensionless)"), yscale="log")
    ratios(axes[0].yaxis)
    for panel in axes[:: -(-len(axes) // (1 if len(axes) <= 3 else 2))]:
        panel.set_ylabel("rollout error over the\nbaseline's (ratio)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=SMALLEST)
    footnote(figure, f"n = {table['model'].nunique()} networks, means over seeds")
    return figure
