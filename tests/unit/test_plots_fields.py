"""Figures of fields on grids that are not square, and on lines, where curves stand for images."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from figure_tables import CHANNELS, CLASSES, MODELS, all_tables, select
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from surroscope.plots.style import Options, save
from surroscope.report.draw import draw

# Figure -> table, and the column of the field that its first panel shows.
FIELDS = {
    "snapshots": ("snapshots", "value"),
    "prediction": ("prediction", "truth"),
    "response_maps": ("response_maps", "state"),
    "attribution": ("attribution_fields", "value"),
}
LINE, OPTIONS = (1, 16), Options(models=MODELS)


def panels(figure: Figure) -> list[Axes]:
    """The axes of fields, in the order of rows: no colour bars, no headings."""
    return [axes for axes in figure.axes if axes.images or axes.lines]


def curves(axes: Axes) -> dict[str, np.ndarray]:
    """The curves of a panel, without the line at zero: {style: heights}."""
    return {line.get_linestyle(): line.get_ydata() for line in axes.lines if len(line.get_xdata()) > 2}


def written(figure: Figure, folder: Path) -> list[bytes]:
    """The bytes of both files of a figure that fits the page."""
    assert figure.get_figwidth() in (3.4, 7.0)
    assert figure.get_figheight() <= 9.21
    paths = folder / "f.pdf", folder / "f.png"
    save(figure, paths, dpi=60)
    return [path.read_bytes() for path in paths]


@pytest.mark.parametrize(("name", "grid"), [*product(FIELDS, [LINE]), ("response_maps", (12, 4))])
def test_figures_save_the_same_bytes_twice(
    name: str, grid: tuple[int, int], recwarn: pytest.WarningsRecorder, tmp_path: Path
) -> None:
    table = all_tables(*grid)[FIELDS[name][0]]
    first, second = (written(draw(name, table, OPTIONS), tmp_path) for _ in range(2))
    assert first == second
    assert not [warning for warning in recwarn if "layout" in str(warning.message)]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("grid", [(4, 12), (12, 4)], ids=str)
def test_images_have_the_shape_of_their_grid(name: str, grid: tuple[int, int], tmp_path: Path) -> None:
    table, column = FIELDS[name]
    figure = draw(name, all_tables(*grid)[table], OPTIONS)
    written(figure, tmp_path)
    for axes in (shown := panels(figure)):
        box = axes.get_position()
        height, width = box.height * figure.get_figheight(), box.width * figure.get_figwidth()
        assert height / width == pytest.approx(grid[0] / grid[1], rel=1e-3)
        assert min(height, width) > 0.2
    expected = all_tables(*grid)[table].iloc[: grid[0] * grid[1]][column]
    np.testing.assert_array_equal(shown[0].images[0].get_array().ravel(), expected)
    assert "colour range" in figure.get_supxlabel() or name == "prediction"


@pytest.mark.parametrize("name", FIELDS)
def test_fields_on_a_line_are_curves_without_colour_bars(name: str) -> None:
    figure = draw(name, all_tables(*LINE)[FIELDS[name][0]], OPTIONS)
    assert not [axes for axes in figure.axes if axes.images or axes.get_label() == "<colorbar>"]
    assert "colour" not in figure.get_supxlabel()
    for axes in panels(figure):
        assert axes.get_xlim() == (0, 15)
        assert all(len(heights) == 16 for heights in curves(axes).values())
    bottom = [axes.get_xlabel() for axes in panels(figure)]
    assert "$x$ (cells)" in bottom


def test_snapshots_on_a_line_are_the_table() -> None:
    table = all_tables(*LINE)["snapshots"]
    shown = panels(draw("snapshots", table.sample(frac=1, random_state=1)))
    names = dict.fromkeys(table.sample(frac=1, random_state=1)["class"])
    for axes, (name, snapshot) in zip(shown, product(names, (0, 2)), strict=True):
        expected = select(table, **{"class": name, "snapshot": snapshot})["value"]
        np.testing.assert_array_equal(curves(axes)["-"], expected)
    assert len({axes.get_ylim() for axes in shown}) == len(CLASSES)


def test_predictions_on_a_line_stand_on_the_truth() -> None:
    table = all_tables(*LINE)["prediction"]
    shown = np.array(panels(draw("prediction", table, OPTIONS))).reshape(4, 5)
    for row, (name, snapshot) in zip(shown, product(CLASSES, (1, 3)), strict=True):
        part = select(table, **{"class": name, "snapshot": snapshot})
        truth = select(part, model="vit")["truth"].to_numpy()
        np.testing.assert_array_equal(curves(row[0])["-"], truth)
        for i, model in enumerate(MODELS):
            predicted = select(part, model=model)["prediction"].to_numpy()
            np.testing.assert_array_equal(curves(row[1 + 2 * i])["-"], predicted)
            np.testing.assert_array_equal(curves(row[1 + 2 * i])[":"], truth)
            np.testing.assert_array_equal(curves(row[2 + 2 * i])["-"], predicted - truth)
        assert row[0].get_ylim() == row[1].get_ylim() == row[3].get_ylim()
        assert row[2].get_ylim() == row[4].get_ylim()
        assert row[4].get_ylabel() == "difference"
    assert "dotted: truth" in draw("prediction", table, OPTIONS).get_supxlabel()


def test_a_rollout_on_a_line_that_blew_up_leaves_its_panel() -> None:
    table = all_tables(*LINE)["prediction"]
    table.loc[0, "prediction"] = np.inf
    axes = panels(draw("prediction", table, OPTIONS))[1]
    assert axes.get_ylim()[1] < curves(axes)["-"][0] < np.inf


def test_response_maps_on_a_line_are_the_table_beside_the_shape_of_the_state() -> None:
    table = all_tables(*LINE)["response_maps"]
    figure = draw("response_maps", table, OPTIONS)
    shown = np.array(panels(figure)).reshape(3, 3)
    for pair, row in enumerate(shown):
        part = select(table, pair=pair, channel=CHANNELS[0])
        state = select(part, model="vit")["state"].to_numpy()
        np.testing.assert_array_equal(curves(row[0])["-"], state)
        limit = part["response"].abs().max()
        for axes, model in zip(row[1:], MODELS, strict=True):
            np.testing.assert_array_equal(curves(axes)["-"], select(part, model=model)["response"])
            np.testing.assert_allclose(np.corrcoef(curves(axes)[":"], state)[0, 1], 1)
            assert axes.get_ylim() == pytest.approx((-1.1 * limit, 1.1 * limit))
            assert (curves(axes)[":"].min(), curves(axes)[":"].max()) == pytest.approx((-limit, limit))
    assert "dotted: its shape" in figure.get_supxlabel()
    assert [axes.get_title() for axes in shown[0]] == ["state", *MODELS]


def test_attribution_on_a_line_is_the_table() -> None:
    table = all_tables(*LINE)["attribution_fields"]
    shown = panels(draw("attribution", table, OPTIONS))
    for axes, (model, trajectory) in zip(shown, product(MODELS, (7, 1, 2, 9, 8)), strict=True):
        chosen = select(table, model=model, trajectory=trajectory, channel=CHANNELS[0])
        np.testing.assert_array_equal(curves(axes)["-"], chosen["value"])


def test_a_uniform_field_on_a_line_is_drawn(tmp_path: Path) -> None:
    table = all_tables(*LINE)["response_maps"].assign(state=1.0, response=0.0)
    written(draw("response_maps", table, OPTIONS), tmp_path)
