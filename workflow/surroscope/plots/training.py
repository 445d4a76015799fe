"""How accurate the surrogates are: cost against epoch, and cumulative cost of rollouts."""

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.markers import CARETDOWNBASE
from matplotlib.ticker import MaxNLocator

from surroscope.plots import style

# A cumulative SMSE of order one already means that nothing of the state is left; without a ceiling
# one rollout that blows up to 1e30 would flatten all others.
ROLLOUT_CEILING = 1e3
PERSISTENCE = "persistence"


def training(table: pd.DataFrame, options: style.Options) -> Figure:
    """Training and validation SMSE against epoch, with the error of predicting no change, one panel a model."""
    table = table.sort_values("epoch", kind="stable")
    parts = style.by_model(table, options)
    figure, axes = style.panels(len(parts), 2.5, sharey=True)
    for panel, (model, part, look) in zip(axes, parts, strict=True):
        for name, colour, line in (("train", style.REFERENCE, "--"), ("validation", look["color"], "-")):
            columns, label = (f"{name}_minimum", f"{name}_median", f"{name}_maximum"), name.replace("train", "training")
            style.band(panel, part, "epoch", {"color": colour, "linestyle": line}, label, columns, 0.22)
        panel.plot(part["epoch"], part["persistence"], color="black", linestyle=":", label="no change predicted")
        labels = {"xlabel": "epoch", "ylabel": "one-step SMSE (dimensionless)"}
        style.against_steps(panel, zero=False, title=model, **labels, yscale="log")
        panel.legend()
    style.footnote(figure, style.sample_size(table), "line: median over seeds, band: range")
    return figure


def rollout_error(table: pd.DataFrame, options: style.Options) -> Figure:
    """SMSE of each step of rollouts from the first start, all models in one panel, a tick at each trust horizon."""
    table = table.sort_values("snapshot", kind="stable")
    parts = style.by_model(table[table["model"] != PERSISTENCE], options)
    idle = table[table["model"] == PERSISTENCE]
    figure = Figure(figsize=(style.DOUBLE_COLUMN, 3.0), layout="constrained")
    axes = figure.subplots()
    beyond = False
    for number, (model, part, look) in enumerate(parts):
        rows = part.assign(place=part["snapshot"] + 0.2 * (number - (len(parts) - 1) / 2))
        beyond |= style.band(axes, rows, "place", look, model)
        style.intervals(axes, rows, "place", look)
        horizon = float(part["trust_horizon"].iloc[0])
        if np.isfinite(horizon):
            place = part["start"].iloc[0] + horizon + 0.2 * (number - (len(parts) - 1) / 2)
            edge = axes.get_xaxis_transform()
            axes.plot(
                [place], [1], marker=CARETDOWNBASE, markersize=7, color=look["color"], transform=edge, clip_on=False
            )
    if len(idle):
        axes.plot(idle["snapshot"], idle["median"], color="black", linestyle=":", label="no change predicted")
    axes.axvline(options.last_training_snapshot + 0.5, color=style.REFERENCE, linestyle="--", linewidth=0.8)
    labels = {"xlabel": "snapshot", "ylabel": "SMSE of this step\n(dimensionless)"}
    style.against_steps(axes, zero=False, **labels, yscale="log")
    values = table[["q25", "median", "q75"]].to_numpy()
    values = values[np.isfinite(values) & (values > 0) & (values <= ROLLOUT_CEILING)]
    if values.size:
        axes.set_ylim(values.min() / 1.5, values.max() * 1.5)
    axes.legend(loc="lower right")
    notes = [style.SPREAD, "tick at the top: trust horizon", "dashed: end of the training snapshots"]
    if beyond:
        notes.append("cross: not finite")
    style.footnote(figure, style.sample_size(table), *notes)
    return figure


def rollout(table: pd.DataFrame, options: style.Options) -> Figure:
    """Cumulative SMSE of rollouts from every start, one panel a model; quartile band for the first start."""
    table = table.sort_values(["start", "snapshot"], kind="stable")
    # The baseline comes last and takes no model's colour: its curves are coloured by start like the others.
    parts = sorted(style.by_model(table, options), key=lambda part: part[0] == PERSISTENCE)
    idle = table[table["model"] == PERSISTENCE]
    figure, axes = style.panels(len(parts), 2.6, sharex=True, sharey=True)
    scale = Normalize(float(table["start"].min()), max(float(table["start"].max()), float(table["start"].min()) + 1))
    diverged = False
    for panel, (model, part, _) in zip(axes, parts, strict=True):
        for start, curve in part.groupby("start"):
            colour = style.line_map()(scale(start))
            values = curve["median"].to_numpy()
            shown = np.where(values <= ROLLOUT_CEILING, values, np.nan)
            panel.plot(curve["snapshot"], shown, color=colour, linewidth=0.9, marker=".", markersize=2)
            diverged |= style.mark_above(panel, curve["snapshot"].to_numpy(), values, ROLLOUT_CEILING, colour)
            if start == part["start"].min():
                low, high = (np.minimum(curve[column], 10 * ROLLOUT_CEILING) for column in ("q25", "q75"))
                panel.fill_between(curve["snapshot"], low, high, color=colour, alpha=0.18, linewidth=0)
        baseline = idle[idle["start"] == part["start"].min()]
        if model != PERSISTENCE and len(baseline):
            panel.plot(baseline["snapshot"], baseline["median"], color="black", linestyle=":")
        panel.axvline(options.last_training_snapshot + 0.5, color=style.REFERENCE, linestyle="--", linewidth=0.8)
        labels = {"xlabel": "snapshot", "ylabel": "cumulative SMSE (dimensionless)"}
        style.against_steps(panel, zero=False, title=model, **labels, yscale="log")
    # Zero, of a class at rest, is beyond a logarithmic axis: its curves lie on the bottom edge.
    shown = table[["q25", "median", "q75"]].to_numpy()
    shown = shown[(shown > 0) & (shown <= ROLLOUT_CEILING)]
    lowest, highest = (shown.min(), shown.max()) if shown.size else (ROLLOUT_CEILING / 10, ROLLOUT_CEILING)
    axes[0].set_ylim(min(lowest / 2, ROLLOUT_CEILING / 10), ROLLOUT_CEILING if diverged else 2 * highest)
    starts = ScalarMappable(scale, style.line_map())
    label = "snapshot the rollout starts from"
    figure.colorbar(starts, ax=axes, label=label, shrink=0.9, ticks=MaxNLocator(integer=True))
    notes = ["median of every start", "band: quartiles of the first", "dashed: end of the training snapshots"]
    if len(idle):
        notes.append("dotted: persistence, no change predicted, first start")
    if diverged:
        notes.append(f"cross: above {ROLLOUT_CEILING:g}")
    style.footnote(figure, style.sample_size(table), *notes)
    return figure
