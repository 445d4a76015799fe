"""What training without groups of transitions did, beside what measures say of the same groups."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from surroscope.plots import style

MEASURES = {
    "retraining": "retraining",
    "whole": "retraining,\nall left out",
    "influence": "signed $H$",
    "influence_standard": "signed $H$,\nstandardised",
    "influence_relative": "signed $H$,\nover the error",
    "kernel_transfer": "kernel transfer",
    "explained": "kernel transfer\nof inputs",
    "coupling": "coupling $κ$",
    "matched_white": "matched transfer,\nwhite noise",
    "matched_residual": "matched transfer,\nresiduals",
    "alignment": "alignment of\nresiduals",
    "nearness": "nearness of inputs",
    "blocks": "same class,\nnear times",
}
# One of each kind: what is measured, signed influence, the kernel, the errors, and a rival that knows nothing.
MAPS = {
    "retraining": "retraining",
    "influence": "signed $H$",
    "kernel_transfer": "kernel transfer",
    "explained": "kernel, of inputs",
    "matched_white": "same pattern",
    "alignment": "residuals",
    "nearness": "nearness",
}
SUMS = {"whole": "left out whole"} | {
    name: MAPS[name] for name in ("retraining", "influence", "kernel_transfer", "matched_white")
}
COLUMNS = 4
KEPT: dict[str, dict[str, Any]] = {
    "influence": {"color": style.COLOURS[1], "marker": "v"},
    "kernel_transfer": {"color": style.COLOURS[0], "marker": "s"},
    "matched_white": {"color": style.COLOURS[3], "marker": "^"},
}
RELATIONS = {
    ("spearman", "all"): "all entries",
    ("spearman", "off the diagonal"): "off the diagonal",
    ("spearman", "within a class"): "within a class,\noff the diagonal",
    ("spearman", "between classes"): "between classes",
    ("lds", "all"): "halves of the groups",
    ("lds", "other groups"): "the same, what others do",
}
SCORES = {"spearman": "rank correlation", "lds": "datamodelling score"}


def maps(table: pd.DataFrame, options: style.Options) -> Figure:
    """Effects between groups beside what measures say, each relative to its diagonal: of each model some rows."""
    table = table[table["level"] == "group"]
    parts, measures = style.by_model(table, options), [name for name in MAPS if (table["measure"] == name).any()]
    each = -(-len(measures) // COLUMNS)
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 1.7 * each * len(parts) + 0.8), layout="constrained")
    grid = figure.subplots(each * len(parts), COLUMNS, squeeze=False)
    names, shown = table["tested"].drop_duplicates().tolist(), []
    for number, (model, part, _) in enumerate(parts):
        panels = grid[each * number : each * (number + 1)].ravel()
        for panel in panels[len(measures) :]:
            panel.remove()
        for place, (panel, measure) in enumerate(zip(panels, measures, strict=False)):
            rows = part[part["measure"] == measure]
            values = style.grid(rows, "retraining_maps", "tested", "left_out", "value", table)
            # Of distances, which are nothing on no diagonal, how much less they are than the largest.
            shown.append(relative(values - values.min() if measure == "nearness" else values))
            images = style.heatmaps([panel], {MAPS[measure]: shown[-1]}, Normalize(-1, 1), style.DIVERGING)
            left, last = place % COLUMNS == 0, number == len(parts) - 1 and place + COLUMNS >= len(measures)
            panel.set_xticks(range(len(names)) if last else [], names if last else [], rotation=90)
            panel.set_yticks(range(len(names)) if left else [], names if left else [])
            panel.tick_params(labelsize=style.SMALLEST)
            panel.invert_yaxis()
            if left:
                panel.set_ylabel(f"class and times tested\n({model})")
            if last:
                panel.set_xlabel("class and times\nleft out")
    values = np.concatenate([matrix.ravel() for matrix in shown])
    label = "relative to the mean diagonal (dimensionless)"
    figure.colorbar(images[0], ax=figure.axes, label=label, extend=style.extend(values, -1, 1), shrink=0.8)
    style.footnote(figure, style.sample_size(table), "mean over seeds; red: leaving the group out harms, or is said to")
    return figure


def relative(values: np.ndarray) -> np.ndarray:
    """A map in units of the mean size of its diagonal."""
    return values / np.abs(np.diagonal(values)).mean()


def sums(table: pd.DataFrame, options: style.Options) -> Figure:
    """The same between classes and between windows: of each model two rows of panels."""
    rows, columns = [], [name for name in SUMS if (table["measure"] == name).any()]
    for model, part, _ in style.by_model(table, options):
        rows += [(f"{level} tested\n({model})", part[part["level"] == level]) for level in ("class", "window")]
    rows = [(title, part) for title, part in rows if part["tested"].nunique() > 1]
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 1.6 * len(rows) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes, (title, part) in zip(grid, rows, strict=True):
        for panel, measure in zip(axes, columns, strict=True):
            own = part[part["measure"] == measure]
            if own.empty:
                panel.set_axis_off()
                continue
            values = relative(style.grid(own, "retraining_maps", "tested", "left_out", "value", own))
            (image,) = images = style.heatmaps([panel], {SUMS[measure]: values}, Normalize(-1, 1), style.DIVERGING)
            style.print_cells(panel, image, style.written(values, ".2f"), fontsize=style.SMALLEST)
            names = part["tested"].drop_duplicates().tolist()
            panel.set_xticks(range(len(names)), names, rotation=90)
            panel.set_yticks(range(len(names)), names if panel is axes[0] else [""] * len(names))
            panel.tick_params(labelsize=style.SMALLEST)
            panel.invert_yaxis()
        axes[0].set_ylabel(title)
    for panel in grid[-1]:
        panel.set_xlabel("left out\n(class, times)")
    figure.colorbar(images[0], ax=grid, label="relative to the mean diagonal\n(dimensionless)", shrink=0.8)
    style.footnote(figure, style.sample_size(table), "mean over seeds; red: leaving it out harms, or is said to")
    return figure


def scores(table: pd.DataFrame, options: style.Options) -> Figure:
    """How well each measure foretells effects and subsets, with what seeds let any prediction reach."""
    there = [key for key in RELATIONS if ((table["score"] == key[0]) & (table["relation"] == key[1])).any()]
    measures = [name for name in MEASURES if (table["measure"] == name).any()][::-1]
    columns = min(len(there), 3)
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 2.6 * -(-len(there) // columns) + 0.4), layout="constrained")
    grid = figure.subplots(-(-len(there) // columns), columns, squeeze=False, sharex=True, sharey=True)
    parts = style.by_model(table, options)
    for panel, (score, relation) in zip(grid.flat, there, strict=False):
        panel.axvline(0, color="black", linewidth=0.6, zorder=0)
        for number, (model, part, look) in enumerate(parts):
            rows = part[(part["score"] == score) & (part["relation"] == relation)]
            _scored(panel, rows, measures, look | {"label": model}, 0.3 * (number - (len(parts) - 1) / 2))
            ceiling = rows[rows["seeds"] == "all"]["ceiling"].iloc[0]
            if np.isfinite(ceiling):
                panel.axvline(ceiling, color=look["color"], linewidth=0.8, linestyle=":")
        panel.set_title(RELATIONS[score, relation], fontsize=7)
        panel.set_yticks(range(len(measures)), [MEASURES[name].replace("\n", " ") for name in measures])
        panel.tick_params(axis="y", labelsize=style.SMALLEST)
        panel.set(xlim=(-1, 1), xlabel=f"{SCORES[score]}\n(dimensionless)")
    for spare in grid.flat[len(there) :]:
        spare.remove()
    handles = [Line2D([], [], **look | {"linestyle": "none"}, label=model) for model, _, look in parts]
    handles.append(Line2D([], [], color=style.REFERENCE, linestyle=":", label="the most that seeds let reach"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    style.footnote(
        figure, style.sample_size(table), "large: of the mean over seeds with its 95 % interval, small: each seed"
    )
    return figure


def _scored(panel: Axes, rows: pd.DataFrame, measures: list[str], look: dict[str, Any], shift: float) -> None:
    places = {name: place + shift for place, name in enumerate(measures)}
    pooled, single = rows[rows["seeds"] == "all"], rows[rows["seeds"] != "all"]
    look = look | {"linestyle": "none"}
    y = pooled["measure"].map(places).to_numpy(float)
    ends = np.abs(pooled[["low", "high"]].to_numpy() - pooled[["value"]].to_numpy()).T
    panel.errorbar(pooled["value"], y, xerr=np.nan_to_num(ends), **look, elinewidth=0.8, markersize=4)
    panel.plot(single["value"], single["measure"].map(places) + 0.12, **look | {"markersize": 1.5, "label": None})


def kept(table: pd.DataFrame, options: style.Options) -> Figure:
    """The share of the gain that is kept of each class and window left out, beside what measures say of it."""
    parts = style.by_model(table, options)
    levels = list(dict.fromkeys(table["level"]))
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 2.3 * len(parts) + 0.5), layout="constrained")
    grid = figure.subplots(len(parts), len(levels), squeeze=False, sharey="row")
    whole: dict[str, Any] = {"color": "black", "marker": "o", "linestyle": "none", "markersize": 5}
    for axes, (model, part, _) in zip(grid, parts, strict=True):
        for panel, level in zip(axes, levels, strict=True):
            rows = part[part["level"] == level]
            names = rows["left_out"].drop_duplicates().tolist()
            own = rows[rows["measure"] == "whole"]
            ends = np.abs(own[["low", "high"]].to_numpy() - own[["value"]].to_numpy()).T
            panel.errorbar(range(len(own)), own["value"], np.nan_to_num(ends), **whole, elinewidth=0.8)
            for number, (measure, look) in enumerate(KEPT.items(), 1):
                said = rows[rows["measure"] == measure]
                places = np.array([names.index(name) for name in said["left_out"]]) + 0.15 * number
                panel.plot(places, said["value"], **look, linestyle="none")
            for height in (0, 1):
                panel.axhline(height, color="black", linewidth=0.4 + 0.2 * (height == 0), zorder=0)
            panel.set_xticks(range(len(names)), names)
            # What is said may be many times what a small number of its own is.
            panel.set_yscale("symlog", linthresh=1)
            panel.set(title=f"{model}: {level} left out")
        axes[0].set_ylabel("share of the gain kept, or\nrelative to own (dimensionless)")
    handles = [Line2D([], [], **whole, label="retraining")]
    handles += [
        Line2D([], [], **look, linestyle="none", label=MEASURES[name].replace("\n", " ")) for name, look in KEPT.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    style.footnote(
        figure,
        style.sample_size(table),
        "bar: 95 % interval over seeds and test trajectories",
        "1: nothing is lost, 0: no better than no change",
    )
    return figure
