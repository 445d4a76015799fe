"""Figures of what a network does at turned, mirrored and shifted states show exactly the numbers of their tables."""

import numpy as np
import pandas as pd
import pytest
from figure_tables import MODELS, REACH, panels, select
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from surroscope.plots.orbits import icon
from surroscope.plots.style import Options
from surroscope.report.draw import draw
from surroscope.symmetry import D4, Action

Tables = dict[str, pd.DataFrame]
OPTIONS = Options(models=MODELS)
COLOURS = {"vit": "#0072b2", "unet": "#e69f00"}
QUARTILES = ["q25", "median", "q75"]
ROWS = {"median": "median", "third quartile": "q75"}
ORBITS = pytest.mark.parametrize("name", ["equivariance", "symmetry"])


def levels(axes: Axes, colour: str) -> set[float]:
    """Heights of the lines of a colour that run across the whole panel."""
    return {
        line.get_ydata()[0] for line in axes.lines if list(line.get_xdata()) == [0, 1] and colour == line.get_color()
    }


def crosses(axes: Axes) -> list[float]:
    return sorted(x for line in axes.lines if line.get_marker() == "x" for x in line.get_xdata())


def corners(band: PolyCollection) -> set[tuple[float, ...]]:
    return {tuple(corner) for path in band.get_paths() for corner in path.vertices}


@ORBITS
def test_turns_and_mirrors_are_the_table(name: str, tables: Tables) -> None:
    table = tables[name].sample(frac=1, random_state=1)
    (axes,) = draw(name, table, OPTIONS).axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert set(labels) == set(D4) & set(table["action"])
    assert [container.get_label() for container in axes.containers] == list(MODELS)
    for container, model in zip(axes.containers, MODELS, strict=True):
        marks, _, (bars,) = container.lines
        expected = select(table, model=model).set_index("action").loc[labels]
        places = np.asarray(marks.get_xdata(), dtype=float)
        order = np.argsort(places)
        np.testing.assert_array_equal(np.round(places[order]), range(len(labels)))
        np.testing.assert_array_equal(marks.get_ydata()[order], expected["median"])
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])[order]
        np.testing.assert_allclose(ends, expected[["q25", "q75"]])
        assert levels(axes, COLOURS[model]) == {expected.loc["e", "median"]}


@ORBITS
def test_lines_and_bands_are_the_table(name: str, tables: Tables) -> None:
    table = tables[name]
    shown = panels(draw(f"{name}_lines", table.sample(frac=1, random_state=1), OPTIONS))
    assert list(shown) == ["along x", "along y"]
    for (own, other), panel in zip((("shift_x", "shift_y"), ("shift_y", "shift_x")), shown.values(), strict=True):
        assert panel.get_xlabel().endswith("(cells)")
        bands = [corners(band) for band in panel.collections]
        for model in MODELS:
            still, moved = select(table, model=model, action="e"), select(table, model=model, **{other: 0})
            expected = pd.concat([still, moved[moved[own] > 0]]).sort_values(own)
            assert list(expected[own]) == list(range(REACH + 1))
            (line,) = (line for line in panel.lines if line.get_label() == model)
            np.testing.assert_array_equal(line.get_xydata(), expected[[own, "median"]])
            assert {(x, y) for c in ("q25", "q75") for x, y in expected[[own, c]].to_numpy()} in bands
            assert levels(panel, COLOURS[model]) == set(still["median"])
        assert len(bands) == len(MODELS)
    assert len({panel.get_ylim() for panel in shown.values()}) == 1


@ORBITS
def test_box_is_the_table_in_one_colour_range(name: str, tables: Tables) -> None:
    table = tables[name]
    shown = panels(draw(f"{name}_box", table.sample(frac=1, random_state=1), OPTIONS))
    expected = {f"{model}: {words}": (model, column) for words, column in ROWS.items() for model in MODELS}
    assert list(shown) == list(expected)
    inside = table[~table["action"].isin(D4[1:])]
    for title, (model, column) in expected.items():
        (image,) = shown[title].images
        assert image.origin == "lower"
        for row in select(inside, model=model).to_dict("records"):
            assert image.get_array()[row["shift_y"], row["shift_x"]] == row[column]
        assert image.get_array().shape == (REACH + 1, REACH + 1)
    assert len({id(panel.images[0].norm) for panel in shown.values()}) == 1
    ends = shown["vit: median"].images[0].get_clim()
    along = panels(draw(f"{name}_lines", table, OPTIONS))["along x"].get_ylim()
    assert along[1] == ends[1] >= inside[QUARTILES].to_numpy().max()
    # Of ratios the range is centred on 1, so that no side of it is a colour's alone; no axis goes below zero.
    assert np.mean(ends) == pytest.approx({"equivariance": 1, "symmetry": 0}[name])
    assert along[0] == (max(ends[0], 0) if name == "equivariance" else pytest.approx(ends[0], rel=0.5))


