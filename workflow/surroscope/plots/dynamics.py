"""How influence develops during training, and what it has to do with the error of rollouts."""

from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from surroscope.plots import style
from surroscope.plots.response import words
from surroscope.tables.published import SOURCE

# Column of the table of checkpoints -> its panel's axis label, and whether the axis is logarithmic.
SHOWN = {
    "diagonal_mean": ("mean influence on\nits own transition", True),
    "off_diagonal_mean": ("mean influence on\nother transitions", False),
    "off_diagonal_ratio": ("off-diagonal\nratio $R$", False),
    "half_life": ("half-life\n(steps)", False),
    "class_transfer_ratio": ("class transfer", False),
    "dynamic_correlation_length": ("dynamic correlation\nlength", True),
    "largest_metric_eigenvalue": ("largest eigenvalue\nof $M\\hat{η}$", True),
    "participation_ratio": ("participation ratio\n(directions)", False),
    "trust_horizon": ("trust horizon\n(steps)", False),
    "equivariance_error": ("equivariance\nerror", True),
}
COLUMNS = 2


def dynamics(table: pd.DataFrame, options: style.Options) -> Figure:
    """Scalars of every checkpoint against its epoch, small multiples: median and range over seeds."""
    parts = style.by_model(table, options)
    shown = {name: about for name, about in SHOWN.items() if np.isfinite(table[name]).any()}
    rows = ceil(len(shown) / COLUMNS)
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 1.35 * rows + 0.9), layout="constrained")
    axes = list(figure.subplots(rows, COLUMNS, squeeze=False, sharex=True).flat)
    beyond = False
    for panel, (name, (label, logarithmic)) in zip(axes, shown.items(), strict=False):
        # First the axis, up to whose top a band goes that has no end.
        if logarithmic and (table[name].dropna() > 0).all():
            style.decades(panel, table[name])
        else:
            finite = table[name][np.isfinite(table[name])]
            room = 0.05 * float(np.ptp(finite)) or 1.0
            panel.set_ylim(finite.min() - room, finite.max() + room)
        for model, part, look in parts:
            by_epoch = part.groupby("epoch")[name]
            low, median, high = by_epoch.min(), by_epoch.median(), by_epoch.max()
            panel.plot(median.index, np.where(np.isfinite(median), median, np.nan), label=model, **look)
            beyond |= style.mark_above(
                panel, median.index.to_numpy(), high.to_numpy(), np.finfo(float).max, look["color"]
            )
            finite, top = np.isfinite(low), high.clip(upper=panel.get_ylim()[1])
            panel.fill_between(median.index, low, top, where=finite, color=look["color"], alpha=0.2, linewidth=0)
            # A band has no width at an epoch that stands alone.
            panel.vlines(median.index[finite], low[finite], top[finite], color=look["color"], linewidth=0.8)
        panel.set_ylabel(label)
    lowest_row(axes, len(shown))
    figure.align_ylabels(axes[: len(shown)])  # a panel that is removed has no figure to be laid out in
    epochs = np.sort(table["epoch"].unique())
    axes[0].set_xticks(epochs[:: ceil(len(epochs) / 10)])
    axes[0].set_xlim(epochs[0] - 1, epochs[-1] + 1)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(parts))
    notes = ["line: median over seeds, band and bars: range", "dimensionless but for what an axis names"]
    if beyond:
        notes.append("cross: infinite in a seed")
    seeds = pd.DataFrame({"n_seeds": [table["seed"].nunique()]})
    style.footnote(figure, style.sample_size(seeds), style.quantity_note(table), *notes)
    return figure


def lowest_row(axes: list[Axes], count: int) -> None:
    """Label the lowest panel of every column, and remove those that are not used."""
    for number, panel in enumerate(axes):
        if number >= count:
            panel.remove()
        elif number + COLUMNS >= count:
            panel.set_xlabel("epoch")
            panel.tick_params(labelbottom=True)


