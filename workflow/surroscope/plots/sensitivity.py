"""How far the audit's conclusions hang on the choice of influence: its damping, its rank cut, its metric."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from surroscope.plots.style import DOUBLE_COLUMN, REFERENCE, Options, by_model, footnote, mark_above, sample_size

CONCLUSIONS = {
    "half_life": "half-life (steps)",
    "class_transfer": "class transfer\n(dimensionless)",
    "off_diagonal_ratio": "off-diagonal ratio\n(dimensionless)",
    "correlation": "correlation with the\nreference $H$ (dimensionless)",
}
# Of one quantity and cut: its name, line and marker. The lines stand apart without colour.
CURVES: dict[tuple[str, str], tuple[str, Any, str]] = {
    ("span", "cut"): ("in the span, rank cut", "-", "o"),
    ("span", "none"): ("in the span, no cut", "--", "s"),
    ("full", "-"): ("full parameter space", ":", "^"),
}
BASELINES = {"euclidean": "dot product", "cosine": "cosine", "adam": "Adam step"}  # no damping: beside the axis
DODGE = 0.3  # of the distance between two baselines
WIDTH = 0.4  # decades over which the curves stand side by side at one damping


def sensitivity(table: pd.DataFrame, options: Options) -> Figure:
    """Four conclusions against damping, a colour a model and a line a method; methods without damping at the right."""
    _refuse_unknown(table)
    parts = by_model(table.sort_values("damping", kind="stable"), options)
    names = [name for name in BASELINES if (table["quantity"] == name).any()]
    present = set(zip(table["quantity"], table["cut"], strict=True))
    drawn = {key: look for key, look in CURVES.items() if key in present}
    figure = Figure(figsize=(DOUBLE_COLUMN, 5.0), layout="constrained")
    widths = (4.2, 1.0) if names else (1.0,)
    grid = figure.subplots(2, 2 * len(widths), squeeze=False, width_ratios=2 * widths)
    limits = table["damping"].min() / 2.5, table["damping"].max() * 2.5
    infinite = False
    shown = {column: label for column, label in CONCLUSIONS.items() if np.isfinite(table[column]).any()}
    for unused in grid.reshape(4, len(widths))[len(shown) :].flat:
        unused.remove()
    for number, (column, label) in enumerate(shown.items()):
        axes = grid.reshape(4, len(widths))[number]
        bottom, top = _range(table[column])
        for model, (_, part, look) in enumerate(parts):
            for method, ((quantity, cut), (_, line, marker)) in enumerate(drawn.items()):
                found = over_seeds(part[(part["quantity"] == quantity) & (part["cut"] == cut)], column)
                side = (method * len(parts) + model + 0.5) / (len(drawn) * len(parts)) - 0.5
                found["place"] = found["damping"] * 10 ** (WIDTH * side)
                style = {"color": look["color"], "linestyle": line, "marker": marker}
                infinite |= _curve(axes[0], found, top, style)
            shift = DODGE * (model - (len(parts) - 1) / 2)
            for place, name in enumerate(names):
                found = over_seeds(part[part["quantity"] == name], column).assign(place=place + shift)
                style = {"color": look["color"], "linestyle": "none", "marker": "D"}
                infinite |= _curve(axes[-1], found, top, style)
        for panel in axes:
            panel.set_ylim(bottom, top)
            if bottom < 0:
                panel.axhline(0, color="black", linewidth=0.6, zorder=0)
        axes[0].set(xscale="log", xlim=limits, ylabel=label)
        if names:
            _strip(axes[-1], names)
        if number >= len(shown) - 2:
            axes[0].set_xlabel("damping (dimensionless)")
        else:
            for panel in axes:
                panel.tick_params(labelbottom=False)
    figure.legend(handles=_legend(table, parts, drawn.values()), loc="outside upper center", ncols=4, handlelength=2.6)
    notes = ["median over seeds, bar: range over seeds", "side by side: of one damping"]
    notes.append("ring: the study's own choice, the reference")
    if not table["converged"].all():
        notes.append("hollow: the solver did not converge")
    if infinite:
        notes.append("cross at the top: never falls to half within the lags")
    # A model may have fewer seeds than another; what is counted is what a point of the figure rests on.
    seeds = table.groupby(["model", "quantity", "cut", "damping"], dropna=False)["seed"].transform("nunique")
    footnote(figure, sample_size(table.assign(n_seeds=seeds)), *notes)
    return figure


def over_seeds(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """For each damping the median, smallest and largest value of a column, and the flags of all seeds together."""
    groups = rows.groupby("damping", dropna=False)
    flags = {"converged": groups["converged"].min(), "reference": groups["reference"].max()}
    values = {"low": groups[column].min(), "median": groups[column].agg(np.median), "high": groups[column].max()}
    return pd.DataFrame(values | flags).astype({name: bool for name in flags}).reset_index()


def _refuse_unknown(table: pd.DataFrame) -> None:
    """Raise ValueError for rows that no curve and no baseline of the figure would show."""
    for i, (quantity, cut, damping) in enumerate(zip(table["quantity"], table["cut"], table["damping"], strict=True)):
        if quantity not in BASELINES and (quantity, cut) not in CURVES:
            expected = ", ".join(c for q, c in CURVES if q == quantity)
            raise ValueError(f"table sensitivity: column cut has {cut} in row {i} ({quantity}), expected {expected}")
        if quantity not in BASELINES and np.isnan(damping):
            raise ValueError(f"table sensitivity: column damping has nan in row {i} ({quantity}), expected a number")


def _range(values: pd.Series) -> tuple[float, float]:
    """Lower and upper end of a linear axis that has zero in it and every finite value, with room for the markers."""
    finite = values[np.isfinite(values)]
    low, high = min(0.0, float(finite.min())), max(0.0, float(finite.max()))
    room = 0.08 * (high - low) if high > low else 1.0
    return (low - room if low < 0 else 0.0), high + room


def _curve(panel: Axes, found: pd.DataFrame, top: float, style: dict[str, Any]) -> bool:
    """At each place line, range over seeds, and rings; True if a value is infinite: a cross at the top edge."""
    colour, places = style["color"], found["place"]
    shown = found["median"].where(np.isfinite(found["median"]))
    panel.plot(places, shown, **style)
    panel.vlines(places, found["low"].clip(upper=top), found["high"].clip(upper=top), color=colour, linewidth=0.8)
    # Hollow markers and rings also stand where a cross at the top edge says that the value is infinite.
    edge = found["median"].clip(upper=top)
    hollow = style | {"linestyle": "none", "markerfacecolor": "white"}
    for chosen, look in ((~found["converged"], hollow), (found["reference"], RING | {"zorder": 4})):
        if chosen.any():  # an unclipped line without points would upset the layout
            panel.plot(places[chosen], edge[chosen], **look, clip_on=False)
    return mark_above(panel, places.to_numpy(), found["median"].to_numpy(), np.finfo(float).max, colour)


RING: dict[str, Any] = {
    "color": "black",
    "marker": "o",
    "linestyle": "none",
    "markerfacecolor": "none",
    "markersize": 8,
    "markeredgewidth": 0.9,
}


def _strip(panel: Axes, names: Sequence[str]) -> None:
    """The narrow panel at the right edge: the methods that have no damping, on the same vertical axis."""
    panel.set_xlim(-0.6, len(names) - 0.4)
    panel.set_xticks(range(len(names)), [BASELINES[name] for name in names], rotation=90)
    panel.tick_params(axis="y", left=False, labelleft=False)
    panel.spines["left"].set_visible(False)
    panel.set_facecolor("#f2f2f2")


def _legend(
    table: pd.DataFrame,
    parts: Sequence[tuple[str, pd.DataFrame, dict[str, Any]]],
    methods: Iterable[tuple[str, Any, str]],
) -> list[Line2D]:
    """Entries for the models, for the methods that the table has, for the ring and for what did not converge."""
    entries = [Line2D([], [], color=look["color"], linewidth=3, label=model) for model, _, look in parts]
    for name, line, marker in methods:
        entries.append(Line2D([], [], color=REFERENCE, linestyle=line, marker=marker, label=name))
    if not table["converged"].all():
        hollow: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "linestyle": "none"}
        entries.append(Line2D([], [], color=REFERENCE, label="not converged", **hollow))
    return [*entries, Line2D([], [], label="the study's own choice", **RING)]
