"""Pictures of the fields themselves: the data, and predictions beside the truth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from surroscope.plots import style

PAGE_HEIGHT = 8.6  # inches that a column of panels may fill, so that the figure still fits a printed page
CURVE = 0.75  # height over width of a panel with a curve
FLAT = 0.6  # inches: panels that are lower have upright text beside them
GAP = 0.12
TITLE = 0.62  # inches that the title of a column takes


def colour_range(values: np.ndarray) -> tuple[float, float, str]:
    """Lower and upper end and map of a field's colours: symmetric about zero where it takes both signs."""
    low, high = float(values.min()), float(values.max())
    if low < 0 < high:
        limit = max(-low, high)
        return -limit, limit, style.DIVERGING
    return low, high if high > low else low + 1.0, style.SEQUENTIAL


def error_limit(errors: np.ndarray, truths: np.ndarray) -> float:
    """End of the colour range of errors: at most the field's own span, so that one rollout that blew up hides none."""
    finite = np.abs(errors[np.isfinite(errors)]).max(initial=0.0)
    return float(min(finite, np.ptp(truths) or np.inf)) or 1.0


def on_line(table: pd.DataFrame) -> bool:
    """Whether the fields have one row of cells, and are drawn as curves against x."""
    return table["y"].nunique() == 1


def proportion(table: pd.DataFrame) -> float:
    """Height over width of the panels of a table's fields."""
    return CURVE if on_line(table) else table["y"].nunique() / table["x"].nunique()


def row_height(size: float, shape: float) -> float:
    """Inches of a row of panels `size` inches wide; the gap between low ones counts."""
    return size * shape + (GAP if shape < 1 else 0)


def widest(height: float, shape: float) -> float:
    """Inches that panels may be wide where a row has `height` inches: what `row_height` undoes."""
    return (height - (GAP if shape < 1 else 0)) / shape


def picture(
    panel: Axes,
    values: np.ndarray,
    low: float,
    high: float,
    colours: str,
    line: str = "black",
    behind: np.ndarray | None = None,
) -> AxesImage | None:
    """Draw a field (Y, X) as an image; a field on a line, (1, X), as a curve, which has no colours.

    Values are bounded far outside the range, because infinities would look missing, not clipped.

    line: colour of a curve; behind: what to draw in grey behind a curve
    """
    far = 1e6 * (high - low)
    values = np.clip(values, low - far, high + far)
    if len(values) > 1:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        return panel.imshow(values, origin="lower", cmap=colours, vmin=low, vmax=high)
    if low < 0 < high:
        panel.axhline(0, color="black", linewidth=0.4, zorder=0)
    if behind is not None:
        panel.plot(behind[0], color=style.REFERENCE, linewidth=0.8, linestyle=":")
    panel.plot(values[0], color=line, linewidth=0.9)
    margin = 0.05 * (high - low)
    panel.set(xlim=(0, values.shape[1] - 1), ylim=(low - margin, high + margin), xlabel="$x$ (cells)")
    panel.locator_params(nbins=3)
    panel.tick_params(labelsize=style.SMALLEST)
    panel.label_outer()
    return None


def bar(figure: Figure, image: AxesImage | None, axes: Any, label: str | None = None, **options: Any) -> None:
    """A colour bar beside images; beside curves a scale at the right of those that have not the first one's range."""
    if image is not None:
        figure.colorbar(image, ax=axes, label=label or "", **options)
    elif label is not None:
        for panel in np.atleast_2d(axes)[:, -1]:
            panel.tick_params(axis="y", left=False, labelleft=False, right=True, labelright=True)
            panel.spines["right"].set_visible(True)
            panel.yaxis.set_label_position("right")
            panel.set_ylabel(label, fontsize=style.SMALLEST)


def name_row(panel: Axes, text: str, upright: bool = False, **font: Any) -> None:
    """Say at the left what a row shows; upright where the panels are too flat for turned text."""
    if upright:
        font |= {"rotation": 0, "ha": "right", "va": "center"}
    panel.set_ylabel(text, **font)


def name_columns(row: Sequence[Axes], first: str, models: Sequence[str]) -> None:
    """Say above a row of panels what its columns show: the truth, then each model and its difference."""
    size = 8 if len(models) <= 2 else style.SMALLEST
    row[0].set_title(first, fontweight="normal", fontsize=size)
    for i, model in enumerate(models):
        row[2 * i + 1].set_title(model, fontsize=size)
        row[2 * i + 2].set_title("difference", fontweight="normal", fontsize=size)


def ranges(table: pd.DataFrame) -> str:
    """What panels of the table's fields share."""
    return "vertical range" if on_line(table) else "colour range"


