"""Figures can be read by colour-blind readers, on paper without colour, and at the width of a column.

Colour blindness is simulated as by Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009) 1291, severity 1.0, in linear
RGB; distances are those of CIE Lab (1976), where 2 is just noticeable.
"""

from itertools import combinations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from figure_tables import MODELS, OBSERVABLES, PARTS, panels, select
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from surroscope.plots.style import (
    COLOURS,
    DIVERGING,
    DOTTED,
    LINES,
    MARKERS,
    SEQUENTIAL,
    SMALLEST,
    Moving,
    Options,
    by_model,
    line_map,
    styled,
)
from surroscope.report.catalogue import figure, figures_for
from surroscope.report.draw import draw

Tables = dict[str, pd.DataFrame]
LUMINANCE = (0.2126, 0.7152, 0.0722)
SEEN_BY = {
    "anyone": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
    "greyscale": [LUMINANCE] * 3,
}
IN_COLOUR = pytest.mark.parametrize("eye", [eye for eye in SEEN_BY if eye != "greyscale"])
ALL = pytest.mark.parametrize("eye", SEEN_BY)
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(colours: np.ndarray, eye: str) -> np.ndarray:
    """CIE Lab (D65) of sRGB colours (..., 3), 0 to 1, as they are seen."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SEEN_BY[eye]), 0, 1)
    share = seen @ XYZ.T / XYZ.sum(axis=1)
    x, y, z = np.moveaxis(np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def shades(colours: str | Colormap, eye: str) -> np.ndarray:
    """A map's 256 colours as they are seen."""
    return lab(matplotlib.colormaps.get_cmap(colours)(np.linspace(0, 1, 256))[:, :3], eye)


@ALL
def test_the_simulation_keeps_greys(eye: str) -> None:
    """Of each eye; and one that lacks the long or middle cones sees a plane of colours."""
    greys = np.linspace(0, 1, 11)[:, None] * np.ones(3)
    np.testing.assert_allclose(lab(greys, eye), lab(greys, "anyone"), atol=0.01)
    assert lab(np.ones(3), eye)[0] == pytest.approx(100, abs=0.01)
    if eye in ("protanopia", "deuteranopia"):
        assert np.linalg.det(SEEN_BY[eye]) == pytest.approx(0, abs=1e-5)


@ALL
def test_colours_of_models_are_told_apart(eye: str) -> None:
    least = 11 if eye == "greyscale" else 18
    seen = lab(np.array([to_rgb(colour) for colour in COLOURS]), eye)
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(one - other) >= least


def test_models_are_told_apart_without_any_colour() -> None:
    looks = [look for _, _, look in by_model(pd.DataFrame({"model": [f"net{i}" for i in range(20)]}), Options())]
    for count, names in ((4, ("marker",)), (4, ("linestyle",)), (20, ("color", "marker"))):
        assert len({tuple(look[name] for name in names) for look in looks[:count]}) == count
    assert (len(COLOURS), len(LINES), len(MARKERS)) == (4, 4, 5)


@ALL
@pytest.mark.parametrize("colours", [SEQUENTIAL, "gray", line_map()], ids=["sequential", "gray", "lines"])
def test_a_sequential_map_gets_steadily_lighter(colours: str | Colormap, eye: str) -> None:
    lightness = shades(colours, eye)[:, 0]
    assert np.diff(lightness).min() > -1e-9
    assert np.ptp(lightness) > 55


@ALL
def test_a_diverging_map_is_lightest_in_the_middle(eye: str) -> None:
    lightness = shades(DIVERGING, eye)[:, 0]
    assert abs(int(lightness.argmax()) - 127) <= 12
    assert lightness.max() - lightness[[0, -1]].max() > 50


@IN_COLOUR
def test_the_signs_of_a_diverging_map_are_told_apart(eye: str) -> None:
    seen = shades(DIVERGING, eye)
    beyond = int(128 * (1 - DOTTED))  # where dots begin, where there are some
    assert np.linalg.norm(seen - seen[::-1], axis=1)[:beyond].min() > 20


