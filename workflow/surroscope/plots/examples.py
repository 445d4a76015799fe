"""Single cases as pictures: the response to one step, and the training trajectories behind one prediction."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from surroscope.plots import fields, style
from surroscope.plots.response import words

FINE = 4  # cells: the period of the grids that strided convolutions and patches leave
GROUPS = {"test": "test", "helped": "helped most", "hurt": "helped least (below zero: hurt)"}


def first_channel(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of the channel that the table names first, sorted by place, and the channel's name for readers."""
    channel = table["channel"].iloc[0]
    return table[table["channel"] == channel].sort_values(["y", "x"], kind="stable"), words(channel)


def response_maps(table: pd.DataFrame, options: style.Options) -> Figure:
    """State of the responding sample, and each model's change of its prediction (columns), for a few pairs (rows)."""
    pairs = table["pair"].unique()
    table, channel = first_channel(table)
    parts = style.by_model(table, options)
    shape = fields.proportion(table)
    upright = shape < fields.FLAT
    margin = 2.3 if upright else 1.7
    size = (style.DOUBLE_COLUMN - margin) / (1 + len(parts))
    size = min(1.5 / min(shape, 1), size, fields.widest((fields.PAGE_HEIGHT - 0.6) / len(pairs), shape))
    height = fields.row_height(size, shape)
    width = style.page_width(size * (1 + len(parts)) + margin)
    # Small text is wider at some resolutions than at the one of the layout.
    layout = ConstrainedLayoutEngine(w_pad=0.1 if upright else None, compress=True)
    figure = Figure(figsize=(width, height * len(pairs) + 0.6), layout=layout)
    axes = figure.subplots(len(pairs), 1 + len(parts), squeeze=False)
    for row, pair in zip(axes, pairs, strict=True):
        of_pair = table[table["pair"] == pair]
        ends = of_pair[["response_class", "response_time", "perturbation_class", "perturbation_time"]].drop_duplicates()
        if len(ends) > 1:
            raise ValueError(f"table response_maps: column pair has {pair:g} for {len(ends)} pairs of samples")
        limit = float(of_pair["response"].abs().max()) or 1.0
        states = []
        for panel, (model, part, look) in zip(row[1:], parts, strict=True):
            cells = part[part["pair"] == pair]
            states.append(style.grid(cells, "response_maps", "y", "x", "state", table))
            if not np.allclose(states[0], states[-1], rtol=1e-5):
                raise ValueError(f"table response_maps: column state of pair {pair:g} differs between models")
            moved = style.grid(cells, "response_maps", "y", "x", "response", table)
            image = fields.picture(
                panel, moved, -limit, limit, style.DIVERGING, look["color"], behind=spread(states[0], limit)
            )
            if image is not None:
                # Without colour the two signs look alike, so the negative one is hatched.
                panel.contourf(moved, levels=[-np.inf, -style.DOTTED * limit], colors="none", hatches=["......"])
                outline(panel, states[0])
            if pair == pairs[0]:
                panel.set_title(model)
        low, high, _ = fields.colour_range(states[0])
        field = fields.picture(row[0], states[0], low, high, "gray")
        end = next(ends.itertuples())
        fields.name_row(
            row[0],
            f"response: {end.response_class}, τ = {end.response_time:g}\nstep on: {end.perturbation_class}, "
            f"t = {end.perturbation_time:g}",
            upright,
            fontsize=style.SMALLEST if upright else np.clip(5.2 * height, style.SMALLEST, 7.0),  # a panel is as high
        )
        fields.bar(figure, field, row[0], pad=0.02, aspect=18 * min(shape, 1))
        change = "change" if upright else "change of\nthe prediction"
        fields.bar(figure, image, row[1:], change, pad=0.02, aspect=18 * min(shape, 1))
    axes[0, 0].set_title("state", fontweight="normal")
    first = {model: part[part["pair"] == pairs[0]] for model, part, _ in parts}
    finest = [f"{model} {100 * fine_share(cells, 'response'):.0f} %" for model, cells in first.items()]
    own = 100 * fine_share(first[parts[0][0]], "state")
    lattice = (
        f"in waves of {FINE} cells or fewer: of the first row's change {', '.join(finest)}, of its state {own:.0f} %"
    )
    state, shared = "state: input of the sample that responds", f"{fields.ranges(table)} shared along a row"
    if fields.on_line(table):
        notes = [f"{state}; dotted: its shape, to compare places", shared]
    else:
        lines = f"{state}; lines: one and two thirds of the state's range"
        notes = [lines, f"{shared}; dotted: below −{100 * style.DOTTED:g} % of it"]
    style.footnote(
        figure,
        "n = 1 pair of samples a row",
        style.quantity_note(table),
        f"{channel}, in the units of the data",
        *notes,
        lattice,
    )
    if shape > 1:
        # High images are narrower than their places before the first layout, which leaves no room for the labels.
        figure.draw_without_rendering()
    return figure


