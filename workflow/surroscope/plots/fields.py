"""Pictures of the fields themselves: the data, and predictions beside the truth."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from surroscope.plots.style import DIVERGING, DOUBLE_COLUMN, SEQUENTIAL, Options, by_model, extend, footnote, grid

PAGE_HEIGHT = 8.6  # inches that a column of panels may fill, so that the figure still fits a printed page


def colour_range(values: np.ndarray) -> tuple[float, float, str]:
    """Lower and upper end and map of a field's colours: symmetric about zero where it takes both signs."""
    low, high = float(values.min()), float(values.max())
    if low < 0 < high:
        limit = max(-low, high)
        return -limit, limit, DIVERGING
    return low, high if high > low else low + 1.0, SEQUENTIAL


def picture(panel: Axes, values: np.ndarray, low: float, high: float, colours: str) -> AxesImage:
    """Draw a field; values are bounded far outside the range, because infinities would look missing, not clipped."""
    far = 1e6 * (high - low)
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    return panel.imshow(np.clip(values, low - far, high + far), origin="lower", cmap=colours, vmin=low, vmax=high)


def only_channel(table: pd.DataFrame, name: str) -> str:
    """The one channel of the table; two would be drawn over each other."""
    channels = table["channel"].unique()
    if len(channels) != 1:
        raise ValueError(f"table {name}: column channel has {list(channels)}, expected one channel")
    return str(channels[0]).replace("_", " ")


def snapshots(table: pd.DataFrame, options: Options) -> Figure:
    """One channel of one trajectory a class (rows) at a few snapshots (columns)."""
    channel, classes = only_channel(table, "snapshots"), table["class"].unique()
    table = table.sort_values(["snapshot", "y", "x"], kind="stable")
    columns = table["snapshot"].unique()
    size = DOUBLE_COLUMN / (len(columns) + 0.8)
    figure = Figure(figsize=(DOUBLE_COLUMN, size * len(classes) + 0.4), layout="constrained")
    axes = figure.subplots(len(classes), len(columns), squeeze=False)
    for i, (row, name) in enumerate(zip(axes, classes, strict=True)):
        rows = table[table["class"] == name]
        scale = colour_range(rows["value"].to_numpy())
        for panel, snapshot in zip(row, columns, strict=True):
            part = rows[rows["snapshot"] == snapshot]
            image = picture(panel, grid(part, "snapshots", "y", "x", "value", table), *scale)
            if i == 0:
                panel.set_title(f"snapshot {snapshot:g}\n$t$ = {part['time'].iloc[0]:.3g}", fontweight="normal")
        row[0].set_ylabel(name)
        figure.colorbar(image, ax=row, pad=0.01, aspect=12)
    footnote(figure, f"one trajectory a class; {channel}, dimensionless; colour range shared along a row")
    return figure


def prediction(table: pd.DataFrame, options: Options) -> Figure:
    """Truth, each model's rollout and its error (columns) for a few rollout steps of each class (rows)."""
    channel, classes = only_channel(table, "prediction"), table["class"].unique()
    table = table.sort_values(["snapshot", "y", "x"], kind="stable")
    parts = by_model(table, options)
    cases = {name: table.loc[table["class"] == name, ["start", "snapshot"]].drop_duplicates() for name in classes}
    rows, columns = sum(map(len, cases.values())), 1 + 2 * len(parts)
    size = min(1.3, PAGE_HEIGHT / rows, (DOUBLE_COLUMN - 1.2) / columns)
    figure = Figure(figsize=(size * columns + 1.4, size * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    row = 0
    for name, steps in cases.items():
        of_class = table[table["class"] == name]
        truths, errors = of_class["truth"].to_numpy(), (of_class["prediction"] - of_class["truth"]).to_numpy()
        low, high, colours = colour_range(truths)
        # A rollout that blew up must not hide how the others err: errors beyond the field's own span are clipped.
        limit = min(float(np.abs(errors).max()), float(np.ptp(truths)) or np.inf) or 1.0
        block = axes[row : row + len(steps)]
        for panels, (start, snapshot) in zip(block, steps.itertuples(index=False), strict=True):
            for i, (_, part, _) in enumerate(parts):
                cell = part[(part["class"] == name) & (part["start"] == start) & (part["snapshot"] == snapshot)]
                truth, predicted = (grid(cell, "prediction", "y", "x", c, table) for c in ("truth", "prediction"))
                field = picture(panels[0], truth, low, high, colours)
                picture(panels[2 * i + 1], predicted, low, high, colours)
                error = picture(panels[2 * i + 2], predicted - truth, -limit, limit, DIVERGING)
            panels[0].set_ylabel(f"{name}\n{start:g} → {snapshot:g}", fontsize=7)
        bars = (
            (error, "difference (prediction − truth)", extend(errors, -limit, limit)),
            (field, channel, extend(of_class["prediction"].to_numpy(), low, high)),
        )
        for image, label, arrows in bars:
            figure.colorbar(image, ax=block, aspect=28, pad=0.01, label=label, extend=arrows)
        row += len(steps)
    axes[0, 0].set_title("truth", fontweight="normal")
    for i, (model, _, _) in enumerate(parts):
        axes[0, 2 * i + 1].set_title(model)
        axes[0, 2 * i + 2].set_title("difference", fontweight="normal")
    footnote(figure, f"one test trajectory a class; {channel}, dimensionless; rows: first → predicted snapshot")
    return figure
