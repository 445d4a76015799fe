"""What a network does at the images of its samples under the symmetries: turns and mirrors, shifts along lines, a box.

The same three forms show the error of a step (table equivariance) and influence (table symmetry): arXiv 2601.20172.
"""

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D, offset_copy

from surroscope.plots import style
from surroscope.plots.response import dodged, quartile_bars
from surroscope.symmetry import D4, IDENTITY, Action

F = Path([(0, 0), (0, 5), (3, 5), (3, 4), (1, 4), (1, 3), (2.5, 3), (2.5, 2), (1, 2), (1, 0), (0, 0)])
LARGEST = np.finfo(float).max
LEAST = 0.1  # of a ratio's range to either side of 1


def name_of(table: pd.DataFrame) -> str:
    return "symmetry" if "quantity" in table else "equivariance"


def label_of(table: pd.DataFrame) -> str:
    """What the table holds at each image."""
    if name_of(table) == "symmetry":
        return style.influence_label("standard", "on its image ")
    return "one-step SMSE at the image / at\nthe state itself (dimensionless)"


def notes_of(table: pd.DataFrame, *notes: str) -> list[str]:
    quantity = [style.quantity_note(table)] if name_of(table) == "symmetry" else []
    return [style.sample_size(table), *quantity, *notes]


def own(part: pd.DataFrame, model: str) -> float:
    """The median at the sample itself."""
    found = part.loc[part["action"] == IDENTITY, "median"]
    if found.empty:
        name = name_of(part)
        raise ValueError(f"table {name}: column action has no {IDENTITY!r} for {model}, the line to compare with")
    return float(found.iloc[0])


