"""Figures that move: influence between times over training, and a rollout beside the truth."""

from itertools import product

import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from surroscope.plots import fields, style
from surroscope.plots.response import words

NAME = 0.7  # inches that the name of a channel takes


def two_time_training(table: pd.DataFrame, options: style.Options) -> style.Moving:
    """Median H_std between times, one heatmap a model, one frame a probed epoch of each."""
    table = table.sort_values(["epoch", "perturbation_time", "response_time"], kind="stable")
    place = "two_time_training", "response_time", "perturbation_time", "median", table
    shown = {
        model: [(epoch, style.grid(cells, *place, within=True)) for epoch, cells in part.groupby("epoch")]
        for model, part, _ in style.by_model(table, options)
    }
    figure, axes = style.panels(len(shown), sharex=True, sharey=True)
    first = {model: matrices[0][1] for model, matrices in shown.items()}
    high, limited = options.limit(table["median"])
    images = style.heatmaps(axes, first, Normalize(0.0, high), **style.BETWEEN_TIMES)
    for panel in axes:
        for axis in (panel.xaxis, panel.yaxis):
            style.tick_times(axis, table["response_time"])
    arrows = style.extend(table["median"].to_numpy(), 0.0, high)
    label = style.limited(style.influence_label("standard"), limited)
    figure.colorbar(images[0], ax=axes, label=label, extend=arrows, shrink=0.9)
    style.footnote(figure, style.sample_size(table), style.quantity_note(table), "median, one frame a probed epoch")

    def update(frame: int) -> None:
        for panel, image, (model, matrices) in zip(axes, images, shown.items(), strict=True):
            # A model that was probed less often rests at its last epoch.
            epoch, matrix = matrices[min(frame, len(matrices) - 1)]
            image.set_data(matrix)
            panel.set_title(f"{model}, epoch {epoch:g}")

    update(0)
    return style.Moving(figure, update, max(map(len, shown.values())))


def rollout_fields(table: pd.DataFrame, options: style.Options) -> style.Moving:
    """Truth, and each model's rollout with its difference (columns), for every channel (rows); one frame a snapshot."""
    table = table.sort_values(["snapshot", "y", "x"], kind="stable")
    parts, channels, snapshots = style.by_model(table, options), table["channel"].unique(), table["snapshot"].unique()
    columns, shape = 1 + 2 * len(parts), fields.proportion(table)
    size = min((style.DOUBLE_COLUMN - 1.6) / columns, fields.widest(fields.PAGE_HEIGHT / len(channels), shape))
    height = fields.row_height(size, shape) * len(channels)
    figure = Figure(figsize=(style.DOUBLE_COLUMN, height + 0.6 + 0.2 * (shape < 1)), layout="compressed")
    axes = figure.subplots(len(channels), columns, squeeze=False)
    cells = dict(list(table.groupby(["model", "channel", "snapshot"], sort=False)))
    shown = {
        key: [
            style.grid(cells.get(key, table[:0]), "rollout_fields", "y", "x", c, table) for c in ("truth", "prediction")
        ]
        for key in product((model for model, _, _ in parts), channels, snapshots)
    }
    scales, limits, arrows = {}, {}, {}
    for channel, rows in table.groupby("channel", sort=False):
        truth, predicted = (rows[column].to_numpy() for column in ("truth", "prediction"))
        low, high, _ = scales[channel] = fields.colour_range(truth)
        limit = limits[channel] = fields.error_limit(predicted - truth, truth)
        arrows[channel] = style.extend(predicted, low, high), style.extend(predicted - truth, -limit, limit)

    def update(frame: int) -> list[tuple[AxesImage | None, AxesImage | None]]:
        """Draw a snapshot; the images of a channel's truth and of the last model's difference, channel by channel."""
        drawn = []
        for row, channel in zip(axes, channels, strict=True):
            scale, limit = scales[channel], limits[channel]
            for panel in row:
                panel.clear()
            for i, (model, _, look) in enumerate(parts):
                truth, predicted = shown[model, channel, snapshots[frame]]
                if i == 0:
                    field = fields.picture(row[0], truth, *scale)
                fields.picture(row[2 * i + 1], predicted, *scale, look["color"], behind=truth)
                error = fields.picture(row[2 * i + 2], predicted - truth, -limit, limit, style.DIVERGING, look["color"])
            if fields.on_line(table):
                fields.bar(figure, None, row[-1:], "difference")
            fields.name_row(row[0], words(channel), size * shape < NAME, fontsize=7)
            drawn.append((field, error))
        fields.name_columns(axes[0], f"truth\nsnapshot {snapshots[frame]:g}", [model for model, _, _ in parts])
        return drawn

    for row, channel, images in zip(axes, channels, update(0), strict=True):
        # The bar that is added first stands outermost.
        for image, ends in zip(images[::-1], arrows[channel][::-1], strict=True):
            few = MaxNLocator(nbins=max(1, min(5, int(4 * size * shape))))
            fields.bar(figure, image, row, pad=0.01, aspect=14, extend=ends, ticks=few)
    for model, part, _ in parts:
        if len(found := part["start"].unique()) > 1:
            some = ", ".join(f"{start:g}" for start in found)
            raise ValueError(f"table rollout_fields: column start has {some} for {model}, expected one value")
    starts = " or ".join(f"{start:g}" for start in sorted(table["start"].unique()))
    about = [
        f"one test trajectory of {table['class'].iloc[0]}, first seed, from snapshot {starts}",
        "in the units of the data",
        f"{fields.ranges(table)} fixed over the frames",
    ]
    style.footnote(
        figure, *about, "dotted: truth" if fields.on_line(table) else "bars: of the fields, then of the differences"
    )
    return style.Moving(figure, update, len(snapshots))