def test_a_box_need_not_be_square(tables: Tables) -> None:
    table = tables["equivariance"]
    shown = panels(draw("equivariance_box", table[table["shift_y"] < 2], OPTIONS))
    assert {panel.images[0].get_array().shape for panel in shown.values()} == {(2, REACH + 1)}


def test_equal_numbers_look_equal(tables: Tables) -> None:
    """Rounding errors of an exactly equivariant network must not fill the colour range."""
    table = tables["equivariance"].assign(**dict.fromkeys(QUARTILES, 1.0))
    for exact in (table, table.assign(q75=1 + 1e-7 * table["shift_x"])):
        (image, *_) = panels(draw("equivariance_box", exact, OPTIONS))["vit: median"].images
        assert image.get_clim() == pytest.approx((0.9, 1.1))


def test_a_box_says_what_it_is_too_small_to_show(tables: Tables) -> None:
    table = tables["equivariance"]
    near = (table["shift_x"] < 2) & (table["shift_y"] < 2) | (table["shift_x"] * table["shift_y"] == 0)
    notes = [
        draw("equivariance_box", rows, OPTIONS).get_supxlabel().replace("\n", " ") for rows in (table, table[near])
    ]
    assert ["a lattice wider than 1 cells does not show" in note for note in notes] == [False, True]


def test_an_icon_is_turned_as_a_state_is() -> None:
    """As the action's matrix does it to a point of the letter."""
    corner = np.array([3, 5]) - (1.5, 2.5)
    for action in D4:
        done = Action.parse(action)
        turn = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), done.turns)
        mirror = np.diag([-1 if done.mirrored else 1, 1])
        np.testing.assert_allclose(icon(action).vertices[2], mirror @ turn @ corner, atol=1e-12)


def test_what_is_not_finite_is_marked_and_does_not_stretch_the_axes(tables: Tables) -> None:
    table = tables["equivariance"]
    plain = {name: draw(name, table, OPTIONS) for name in ("equivariance", "equivariance_lines", "equivariance_box")}
    lost, broad = table["action"].isin(["r", "x2y0", "x2y2"]), table["action"].isin(["s", "x0y1"])
    table.loc[lost, ["median", "q75"]] = np.inf
    table.loc[broad, "q75"] = np.inf
    (axes,) = (turns := draw("equivariance", table, OPTIONS)).axes
    assert np.round(crosses(axes)).tolist() == [1, 1]
    along = draw("equivariance_lines", table, OPTIONS)
    assert [crosses(panel) for panel in panels(along).values()] == [[2, 2], []]
    values = table[QUARTILES].to_numpy()
    furthest = np.abs(values[np.isfinite(values)] - 1).max()
    for figure in (turns, along):
        assert "cross: not finite" in figure.get_supxlabel().replace("\n", " ")
        assert figure.axes[0].get_ylim()[1] <= 1 + 1.1 * furthest
    box = draw("equivariance_box", table, OPTIONS)
    image = panels(box)["vit: median"].images[0]
    assert np.isfinite(image.get_array()).all()
    assert image.get_array()[2, 2] > image.get_clim()[1]
    assert [axes.images[0].colorbar.extend for axes in box.axes if axes.images and axes.images[0].colorbar] == ["max"]
    assert not any("cross" in figure.get_supxlabel() for figure in plain.values())


def test_each_table_says_what_it_holds(tables: Tables) -> None:
    for form in ("", "_lines", "_box"):
        error, influence = (draw(name + form, tables[name], OPTIONS) for name in ("equivariance", "symmetry"))
        labels = [{a.get_ylabel().replace("\n", " ") for a in figure.axes} for figure in (error, influence)]
        assert "one-step SMSE at the image / at the state itself (dimensionless)" in labels[0]
        assert "standardised influence $H$ on its image (dimensionless)" in labels[1]
        assert "influence within the span" in influence.get_supxlabel().replace("\n", " ")
        assert "influence" not in error.get_supxlabel()