def shifted(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of shifts and of the sample itself, which have one range along lines and in the box."""
    return table[(table["shift_x"] > 0) | (table["shift_y"] > 0) | (table["action"] == IDENTITY)]


def span(table: pd.DataFrame) -> tuple[float, float]:
    """Ends of the range in which rows are drawn: of ratios centred on 1, a tenth of it to either side at least.

    A ratio that hardly moves must not look like a drama.
    """
    values = table[["q25", "median", "q75"]].to_numpy()
    values = values[np.isfinite(values)]
    if name_of(table) == "equivariance":
        reach = max(LEAST, 1.05 * float(np.abs(values - 1).max(initial=0.0)))
        return 1 - reach, 1 + reach
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    room = 0.05 * (high - low) or 1.0
    return (low - room if low < 0 else 0.0), high + room


def ceiling(table: pd.DataFrame) -> float:
    """Where the vertical axis ends if the table has infinite values, which must not stretch it; else infinity."""
    values = table[["q25", "median", "q75"]].to_numpy()
    finite = values[np.isfinite(values)]
    return np.inf if finite.size == values.size else 1.1 * max(float(finite.max(initial=0.0)), 1.0)


def below(part: pd.DataFrame, top: float) -> pd.DataFrame:
    """The rows as they can be drawn: quartiles up to the top edge, and no median where it is not finite."""
    finite = part["median"].where(part["median"] <= LARGEST)
    return part.assign(median=finite, q25=part["q25"].clip(upper=top), q75=part["q75"].clip(upper=top))


def finish(axes: Axes, table: pd.DataFrame, top: float) -> list[str]:
    """The line at zero and the ends of the axis, of ratios no lower than zero; what to say about crosses."""
    low, high = span(table)
    axes.axhline(0, color="black", linewidth=0.6, zorder=0)
    axes.set_ylim(max(low, 0.0) if name_of(table) == "equivariance" else low, high)
    return [] if np.isinf(top) else ["cross: not finite"]


def icon(action: str) -> Path:
    """An F as an element of D4 leaves it, for a marker."""
    done = Action.parse(action)
    shape = Affine2D().translate(-1.5, -2.5).rotate_deg(90 * done.turns)
    return shape.scale(-1 if done.mirrored else 1, 1).transform_path(F)


def turns(table: pd.DataFrame, options: style.Options) -> Figure:
    """Quarter turns and mirror images, one marker an element of D4, beside the sample itself."""
    table = table[table["action"].isin(D4)]
    parts, actions, top = style.by_model(table, options), list(table["action"].unique()), ceiling(table)
    figure = Figure(figsize=(style.SINGLE_COLUMN, 2.8), layout="constrained")
    axes = figure.subplots()
    for i, (offset, (model, part, look)) in enumerate(zip(dodged(len(parts)), parts, strict=True)):
        axes.axhline(own(part, model), color=look["color"], linestyle=style.LINES[1 + i % 3], linewidth=1.0, zorder=0)
        places = part["action"].map(actions.index) + offset
        quartile_bars(axes, places, below(part, top), look, model)
        style.mark_above(axes, places.to_numpy(), part["median"].to_numpy(), LARGEST, look["color"])
    crosses = finish(axes, table, top)
    axes.set_xticks(range(len(actions)), actions)
    axes.tick_params(axis="x", pad=15)
    for place, action in enumerate(actions):
        below_axis = offset_copy(axes.get_xaxis_transform(), figure, y=-11, units="points")
        axes.plot(
            place,
            0,
            marker=icon(action),
            markersize=8,
            markeredgewidth=0,
            color="black",
            transform=below_axis,
            clip_on=False,
        )
    axes.set(xlim=(-0.5, len(actions) - 0.5), xlabel="action that makes the image of a sample", ylabel=label_of(table))
    figure.legend(loc="outside upper center", ncols=len(parts) if len(parts) <= 3 else 2)
    legend = "F: what is done to a state; r: quarter turn, s: mirror image, sr: turn, then mirror"
    notes = ["marker: median, bar: quartiles", "broken lines: the sample itself (e)", legend, *crosses]
    style.footnote(figure, *notes_of(table, *notes))
    return figure


def lines(table: pd.DataFrame, options: style.Options) -> Figure:
    """Shifts along either axis, one panel an axis, all models in each."""
    identity = table["action"] == IDENTITY
    along = {
        axis: pd.concat([table[identity], rows]).sort_values(f"shift_{axis}", kind="stable")
        for axis, other in (("x", "y"), ("y", "x"))
        if len(rows := table[(table[f"shift_{axis}"] > 0) & (table[f"shift_{other}"] == 0)])
    }
    if not along:
        raise ValueError(f"table {name_of(table)}: column action has no shift along one axis")
    top = ceiling(pd.concat(along.values()))
    figure, axes = style.panels(len(along), 2.6, sharex=True, sharey=True)
    for panel, (axis, rows) in zip(axes, along.items(), strict=True):
        for i, (model, part, look) in enumerate(style.by_model(rows, options)):
            panel.axhline(
                own(part, model), color=look["color"], linestyle=style.LINES[1 + i % 3], linewidth=0.8, zorder=0
            )
            places = part[f"shift_{axis}"]
            style.band(panel, below(part, top), f"shift_{axis}", look, model)
            style.mark_above(panel, places.to_numpy(), part["median"].to_numpy(), LARGEST, look["color"])
        crosses = finish(panel, shifted(table), top)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set(title=f"along {axis}", xlabel=f"shift along ${axis}$ (cells)", ylabel=label_of(table))
        panel.label_outer()
    axes[0].legend()
    style.footnote(
        figure, *notes_of(table, "line: median, band: quartiles", "broken lines: the sample itself", *crosses)
    )
    return figure


def box(table: pd.DataFrame, options: style.Options) -> Figure:
    """Shifts along both axes at once as heatmaps: medians above, third quartiles below, a column a model."""
    reach = table.loc[(table["shift_x"] > 0) & (table["shift_y"] > 0), ["shift_x", "shift_y"]].max()
    if reach.isna().any():
        raise ValueError(f"table {name_of(table)}: column action has no shift along both axes")
    moved = shifted(table)
    inside = moved[(moved["shift_x"] <= reach["shift_x"]) & (moved["shift_y"] <= reach["shift_y"])]
    parts, columns = style.by_model(inside, options), {"median": "median", "q75": "third quartile"}
    values = inside[list(columns)].to_numpy()
    low, high = span(moved)
    ratios = name_of(table) == "equivariance"
    colours = style.DIVERGING if ratios or low < 0 else style.SEQUENTIAL
    scale = Normalize(low if ratios or not low else -max(-low, high), high if ratios else max(-low, high))
    low, high = scale.vmin or 0.0, scale.vmax or 1.0
    beyond = high + 1e6 * (high - low)  # infinities would look missing, not clipped
    shape = (int(reach["shift_y"]) + 1, int(reach["shift_x"]) + 1)
    line = " " if len(parts) <= 2 else "\n"  # narrow panels have room for one word
    width = min(2.6, (style.DOUBLE_COLUMN - 1.3) / len(parts))
    height = width * min(1.0, shape[0] / shape[1])
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 2 * height + 0.9), layout="compressed")
    axes = figure.subplots(2, len(parts), squeeze=False, sharex=True, sharey=True)
    shown = {}
    for (column, name), (model, part, _) in product(columns.items(), parts):
        matrix = part.pivot(index="shift_y", columns="shift_x", values=column).to_numpy()
        if matrix.shape != shape or np.isnan(matrix).any():
            within = f"{shape[1] - 1} x {shape[0] - 1} cells"
            raise ValueError(f"table {name_of(table)}: column action lacks shifts within {within} for {model}")
        shown[f"{model}:{line}{name}"] = np.minimum(matrix, beyond)
    labels = {"xlabel": "shift along $x$ (cells)", "ylabel": "shift along $y$ (cells)"}
    images = style.heatmaps(axes.flat, shown, scale, colours, **labels)
    for panel in axes.flat:
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    bar = figure.colorbar(
        images[-1], ax=axes, label=label_of(table), shrink=0.9, extend=style.extend(values, low, high)
    )
    if ratios and low < 0:
        bar.ax.set_ylim(bottom=0.0)
    notes = ["lower left corner: the sample itself"]
    if (furthest := int(moved[["shift_x", "shift_y"]].to_numpy().max())) > max(shape) - 1:
        notes.append(f"a lattice wider than {max(shape) - 1} cells does not show here, but along lines, to {furthest}")
    style.footnote(figure, *notes_of(table, *notes))
    return figure
