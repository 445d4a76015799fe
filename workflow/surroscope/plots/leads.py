"""Networks that are told how far to predict: influence between starts and lead times."""

import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from surroscope.plots import style


def leads(table: pd.DataFrame, options: style.Options) -> Figure:
    """A grid of maps between times: columns are the lead of the step, rows that of the response, models below."""
    table = table.sort_values(["perturbation_time", "response_time"], kind="stable")
    parts, steps = style.by_model(table, options), sorted(table["perturbation_lead"].unique())
    side = (style.DOUBLE_COLUMN - 1.2) / len(steps)
    figure = Figure(figsize=(style.DOUBLE_COLUMN, side * len(steps) * len(parts) + 0.6), layout="compressed")
    axes = figure.subplots(len(parts) * len(steps), len(steps), squeeze=False, sharex=True, sharey=True)
    cells = dict(list(table.groupby(["model", "response_lead", "perturbation_lead"], sort=False)))
    place = "leads", "response_time", "perturbation_time", "median", table
    for number, (model, responds) in enumerate((model, lead) for model, _, _ in parts for lead in steps):
        # Panels are told apart by their step; only the first row of a model has room for its name.
        shown = {
            f"{model}, step at lead {lead:g}": style.grid(cells[model, responds, lead], *place, within=True)
            for lead in steps
        }
        looks = style.BETWEEN_TIMES | {"ylabel": f"lead {responds:g} responds\n{style.BETWEEN_TIMES['ylabel']}"}
        images = style.heatmaps(axes[number], shown, Normalize(-1.0, 1.0), style.DIVERGING, **looks)
        for panel in axes[number]:
            panel.set_title("" if number % len(steps) else panel.get_title(), fontsize=7)
            for axis, column in ((panel.xaxis, "perturbation_time"), (panel.yaxis, "response_time")):
                style.tick_times(axis, table[column])
    figure.colorbar(images[-1], ax=axes, label="cosine of two steps (dimensionless)", shrink=0.6)
    style.footnote(figure, style.sample_size(table), "influence within the span of the gradients; median")
    return figure