def rollout_correlation(table: pd.DataFrame, options: style.Options) -> Figure:
    """Correlation of the off-diagonal ratio R with the rollout error at every horizon, one panel a model."""
    parts = style.by_model(table.sort_values("horizon", kind="stable"), options)
    figure, axes = style.panels(len(parts), 2.6, sharex=True, sharey=True)
    theirs = table["published"].notna().any()
    for panel, (model, part, look) in zip(axes, parts, strict=True):
        kinds = {"all classes": ("low", "value", "high"), "within classes": ("within_low", "within", "within_high")}
        hollow: dict[str, Any] = {"linestyle": "--", "markerfacecolor": "white"}
        for shift, (label, ends), face in zip((-0.15, 0.15), kinds.items(), ({"linestyle": "-"}, hollow), strict=True):
            rows = part.assign(place=part["horizon"] + shift, low=part[ends[0]], high=part[ends[2]])
            style.intervals(panel, rows, "place", look)
            panel.plot(rows["place"], rows[ends[1]], label=label, **look | face)
        published: dict[str, Any] = {
            "marker": "D",
            "linestyle": "none",
            "color": style.REFERENCE,
            "markerfacecolor": "white",
        }
        if theirs:
            panel.plot(part["horizon"], part["published"], label=SOURCE, **published)
        label = "correlation of $R$ with\nthe rollout error (dimensionless)"
        style.against_steps(panel, title=model, xlabel="horizon (steps)", ylabel=label, ylim=(-1.05, 1.05))
    axes[0].legend()
    low, high = int(table["n_points"].min()), int(table["n_points"].max())
    points = str(high) if low == high else f"{low} to {high}"
    notes = [
        "filled: Pearson's correlation, hollow: of values less the mean of their class",
        "bars: 95 % bootstrap interval over seeds and probe batches",
    ]
    if theirs:
        notes.append("diamonds: the authors' values, at their size")
    style.footnote(
        figure, f"{style.sample_size(table)}, with the classes {points} points", style.quantity_note(table), *notes
    )
    return figure


def rollout_points(table: pd.DataFrame, options: style.Options) -> Figure:
    """R against the rollout error of every class, probe batch and seed: a column a model, a row a horizon."""
    parts, horizons, classes = style.by_model(table, options), table["horizon"].unique(), table["class"].unique()
    shades = style.line_map()(np.linspace(0, 0.9, len(classes)))
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 2.1 * len(horizons) + 0.7), layout="constrained")
    grid = figure.subplots(len(horizons), len(parts), squeeze=False, sharex="col", sharey="row")
    for column, (model, part, _) in enumerate(parts):
        for panel, horizon in zip(grid[:, column], horizons, strict=True):
            for i, (name, shade) in enumerate(zip(classes, shades, strict=True)):
                rows = part[(part["horizon"] == horizon) & (part["class"] == name)]
                rows = rows[np.isfinite(rows[["ratio", "error"]]).all(axis=1)]
                marker = style.MARKERS[i % len(style.MARKERS)]
                panel.plot(rows["ratio"], rows["error"], color=shade, marker=marker, linestyle="none", label=name)
            steps = "1 step" if horizon == 1 else f"{horizon:g} steps"
            panel.set(title=model if panel is grid[0, column] else "", yscale="log", xlabel="$R$ (dimensionless)")
            panel.set_ylabel(f"SMSE summed over\n{steps} (dimensionless)")
            panel.label_outer()
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    note = "a point: one class, probe batch and seed"
    style.footnote(figure, style.sample_size(table), style.quantity_note(table), note)
    return figure


def drift(table: pd.DataFrame, options: style.Options) -> Figure:
    """Relative drift of every conserved total along rollouts from snapshot 0, one panel a channel."""
    channels = list(table["channel"].unique())
    figure, axes = style.panels(len(channels), 2.2, sharex=True, sharey=True)
    beyond = False
    for panel, channel in zip(axes, channels, strict=True):
        rows = table[table["channel"] == channel].sort_values("snapshot", kind="stable")
        for model, part, look in style.by_model(rows, options):
            beyond |= style.band(panel, part, "snapshot", look, model)
        panel.axvline(options.last_training_snapshot + 0.5, color=style.REFERENCE, linestyle="--", linewidth=0.8)
        label = "relative drift of\nthe total (dimensionless)"
        style.against_steps(panel, zero=False, title=words(channel), xlabel="snapshot", ylabel=label)
    if (table["q25"] > 0).all():
        style.decades(axes[0], pd.concat([table["q25"], table["q75"]]))
    axes[0].legend()
    notes = ["line: median, band: quartiles", "dashed: end of the training snapshots"]
    if beyond:
        notes.append("cross: not finite")
    style.footnote(figure, style.sample_size(table), *notes)
    return figure