def test_without_colour_other_marks_tell_the_sign(tables: Tables) -> None:
    """A diverging map's two halves are then alike: heatmaps have dots or numbers, maps of the response hatches.

    Fields and their differences in pictures have neither: without colour those show sizes alone.
    """
    grey = shades(DIVERGING, "greyscale")
    assert np.linalg.norm(grey - grey[::-1], axis=1).max() < 10
    table = tables["two_time"]
    limit = select(table, observable="mass")["median"].abs().max()
    drawn = draw("two_time_mass", table, Options(models=MODELS))
    for model, axes in panels(drawn).items():
        rows = select(table, observable="mass", model=model)
        negative = rows[rows["median"] < -DOTTED * limit]
        dots = {tuple(point) for found in axes.collections for point in found.get_offsets()}
        assert dots == {(row.perturbation_time, row.response_time) for row in negative.itertuples()}
        assert dots
    assert "dots: below −" in drawn.get_supxlabel()
    assert "dots" not in draw("two_time", table).get_supxlabel()
    for axes in panels(draw("channels", tables["channels"])).values():
        values = axes.images[0].get_array().ravel()
        signs = [text.get_text().startswith("−") for text in axes.texts[: len(values)]]
        assert signs == [value < 0 for value in values]
    maps = draw("response_maps", tables["response_maps"], Options(models=MODELS))
    assert [found for axes in maps.axes for found in axes.collections if any(getattr(found, "hatches", None) or [])]


def test_the_style_that_others_can_use_has_the_same_colours() -> None:
    with matplotlib.style.context("surroscope.plots.publication"):
        cycle = matplotlib.rcParams["axes.prop_cycle"].by_key()
        assert set(cycle) == {"color"}  # a line without a marker of its own has none
        assert list(cycle["color"]) == list(COLOURS)
        assert matplotlib.rcParams["image.cmap"] == SEQUENTIAL
        assert matplotlib.rcParams["pdf.fonttype"] == matplotlib.rcParams["ps.fonttype"] == 42
        assert matplotlib.rcParams["figure.figsize"][0] == 3.4


def still(name: str, table: pd.DataFrame, models: int) -> Figure:
    """The figure of so many models as it is laid out; of one that moves its last frame."""
    if "model" in table:
        first = select(table, model="vit")
        table = pd.concat([first.assign(model=f"network{i}") for i in range(models)], ignore_index=True)
    drawn = draw(name, table)
    found = drawn.figure if isinstance(drawn, Moving) else drawn
    FigureCanvasAgg(found)
    with styled():
        found.draw_without_rendering()
        found.set_layout_engine("none")
        if isinstance(drawn, Moving):
            drawn.update(drawn.frames - 1)
            found.draw_without_rendering()
    return found


def texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Every text that is drawn, with the place that it takes in pixels; no labels of ticks beyond an axis's ends."""
    beyond = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low - 1e-9 * (high - low) <= tick.get_loc() <= high + 1e-9 * (high - low):
                beyond |= {tick.label1, tick.label2}
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text, text.get_window_extent()) for text in shown if text not in beyond]


@pytest.mark.parametrize("name", figures_for(OBSERVABLES, PARTS))
@pytest.mark.parametrize("models", [1, 2, 4])
def test_no_text_is_cut_off_or_lies_over_another(name: str, models: int, tables: Tables) -> None:
    found = texts(still(name, tables[figure(name).table], models))
    assert found
    width, height = found[0][0].get_figure(root=True).bbox.size
    for text, box in found:
        assert text.get_fontsize() >= SMALLEST
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= -1, text
    upright = [(text, box) for text, box in found if text.get_rotation() in (0, 90)]
    for (one, a), (other, b) in combinations(upright, 2):
        shared = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(shared) <= 1, (one, other)


# What stands on an axis without a unit: numbers of things, and names.
COUNTED = ("epoch", "snapshot", "class", "action", "channel")


@pytest.mark.parametrize("name", figures_for(OBSERVABLES, PARTS))
def test_every_axis_says_its_unit(name: str, tables: Tables) -> None:
    drawn = still(name, tables[figure(name).table], 2)
    note = drawn.get_supxlabel().replace("\n", " ")
    labels = {label for axes in drawn.axes for label in (axes.get_xlabel(), axes.get_ylabel()) if label}
    bare = [label for label in labels if not label.endswith(")") and not label.startswith(COUNTED)]
    assert not bare or "in the units of the data" in note or "dimensionless but for what an axis names" in note
