"""What real steps did to the costs of other transitions, against what influence foretold."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from surroscope.plots import style

# Columns of panels: a kind of step, or the two numbers of steps of the optimiser, and its title.
KINDS = {
    ("span",): "proximal,\nin the span",
    ("full",): "proximal,\nall parameters",
    ("pbrf",): "proximal,\nsolved in full",
    ("sgd",): "SGD",
    ("adamw", "adamw_10"): "AdamW",
    ("adamw_own", "adamw_10_own"): "AdamW, the\nsample's part",
}
PREDICTORS = {
    "first_order": "the step itself, first order",
    "span": "span",
    "full": "full",
    "adam": "Adam step",
    "euclidean": "dot product",
    "cosine": "cosine",
}
RELATIONS = {"inter-class": ("#b0b0b0", "."), "intra-class": ("#0072b2", "."), "self": ("#000000", "x")}
LABELS = {"spearman": "rank correlation", "slope": "slope"}
WIDTH = 0.6  # of the distance between two sizes, over which the predictors stand side by side


def spearman(table: pd.DataFrame, options: style.Options) -> Figure:
    """Rank correlation of changes with predictions against the size of the step: a row a model, a column a kind."""
    return _by_size(table, options, "spearman")


def slope(table: pd.DataFrame, options: style.Options) -> Figure:
    """Slope of changes on predictions against the size of the step."""
    return _by_size(table, options, "slope")


def _by_size(table: pd.DataFrame, options: style.Options, statistic: str) -> Figure:
    rows = table[(table["statistic"] == statistic) & (table["relation"] == "all")]
    parts, columns = style.by_model(rows, options), _columns(rows)
    present = [name for name in PREDICTORS if (rows["predictor"] == name).any()]
    shades = style.line_map()(np.linspace(0, 1, len(present)))
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 1.9 * len(parts) + 0.9), layout="constrained")
    grid = figure.subplots(len(parts), len(columns), squeeze=False, sharey=True)
    entries = []
    for axes, (model, part, _) in zip(grid, parts, strict=True):
        for panel, kinds in zip(axes, columns, strict=True):
            steps = part[part["kind"].isin(kinds)]
            sizes = list(steps.drop_duplicates(["kind", "fall"])[["kind", "fall"]].itertuples(index=False, name=None))
            for p, (predictor, shade) in enumerate(zip(present, shades, strict=True)):
                own = steps[steps["predictor"] == predictor]
                keys = zip(own["kind"], own["fall"].fillna(-1), strict=True)
                order = [(kind, -1 if np.isnan(fall) else fall) for kind, fall in sizes]
                places = np.array([order.index(key) for key in keys]) + WIDTH * ((p + 0.5) / len(present) - 0.5)
                look = {"color": shade, "marker": style.MARKERS[p % len(style.MARKERS)], "linestyle": "none"}
                ends = np.abs(own[["q25", "q75"]].to_numpy() - own[["median"]].to_numpy()).T
                panel.errorbar(places, own["median"], ends, **look, **style.broad(shade), markersize=3.5)
                if panel is grid[0, 0]:
                    entries.append(Line2D([], [], **look, label=PREDICTORS[predictor]))
            _ticks(panel, sizes)
            for height in (0, 1):
                panel.axhline(height, color="black", linewidth=0.4 + 0.2 * (height == 0), zorder=0)
            if statistic == "slope":
                panel.set_yscale("symlog", linthresh=1)
            if panel in grid[0]:
                panel.set_title(KINDS[kinds])
        axes[0].set_ylabel(f"{model}: {LABELS[statistic]}\n(dimensionless)")
    figure.legend(handles=entries, loc="outside upper center", ncols=3, title="changes foretold by")
    style.footnote(figure, _counted(rows), "marker: median, bar: quartiles", "per cent: fall of the step's own error")
    return figure


def _columns(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """The columns of panels whose kinds the table has."""
    return [kinds for kinds in KINDS if table["kind"].isin(kinds).any()]


def _ticks(panel: Axes, sizes: list[tuple[str, float]]) -> None:
    """Name the sizes of the steps of a panel."""
    names = [("10 steps" if "10" in kind else "1 step") if np.isnan(fall) else f"{fall:.0%}" for kind, fall in sizes]
    panel.set_xticks(range(len(sizes)), names)
    panel.set_xlim(-0.6, len(sizes) - 0.4)


def _counted(table: pd.DataFrame) -> str:
    return f"{style.sample_size(table)} × {int(table['n_perturbations'].max())} steps of each kind"


def pairs(table: pd.DataFrame, options: style.Options) -> Figure:
    """Measured against predicted change of every transition, per unit of the step's own first-order fall."""
    rows = table[table["kind"] != "pbrf"]
    # Of the optimiser's, the first step.
    columns = {KINDS[kinds]: rows["kind"] == kinds[0] for kinds in _columns(rows)}
    return _scatter(rows, options, columns, [f"for a fall of {fall:.0%}" for fall in rows["fall"].dropna().unique()])


def pbrf(table: pd.DataFrame, options: style.Options) -> Figure:
    """The same of the proximal problem solved in full: a column a size."""
    rows = table[table["kind"] == "pbrf"]
    return _scatter(rows, options, {f"fall of {fall:.0%}": rows["fall"] == fall for fall in rows["fall"].unique()}, [])


def _scatter(
    table: pd.DataFrame, options: style.Options, columns: Mapping[str, pd.Series], notes: Sequence[str]
) -> Figure:
    parts = style.by_model(table, options)
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 1.9 * len(parts) + 0.7), layout="constrained")
    grid = figure.subplots(len(parts), len(columns), squeeze=False, sharex=True, sharey=True)
    for axes, (model, part, _) in zip(grid, parts, strict=True):
        for panel, (title, chosen) in zip(axes, columns.items(), strict=True):
            own = part[chosen[part.index]]
            for relation, (colour, marker) in RELATIONS.items():
                at = own[own["relation"] == relation]
                look = {"color": colour, "marker": marker, "linestyle": "none", "markersize": 2.5}
                panel.plot(at["predicted"], at["measured"], **look, label=relation)
            ends = np.array([own["predicted"].min(), own["predicted"].max()])
            panel.plot(ends, ends, color=style.REFERENCE, linewidth=0.7, zorder=0)
            panel.set_xscale("symlog", linthresh=1)
            panel.set_yscale("symlog", linthresh=1)
            if panel in grid[0]:
                panel.set_title(title)
            if panel in grid[-1]:
                panel.set_xlabel("predicted (dimensionless)")
        axes[0].set_ylabel(f"{model}: measured\n(dimensionless)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    foretold = f"foretold by: {PREDICTORS[table['predictor'].iloc[0]]}"
    style.footnote(figure, foretold, "in units of the step's own first-order fall", "line: as foretold", *notes)
    return figure
