"""What every figure shares: sizes, fonts, one look per model, the note on sample size, reproducible files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from io import BytesIO
from math import ceil
from pathlib import Path
from string import ascii_lowercase
from textwrap import wrap
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Colormap, ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from PIL import Image

from surroscope.influence.normalize import UNITS
from surroscope.influence.solvers import QUANTITIES

SINGLE_COLUMN, DOUBLE_COLUMN = 3.4, 7.0  # inches: the column widths of a two-column journal page

SEQUENTIAL, DIVERGING = "cividis", "RdBu_r"
SHOWN_PERCENTILE = 98
SMALLEST = 6.5  # points: of any text, at the width that a figure is printed at
DOTTED = 0.2  # of a diverging map's range: negative values from here on are dotted, for readers without colour
REFERENCE = "#6b6b6b"  # whatever a model is compared with; colour is kept for the models themselves
# Of Okabe-Ito, the last somewhat darker, so that lightness also differs in print without colour (CIE L* 46, 71, 0, 58).
COLOURS = ("#0072b2", "#e69f00", "#000000", "#c46fa0")
MARKERS = ("o", "s", "^", "D", "v")  # as many as are coprime to the colours: twenty models before a pair repeats
LINES = ("-", "--", "-.", ":")

# The look of every figure; others can have it by plt.style.use("surroscope.plots.publication").
STYLE = Path(__file__).with_name("publication.mplstyle")
SPREAD = "line: median, band: quartiles, bars: 95 % interval of the median"
STACKED = "large: median, small: its 95 % interval"
FRAMES_PER_SECOND = 2
NOTE, LETTER = "note", "letter"
BETWEEN_TIMES = {"xlabel": "perturbation time $t$ (snapshot)", "ylabel": "response time $τ$ (snapshot)"}


# Columns of the ends of intervals, which a number of few units may lack.
ENDS = ("low", "high")


@dataclass(frozen=True)
class Options:
    """What a study chooses about its figures.

    Each is a keyword of every figure: `draw(name, table, Options(letters=True))` gives the figure that a study with
    `figures: {letters: true}` has. A function in plots/ takes (table, options) and no more; letters, notes and labels
    are dealt with by `report.draw.draw`, for all figures alike.

    heatmap_limit: upper end of the colour range of the two-time heatmaps of the cost, which starts at 0; None: the 98th
        percentile of the figure's own cells
    notes: whether the small print stands below the figure
    letters: whether panels have letters: a, b, ... from the upper left, row by row
    labels: model -> what it is called in the figure
    dpi: resolution of the PNG
    models: the study's models in order, which fixes the look of each; empty: their order in the table
    last_training_snapshot: rollouts are marked where they leave the snapshots seen in training
    """

    heatmap_limit: float | None = None
    notes: bool = True
    letters: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    dpi: int = 150
    models: Sequence[str] = ()
    last_training_snapshot: int = 16

    def limit(self, values: pd.Series) -> tuple[float, str]:
        """Upper end of the colours of a two-time heatmap of the cost, and what to say about it beside its unit."""
        if self.heatmap_limit is not None:
            return self.heatmap_limit, ""
        found = float(np.percentile(values[np.isfinite(values)], SHOWN_PERCENTILE))
        return found if found > 0 else 1.0, f"to {SHOWN_PERCENTILE}th percentile"


def styled() -> AbstractContextManager[None]:
    """matplotlib's defaults plus the publication style, whatever the user's own matplotlibrc says."""
    return matplotlib.style.context(STYLE, after_reset=True)


def relations(table: pd.DataFrame) -> list[str]:
    """Those of two transitions that a table has: of one class, and of two where there are two."""
    return [relation for relation in ("intra-class", "inter-class") if relation in set(table["relation"])]


def by_model(table: pd.DataFrame, options: Options) -> list[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Each model of the table with its rows and its colour, marker and line style, in the study's order."""
    parts = []
    for i, model in enumerate(dict.fromkeys([*options.models, *table["model"]])):
        rows = table[table["model"] == model]
        colour, marker, line = (looks[i % len(looks)] for looks in (COLOURS, MARKERS, LINES))
        if len(rows):
            parts.append((model, rows, {"color": colour, "marker": marker, "linestyle": line}))
    return parts


