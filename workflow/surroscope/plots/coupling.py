"""What networks share between inputs, beside their influence: against lag and distance, between classes and groups."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from surroscope.plots import style

# Each measure's words, colour, marker and line.
LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "influence": ("influence (signed)", {"color": "black", "marker": "o", "linestyle": "-"}),
    "alignment": ("residuals alone", {"color": style.COLOURS[1], "marker": "v", "linestyle": "--"}),
    "explained": ("kernel: transfer", {"color": style.COLOURS[0], "marker": "s", "linestyle": "-"}),
    "matched_white": ("kernel: same pattern", {"color": style.COLOURS[3], "marker": "^", "linestyle": "-"}),
}
KERNEL = ("explained", "matched_white")
UNTRAINED: dict[str, Any] = {"linestyle": ":", "linewidth": 1.0}
TRANSFER = "kernel transfer (share of own)"


def legend(figure: Figure, panel: Axes) -> None:
    """One for all panels, above them."""
    handles, labels = panel.get_legend_handles_labels()
    handles.append(Line2D([], [], color=style.REFERENCE, **UNTRAINED))
    columns = 3 if figure.get_figwidth() > style.SINGLE_COLUMN else 2
    figure.legend(handles, [*labels, "untrained"], loc="outside upper center", ncols=columns)


def decay(table: pd.DataFrame, options: style.Options) -> Figure:
    """Signed influence, residuals and kernel against lag: a column a model, within a class above, between below."""
    table = table.sort_values("lag", kind="stable")
    parts = style.by_model(table, options)
    relations = style.relations(table)
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 0.6 + 2.0 * len(relations)), layout="constrained")
    axes = figure.subplots(len(relations), len(parts), squeeze=False, sharex=True, sharey=True)
    for column, (model, part, _) in enumerate(parts):
        for panel, relation in zip(axes[:, column], relations, strict=True):
            rows = part[part["relation"] == relation]
            for measure, (words, look) in LOOKS.items():
                trained = rows[(rows["measure"] == measure) & (rows["weights"] == "trained")]
                style.band(panel, trained, "lag", look, words, alpha=0.12)
                style.intervals(panel, trained, "lag", look)
                untrained = rows[(rows["measure"] == measure) & (rows["weights"] == "untrained")]
                if measure in KERNEL and len(untrained):
                    panel.plot(untrained["lag"], untrained["median"], color=look["color"], **UNTRAINED)
            ylabel = f"{relation}, relative\nto itself (dimensionless)"
            title = model if relation == "intra-class" else ""
            style.mark_shared(panel, rows)
            style.against_steps(panel, title=title, xlabel="lag $τ - t$ (snapshots)", ylabel=ylabel)
    top = max(1.1, 1.05 * table["q75"].max())
    axes[0, 0].set_ylim(min(-0.25, table["q25"].min()), top)
    legend(figure, axes[0, 0])
    note = "1: a transition on itself; dotted: the network as it was initialised"
    cut = ("intervals go on beyond the axis",) if (table["high"] > top).any() else ()
    style.footnote(figure, style.sample_size(table), style.SPREAD, note, *cut, *style.sharing_note(table))
    return figure


def classes(table: pd.DataFrame, options: style.Options) -> Figure:
    """Kernel transfer between classes, untrained and trained, and signed influence: a row a model."""
    shown = {}
    for model, part, _ in style.by_model(table, options):
        for measure, weights, words in (
            ("kernel_transfer", "untrained", "shared, untrained"),
            ("kernel_transfer", "trained", "shared, trained"),
            ("influence", "trained", "signed influence"),
        ):
            rows = part[(part["measure"] == measure) & (part["weights"] == weights)]
            if len(rows):
                grids = [
                    style.grid(rows, "coupling_classes", "response_class", "perturbation_class", column, table)
                    for column in ("median", "high", "low")
                ]
                shown[f"{model}: {words}"] = grids
    models = table["model"].nunique()
    columns = len(shown) // models
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 2.2 * models + 0.3), layout="constrained")
    axes = list(figure.subplots(models, columns, squeeze=False, sharex=True, sharey=True).flat)
    labels = {"xlabel": "class observed, or stepped on", "ylabel": "class that responds"}
    medians = {title: grids[0] for title, grids in shown.items()}
    images = style.heatmaps(axes, medians, Normalize(-1, 1), style.DIVERGING, **labels)
    for panel, image, matrices in zip(axes, images, shown.values(), strict=True):
        style.print_stack(panel, image, matrices, ".2f")
        for axis, column in ((panel.xaxis, "perturbation_class"), (panel.yaxis, "response_class")):
            names = table[column].unique()
            axis.set_ticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.colorbar(images[-1], ax=axes, label="relative to itself (dimensionless)", shrink=0.8)
    style.footnote(figure, style.sample_size(table), style.STACKED)
    return figure


def groups(table: pd.DataFrame, options: style.Options) -> Figure:
    """Kernel transfer between windows of times of each class, of the trained networks."""
    table = table[table["weights"] == "trained"].copy()
    for kind in ("response", "perturbation"):
        table[kind] = table[f"{kind}_class"] + " " + (table[f"{kind}_window"] + 1).astype(str)
    shown = {
        model: style.grid(part, "coupling_groups", "response", "perturbation", "median", table, within=True)
        for model, part, _ in style.by_model(table, options)
    }
    figure, axes = style.panels(len(shown), 3.9, sharex=True, sharey=True)
    labels = {"xlabel": "class and window that are observed", "ylabel": "class and window that respond"}
    images = style.heatmaps(axes, shown, Normalize(0, 1), **labels)
    names = table["response"].unique()
    for panel in axes:
        panel.set_xticks(range(len(names)), names, rotation=90, fontsize=style.SMALLEST)
        panel.set_yticks(range(len(names)), names, fontsize=style.SMALLEST)
    axes[0].invert_yaxis()
    values = np.concatenate([matrix.ravel() for matrix in shown.values()])
    figure.colorbar(images[-1], ax=axes, label=TRANSFER, extend=style.extend(values, 0, 1), shrink=0.9)
    style.footnote(figure, style.sample_size(table), "windows of consecutive times, the first is 1")
    return figure


def distance(table: pd.DataFrame, options: style.Options) -> Figure:
    """Kernel and residuals against the distance of the two inputs, a panel a model."""
    parts = style.by_model(table.sort_values("distance", kind="stable"), options)
    figure, axes = style.panels(len(parts), 2.7, sharex=True, sharey=True)
    for panel, (model, part, _) in zip(axes, parts, strict=True):
        for measure in (*KERNEL, "alignment"):
            words, look = LOOKS[measure]
            rows = part[part["measure"] == measure]
            trained = rows[rows["weights"] == "trained"]
            style.band(panel, trained, "distance", look, words, alpha=0.12)
            style.intervals(panel, trained, "distance", look)
            untrained = rows[rows["weights"] == "untrained"]
            if measure in KERNEL and len(untrained):
                panel.plot(untrained["distance"], untrained["median"], color=look["color"], **UNTRAINED)
        panel.axhline(0, color="black", linewidth=0.6, zorder=0)
        panel.set(title=model, xscale="log", xlabel="distance between the inputs (dimensionless)")
        panel.set_ylabel("relative to itself (dimensionless)")
        panel.label_outer()
    legend(figure, axes[0])
    style.footnote(figure, style.sample_size(table), style.SPREAD)
    return figure