def only_channel(table: pd.DataFrame, name: str) -> str:
    """The one channel of the table; two would be drawn over each other."""
    channels = table["channel"].unique()
    if len(channels) != 1:
        raise ValueError(f"table {name}: column channel has {list(channels)}, expected one channel")
    return str(channels[0]).replace("_", " ")


def snapshots(table: pd.DataFrame, options: style.Options) -> Figure:
    """One channel of one trajectory a class (rows) at a few snapshots (columns)."""
    channel, classes = only_channel(table, "snapshots"), table["class"].unique()
    table = table.sort_values(["snapshot", "y", "x"], kind="stable")
    columns = table["snapshot"].unique()
    shape = proportion(table)
    size = min(style.DOUBLE_COLUMN / (len(columns) + 0.8), widest(PAGE_HEIGHT / len(classes), shape))
    figure = Figure(figsize=(style.DOUBLE_COLUMN, row_height(size, shape) * len(classes) + 0.4), layout="constrained")
    axes = figure.subplots(len(classes), len(columns), squeeze=False)
    for i, (row, name) in enumerate(zip(axes, classes, strict=True)):
        rows = table[table["class"] == name]
        scale = colour_range(rows["value"].to_numpy())
        for panel, snapshot in zip(row, columns, strict=True):
            part = rows[rows["snapshot"] == snapshot]
            image = picture(panel, style.grid(part, "snapshots", "y", "x", "value", table), *scale)
            if i == 0:
                panel.set_title(f"snapshot {snapshot:g}\n$t$ = {part['time'].iloc[0]:.3g}", fontweight="normal")
        name_row(row[0], name, size * shape < FLAT)
        bar(figure, image, row, pad=0.01, aspect=12 * min(shape, 1))
    style.footnote(
        figure, f"one trajectory a class; {channel}, in the units of the data; {ranges(table)} shared along a row"
    )
    return figure


def prediction(table: pd.DataFrame, options: style.Options) -> Figure:
    """Truth, each model's rollout and its error (columns) for a few rollout steps of each class (rows)."""
    channel, classes = only_channel(table, "prediction"), table["class"].unique()
    table = table.sort_values(["snapshot", "y", "x"], kind="stable")
    parts = style.by_model(table, options)
    cases = {name: table.loc[table["class"] == name, ["start", "snapshot"]].drop_duplicates() for name in classes}
    rows, columns = sum(map(len, cases.values())), 1 + 2 * len(parts)
    shape = proportion(table)
    most = (style.DOUBLE_COLUMN - 1.4) / columns
    size = min(1.3 / min(shape, 1), widest(PAGE_HEIGHT / rows, shape), most)
    column = max(size, min(TITLE, most))
    height = row_height(size, shape)
    width = style.page_width(column * columns + 1.4)
    figure = Figure(figsize=(width, height * rows + 0.6), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False)
    row = 0
    for name, steps in cases.items():
        of_class = table[table["class"] == name]
        truths, errors = of_class["truth"].to_numpy(), (of_class["prediction"] - of_class["truth"]).to_numpy()
        low, high, colours = colour_range(truths)
        limit = error_limit(errors, truths)
        block = axes[row : row + len(steps)]
        low_block = on_line(table) or height * len(steps) < 2.0
        difference = "difference" if low_block else "difference (prediction − truth)"
        for panels, (start, snapshot) in zip(block, steps.itertuples(index=False), strict=True):
            for i, (_, part, look) in enumerate(parts):
                cell = part[(part["class"] == name) & (part["start"] == start) & (part["snapshot"] == snapshot)]
                if cell.empty:  # of another network, which needs more snapshots to start from
                    for panel in panels[2 * i + 1 : 2 * i + 3]:
                        panel.set_axis_off()
                    continue
                truth, predicted = (style.grid(cell, "prediction", "y", "x", c, table) for c in ("truth", "prediction"))
                field = picture(panels[0], truth, low, high, colours)
                picture(panels[2 * i + 1], predicted, low, high, colours, look["color"], behind=truth)
                error = picture(panels[2 * i + 2], predicted - truth, -limit, limit, style.DIVERGING, look["color"])
            name_row(panels[0], f"{name}\n{start:g} → {snapshot:g}", size * shape < FLAT, fontsize=7)
        bars = (
            (error, difference, style.extend(errors, -limit, limit)),
            (field, channel, style.extend(of_class["prediction"].to_numpy(), low, high)),
        )
        for image, label, arrows in bars[: 1 if on_line(table) else 2]:
            bar(figure, image, block, label, aspect=28, pad=0.01, extend=arrows)
        row += len(steps)
    name_columns(axes[0], "truth", [model for model, _, _ in parts])
    notes = ["dotted: truth"] if on_line(table) else []
    style.footnote(
        figure,
        f"one test trajectory a class; {channel}, in the units of the data; rows: first → predicted snapshot",
        *notes,
    )
    return figure