def line_map() -> Colormap:
    """The sequential map without its palest end, for lines on white."""
    return ListedColormap(matplotlib.colormaps[SEQUENTIAL](np.linspace(0.0, 0.85, 256)))


def page_width(inches: float) -> float:
    """The column width of the page that holds so many inches."""
    return SINGLE_COLUMN if inches <= SINGLE_COLUMN else DOUBLE_COLUMN


def panels(count: int, height: float | None = None, **subplots: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `count` equal panels, each row `height` inches (None: square panels beside a colour bar).

    One panel fits one column of the page; more than three go in two rows.
    """
    columns = count if count <= 3 else ceil(count / 2)
    rows = ceil(count / columns)
    width = SINGLE_COLUMN if count == 1 else DOUBLE_COLUMN
    height = height or (width - 1.2) / columns + 0.6
    figure = Figure(figsize=(width, rows * height + 0.1), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **subplots).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def heatmaps(
    axes: Iterable[Axes], matrices: Mapping[str, np.ndarray], scale: Normalize, colours: str = SEQUENTIAL, **looks: Any
) -> list[AxesImage]:
    """A matrix under its title in each panel, all in one range of colours; looks: of the panels, labels above all."""
    images = []
    for panel, (title, matrix) in zip(axes, matrices.items(), strict=True):
        images.append(panel.imshow(matrix, origin="lower", cmap=colours, norm=scale, interpolation="nearest"))
        panel.spines[:].set_visible(False)
        panel.set(title=title, **looks)
        panel.label_outer()
    return images


def tick_times(axis: Axis, times: pd.Series) -> None:
    """Name the rows or columns of a heatmap after the times that they are of, six of them at most."""
    places = np.sort(times.unique())
    every = ceil(len(places) / 6)
    axis.set_ticks(range(0, len(places), every), [f"{time:g}" for time in places[::every]])


def print_cells(panel: Axes, image: AxesImage, texts: np.ndarray, offset: float = 0.0, **font: Any) -> None:
    """A text in each cell of a heatmap, `offset` points above its middle, black or white as can be read there."""
    colours = np.asarray(image.cmap(image.norm(np.asarray(image.get_array()))))
    for (row, column), text in np.ndenumerate(texts):
        font |= {"ha": "center", "va": "center", "color": text_colour(colours[row, column])}
        panel.annotate(text, (column, row), (0, offset), textcoords="offset points", **font)


def band(
    axes: Axes,
    rows: pd.DataFrame,
    x: str,
    look: Mapping[str, Any],
    label: str,
    columns: tuple[str, str, str] = ("q25", "median", "q75"),
    alpha: float = 0.2,
) -> bool:
    """A line between the ends of its band; where it is infinite a cross at the top edge. True if there is one."""
    low, middle, high = (rows[column].to_numpy() for column in columns)
    places = rows[x].to_numpy()
    axes.fill_between(places, low, high, where=np.isfinite(high), color=look["color"], alpha=alpha, linewidth=0)
    axes.plot(places, np.where(np.isinf(middle), np.nan, middle), label=label, **look)
    return mark_above(axes, places, middle, np.finfo(float).max, look["color"])


def broad(colour: Any) -> dict[str, Any]:
    """The look of an error bar that holds quartiles, pale as a band of them is."""
    return {"ecolor": (*to_rgb(colour), 0.35), "elinewidth": 3.0, "capsize": 0}


def intervals(axes: Axes, rows: pd.DataFrame, x: str, look: Mapping[str, Any]) -> None:
    """A bar with caps at each median, which is its 95 % interval, where there is one: no band, as quartiles have."""
    ends = rows[np.isfinite(rows[["low", "high"]]).all(axis=1)]
    for end in ("low", "high"):
        axes.plot(ends[x], ends[end], color=look["color"], marker="_", markersize=4, linestyle="none")
    axes.vlines(ends[x], ends["low"], ends["high"], color=look["color"], linewidth=0.8)


def against_steps(panel: Axes, zero: bool = True, **looks: Any) -> None:
    """A panel whose horizontal axis counts something, with a line at zero if that is where influence ends."""
    if zero:
        panel.axhline(0, color="black", linewidth=0.6, zorder=0)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set(**looks)
    panel.label_outer()


def mark_shared(panel: Axes, part: pd.DataFrame) -> None:
    """Shade the lags at which two transitions of a trajectory share snapshots that the network is given, if any."""
    shared = part["lag"][shares_snapshots(part)].abs()
    if len(shared):
        panel.axvspan(-shared.max() - 0.5, shared.max() + 0.5, color=REFERENCE, alpha=0.15, linewidth=0, zorder=0)


def shares_snapshots(table: pd.DataFrame) -> pd.Series:
    """Which rows of a table against lag are of transitions that share snapshots; none of networks given one."""
    told = table.get("shares_snapshots", pd.Series(False, table.index))
    return told.fillna(False).astype(str) == "True"


def sharing_note(table: pd.DataFrame) -> list[str]:
    """What the shade means, where there is one."""
    return ["grey: transitions of a trajectory share snapshots"] * bool(shares_snapshots(table).any())


def sample_size(table: pd.DataFrame) -> str:
    """For example "n = 3 seeds × 6 probe batches"; a range where the rows of the table differ."""
    parts = []
    for column, one, many in (
        ("n_seeds", "seed", "seeds"),
        ("n_probes", "probe batch", "probe batches"),
        ("n_trajectories", "trajectory", "trajectories"),
        ("n_batches", "batch", "batches"),
    ):
        if column in table:
            low, high = int(table[column].min()), int(table[column].max())
            count = str(low) if low == high else f"{low}–{high}"
            parts.append(f"{count} {one if high == 1 else many}")
    return "n = " + " × ".join(parts)


def influence_label(normalization: str, on: str = "") -> str:
    """Axis label of H, named after its normalisation; `on`: what responds, where that is not the cost itself."""
    return f"{UNITS[normalization][0]} $H$\n{on}(dimensionless)"


def quantity_note(table: pd.DataFrame) -> str:
    """The long name of the one kind of influence that the table holds."""
    return QUANTITIES[table["quantity"].iloc[0]]


def limited(label: str, limit: str) -> str:
    """The label of a colour bar that says where the colours end, if that is not a round number that was chosen."""
    quantity, _, unit = label.replace("\n", " ").removesuffix(")").rpartition(" (")
    return f"{quantity}\n({unit}; {limit})" if limit else label


def footnote(figure: Figure, *sentences: str) -> None:
    """Small print under the figure; a figure label, because the layout makes room for those."""
    lines = wrap("; ".join(sentences), int(18.5 * figure.get_figwidth()))
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=SMALLEST, color=REFERENCE, gid=NOTE)


def without_note(figure: Figure) -> None:
    """Take the small print away, and the room for it, for a caption that says the same."""
    for text in figure.texts:
        if text.get_gid() == NOTE:
            text.set(visible=False, in_layout=False)


def letter(figure: Figure) -> None:
    """A letter at the upper left corner of each panel, row by row; none at colour bars or where one stands alone."""
    shown = [axes for axes in figure.axes if axes.axison and axes.has_data() and axes.get_label() != "<colorbar>"]
    for number, axes in enumerate(shown if len(shown) > 1 else ()):
        text = ascii_lowercase[number % 26] * (1 + number // 26)
        place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right"}
        axes.annotate(text, (0, 1), (-3, 5), **place, va="bottom", fontsize=8, fontweight="bold", gid=LETTER)


def decades(axes: Axes, values: pd.Series) -> None:
    """Logarithmic y axis over whole decades: a ratio that hardly moves must not look like a drama."""
    finite = np.log10(values[np.isfinite(values)])
    if not len(finite):
        return
    low, high = np.floor(finite.min()), np.ceil(finite.max())
    axes.set(yscale="log", ylim=(10.0**low, 10.0 ** max(high, low + 1)))


def number(value: float, form: str) -> str:
    """A formatted number with the minus sign that the axes use, and no negative zero."""
    return f"{value:z{form}}".replace("-", "−")


def written(values: np.ndarray, form: str) -> np.ndarray:
    """Every value of an array as `number` writes it."""
    return np.vectorize(lambda value: number(value, form), otypes=[object])(values)


def print_stack(panel: Axes, image: AxesImage, matrices: Sequence[np.ndarray], form: str) -> None:
    """In each cell a median, above it the upper and below it the lower end of its interval, where there is one."""
    for matrix, offset, size in zip(matrices, (0, 8.5, -8.5), (7.5, SMALLEST, SMALLEST), strict=True):
        print_cells(panel, image, np.where(np.isnan(matrix), "", written(matrix, form)), offset, fontsize=size)


def text_colour(background: Sequence[float] | np.ndarray) -> str:
    """Black or white, whichever contrasts more with an RGB(A) background (WCAG relative luminance)."""
    rgb = np.asarray(background[:3])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return "white" if float(linear @ (0.2126, 0.7152, 0.0722)) < 0.179 else "black"


def extend(values: np.ndarray, low: float, high: float) -> str:
    """Which ends of a colour bar need the arrow that says: values beyond are clipped."""
    below, above = bool((values < low).any()), bool((values > high).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")


def mark_above(axes: Axes, x: np.ndarray, values: np.ndarray, limit: float, colour: Any) -> bool:
    """Crosses at the top edge for values above `limit`, infinite ones too; True if there are any."""
    above = values > limit
    if above.any():
        axes.plot(
            x[above],
            np.ones(above.sum()),
            transform=axes.get_xaxis_transform(),
            color=colour,
            marker="x",
            linestyle="none",
            markersize=4,
            clip_on=False,
        )
    return bool(above.any())


def grid(
    table: pd.DataFrame, name: str, row: str, column: str, value: str, shape_of: pd.DataFrame, *, within: bool = False
) -> np.ndarray:
    """`value` as a matrix (rows x columns) of what `shape_of` lists, in its order, numbers in theirs.

    Every cell must be there; within: but for whole rows and columns, which are NaN, as the times at which a network has
    not all the snapshots that it is given. Ends of intervals may be missing.
    """
    rows, columns = (shape_of[of].drop_duplicates() for of in (row, column))
    rows, columns = (of.sort_values() if of.dtype.kind in "if" else of for of in (rows, columns))
    matrix = table.pivot(index=row, columns=column, values=value)
    there = matrix if within else matrix.reindex(index=rows, columns=columns)
    if value not in ENDS and there.isna().any(axis=None):
        i, j = np.argwhere(there.isna().to_numpy())[0]
        raise ValueError(f"table {name}: no {value} for {row} = {there.index[i]}, {column} = {there.columns[j]}")
    return matrix.reindex(index=rows, columns=columns).to_numpy(dtype=float)


@dataclass(frozen=True)
class Moving:
    """An animation: `update` draws the frame of a number, 0 to frames - 1, on the figure."""

    figure: Figure
    update: Callable[[int], Any]
    frames: int


def still(figure: Figure, dpi: int) -> Image.Image:
    """The figure as it stands in 256 colours: its own, where the commonest alone would band the colour bars."""
    with BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=dpi)
        return Image.open(buffer).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)


def save(drawn: Figure | Moving, files: Sequence[Path], dpi: int) -> None:
    """Write a file of each suffix; the same figure gives the same bytes (no dates, no program version)."""
    figure = drawn.figure if isinstance(drawn, Moving) else drawn
    with styled():
        # A second layout pass would start from the first one's result and move things by a hair.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for path in files:
            if isinstance(drawn, Moving):
                frames = []
                for frame in range(drawn.frames):
                    drawn.update(frame)
                    frames.append(still(figure, dpi))
                frames[0].save(
                    path, save_all=True, append_images=frames[1:], duration=1000 // FRAMES_PER_SECOND, loop=0
                )
            elif path.suffix == ".pdf":
                no_dates = dict.fromkeys(("CreationDate", "Producer", "Creator"))
                figure.savefig(path, dpi=max(dpi, 300), metadata=no_dates)
            elif path.suffix == ".svg":
                figure.savefig(path, dpi=max(dpi, 300), metadata=dict.fromkeys(("Date", "Creator")))
            else:
                figure.savefig(path, dpi=dpi, metadata={"Software": None})