def fine_share(cells: pd.DataFrame, column: str) -> float:
    """Share of the variance over space in waves of at most FINE cells along an axis: checkerboards, small patches."""
    field = cells.pivot(index="y", columns="x", values=column).to_numpy()
    power = np.abs(np.fft.fft2(field - field.mean())) ** 2
    rows, columns = (np.abs(np.fft.fftfreq(size)) for size in field.shape)
    fine = np.maximum(rows[:, None], columns[None]) >= 1 / FINE
    return float(power[fine].sum() / power.sum()) if power.sum() > 0 else 0.0


def spread(state: np.ndarray, limit: float) -> np.ndarray:
    """A state over the range of its response, from -limit to limit."""
    low, high = float(state.min()), float(state.max())
    return limit * (2 * (state - low) / (high - low or 1.0) - 1)


def outline(panel: Axes, state: np.ndarray) -> None:
    """The state's own shape over its response, so that places can be compared without colour."""
    low, high = float(state.min()), float(state.max())
    if low < high:
        levels = [low + share * (high - low) for share in (1 / 3, 2 / 3)]
        panel.contour(state, levels=levels, colors="#404040", linewidths=0.5, linestyles="solid")


def attribution(table: pd.DataFrame, options: style.Options) -> Figure:
    """A test transition and the training trajectories that helped its prediction most and least, a row a model."""
    if unknown := set(table["role"]) - set(GROUPS):
        found = ", ".join(sorted(unknown))
        raise ValueError(f"table attribution_fields: column role has {found}, expected one of {', '.join(GROUPS)}")
    table, channel = first_channel(table)
    parts = style.by_model(table, options)
    cases = [{role: examples(part, role, model) for role in GROUPS} for model, part, _ in parts]
    counts = {role: max(len(of_model[role]) for of_model in cases) for role in GROUPS}
    # A narrow empty column sets the groups apart; the first row holds their headings.
    widths = [width for count in counts.values() for width in (*[1.0] * count, 0.12)][:-1]
    shape = fields.proportion(table)
    size = min(
        1.5,
        (style.DOUBLE_COLUMN - 1.0) / sum(widths),
        fields.widest((fields.PAGE_HEIGHT - 0.6) / len(parts) - 0.5, shape),
    )
    figure = Figure(
        figsize=(style.DOUBLE_COLUMN, (fields.row_height(size, shape) + 0.5) * len(parts) + 0.6), layout="constrained"
    )
    places = figure.add_gridspec(
        1 + len(parts), len(widths), width_ratios=widths, height_ratios=[0.2, *[1] * len(parts)]
    )
    scale = fields.colour_range(table["value"].to_numpy())
    first = 0
    starts = {}
    for role, count in counts.items():
        if count:
            head(figure.add_subplot(places[0, first : first + count]), GROUPS[role])
        starts[role], first = first, first + count + 1
    for i, (of_model, (model, _, _)) in enumerate(zip(cases, parts, strict=True), start=1):
        row = []
        for role, shown in of_model.items():
            for column, (title, cells) in enumerate(shown, start=starts[role]):
                row.append(figure.add_subplot(places[i, column]))
                image = fields.picture(
                    row[-1], style.grid(cells, "attribution_fields", "y", "x", "value", table), *scale
                )
                row[-1].set_title(title, fontsize=style.SMALLEST, fontweight="normal")
        fields.name_row(row[0], model, size * shape < fields.FLAT, fontweight="bold")
        fields.bar(figure, image, row, aspect=14 * min(shape, 1), pad=0.01)
    style.footnote(
        figure,
        "n = 1 test transition a model",
        style.quantity_note(table),
        f"{channel}, in the units of the data; one {fields.ranges(table)}",
        "H: standardised influence, summed over the steps of the training trajectory",
    )
    return figure


def head(panel: Axes, text: str) -> None:
    """A heading with a rule across the columns that it is about."""
    panel.set(xticks=[], yticks=[])
    panel.spines["left"].set_visible(False)
    # Left out of the layout, which would widen the columns for a long heading.
    panel.text(0, 0.25, text, fontweight="bold", va="bottom").set_in_layout(False)


def examples(part: pd.DataFrame, role: str, model: str) -> list[tuple[str, pd.DataFrame]]:
    """Title and cells of every field of a role; the strongest helper and the worst of the rest come first."""
    found: list[tuple[float, str, pd.DataFrame]] = []
    rows = part[part["role"] == role]
    for (name, trajectory, time), cells in rows.groupby(["class", "trajectory", "time"], sort=False):
        influence = float(cells["influence"].iloc[0])
        if role != "test" and np.isnan(influence):
            raise ValueError(f"table attribution_fields: column influence has nan for role {role} of {model}")
        lines = [f"{name} no. {trajectory:g}", f"t = {time:g}"]
        if role != "test":
            lines.append(f"H = {style.number(influence, '#.3g')}")
        found.append((influence, "\n".join(lines), cells))
    if role == "test":
        if len(found) != 1:
            raise ValueError(f"table attribution_fields: column role has {len(found)} tests for {model}, expected one")
    else:
        found.sort(key=lambda case: case[0], reverse=role == "helped")
    return [(title, cells) for _, title, cells in found]
