"""Figures of influence during training, of its correlation with rollouts, and of drift show what their tables say."""

import numpy as np
import pandas as pd
import pytest
from figure_tables import CHANNELS, MODELS, panels, select
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from surroscope.plots.dynamics import SHOWN
from surroscope.plots.style import Options
from surroscope.report.draw import draw

Tables = dict[str, pd.DataFrame]
OPTIONS = Options(models=MODELS)


def labelled(figure: Figure, name: str) -> Axes:
    (axes,) = (axes for axes in figure.axes if axes.get_ylabel() == SHOWN[name][0])
    return axes


def curve(axes: Axes, label: str) -> np.ndarray:
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return line.get_xydata()


def corners(axes: Axes) -> list[set[tuple[float, ...]]]:
    """The corners of every band."""
    return [{tuple(c) for path in band.get_paths() for c in path.vertices} for band in axes.collections]


def ends(rows: pd.DataFrame, place: str, *columns: str) -> set[tuple[float, ...]]:
    return {tuple(point) for column in columns for point in rows[[place, column]].to_numpy()}


@pytest.mark.parametrize("name", SHOWN)
def test_checkpoints_are_medians_and_ranges_over_seeds(name: str, tables: Tables) -> None:
    table = tables["checkpoints"]
    axes = labelled(draw("dynamics", table.sample(frac=1, random_state=1), OPTIONS), name)
    for model in MODELS:
        by_epoch = select(table, model=model).groupby("epoch")[name]
        expected = pd.DataFrame({"low": by_epoch.min(), "median": by_epoch.median(), "high": by_epoch.max()})
        finite = expected[np.isfinite(expected["high"])].reset_index()
        shown = curve(axes, model)
        np.testing.assert_array_equal(shown[:, 0], expected.index)
        np.testing.assert_array_equal(shown[np.isfinite(shown[:, 1])], finite[["epoch", "median"]])
        assert ends(finite, "epoch", "low", "high") in corners(axes)
    crosses = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "x"]
    assert crosses == ([[0], [0]] if name == "half_life" else [])
    assert list(axes.get_xticks()) == [0, 5, 10]


def test_a_checkpoint_alone_shows_its_range(tables: Tables) -> None:
    """Where a number is there at one epoch only, a band would have no width."""
    table = tables["checkpoints"]
    table.loc[table["epoch"] < 10, "equivariance_error"] = np.nan
    axes = labelled(draw("dynamics", table, OPTIONS), "equivariance_error")
    bars = [segment for found in axes.collections if hasattr(found, "get_segments") for segment in found.get_segments()]
    for model in MODELS:
        values = select(table, model=model, epoch=10)["equivariance_error"]
        assert any(sorted(bar[:, 1]) == [values.min(), values.max()] and set(bar[:, 0]) == {10} for bar in bars)
    assert axes.get_yscale() == "log"


def test_a_range_without_an_end_reaches_the_top_under_a_cross(tables: Tables) -> None:
    table = tables["checkpoints"].copy()
    rows = table.index[(table["model"] == MODELS[0]) & (table["epoch"] == 10)]
    table.loc[rows, "trust_horizon"] = [5.0, 5.0, np.inf]
    figure = draw("dynamics", table, OPTIONS)
    axes = labelled(figure, "trust_horizon")
    bars = [segment for found in axes.collections if hasattr(found, "get_segments") for segment in found.get_segments()]
    assert any(bar.tolist() == [[10, 5], [10, axes.get_ylim()[1]]] for bar in bars)
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "x"] == [[10]]
    assert "cross: infinite in a seed" in figure.get_supxlabel()


def test_numbers_that_a_study_lacks_have_no_panel(tables: Tables) -> None:
    figure = draw("dynamics", tables["checkpoints"].assign(trust_horizon=np.nan, class_transfer_ratio=np.inf), OPTIONS)
    shown = {name for name, (label, _) in SHOWN.items() if label in {axes.get_ylabel() for axes in figure.axes}}
    assert shown == set(SHOWN) - {"trust_horizon", "class_transfer_ratio"}
    lowest = [axes for axes in figure.axes if axes.get_xlabel() == "epoch"]
    assert len(lowest) == 2
    assert all(label.get_visible() for axes in lowest for label in axes.get_xticklabels())


def test_an_odd_number_of_panels_is_laid_out(tables: Tables) -> None:
    figure = draw("dynamics", tables["checkpoints"].assign(trust_horizon=np.nan), OPTIONS)
    figure.draw_without_rendering()
    assert len(figure.axes) == len(SHOWN) - 1


def test_axes_are_logarithmic_where_every_number_is_positive(tables: Tables) -> None:
    table = tables["checkpoints"]
    for column, scale in ((table["diagonal_mean"], "log"), (table["diagonal_mean"] - 1.5, "linear")):
        figure = draw("dynamics", table.assign(diagonal_mean=column), OPTIONS)
        assert labelled(figure, "diagonal_mean").get_yscale() == scale


def test_correlations_and_their_intervals_are_the_table(tables: Tables) -> None:
    table = tables["rollout_correlation"]
    figure = draw("rollout_correlation", table.sample(frac=1, random_state=1), OPTIONS)
    for model, axes in panels(figure).items():
        expected = select(table, model=model).sort_values("horizon")
        # Side by side, so that no bar hides another.
        expected = expected.assign(left=expected["horizon"] - 0.15, right=expected["horizon"] + 0.15)
        np.testing.assert_array_equal(curve(axes, "all classes"), expected[["left", "value"]])
        np.testing.assert_array_equal(curve(axes, "within classes"), expected[["right", "within"]])
        bars = [("left", "low", "high"), ("right", "within_low", "within_high")]
        assert corners(axes) == [ends(expected, *bar) for bar in bars]
        (theirs,) = (line for line in axes.lines if line.get_marker() == "D")
        np.testing.assert_array_equal(theirs.get_xydata(), expected[["horizon", "published"]])
        assert axes.get_ylim() == (-1.05, 1.05)
    note = figure.get_supxlabel().replace("\n", " ")
    assert note.startswith("n = 3 seeds × 4 probe batches, with the classes 36 points")
    assert "diamonds" in note
    own = draw("rollout_correlation", table.assign(published=np.nan), OPTIONS)
    assert "diamonds" not in own.get_supxlabel()
    assert not [line for axes in own.axes for line in axes.lines if line.get_marker() == "D"]


def test_a_correlation_that_is_not_there_leaves_a_gap(tables: Tables) -> None:
    table = tables["rollout_correlation"]
    table.loc[table["horizon"] == 2, ["value", "low", "high"]] = np.nan
    axes = panels(draw("rollout_correlation", table, OPTIONS))["vit"]
    assert np.isnan(curve(axes, "all classes")[1, 1])
    assert {round(place) for place, _ in corners(axes)[0]} == {1, 3, 4}


def test_drift_is_the_table_a_panel_a_channel(tables: Tables) -> None:
    table = tables["drift"]
    figure = draw("drift", table.sample(frac=1, random_state=1), Options(models=MODELS, last_training_snapshot=3))
    shown = panels(figure)
    assert set(shown) == {name.replace("_", " ") for name in CHANNELS}
    for channel in CHANNELS:
        axes = shown[channel.replace("_", " ")]
        bands = corners(axes)
        for model in MODELS:
            expected = select(table, model=model, channel=channel).sort_values("snapshot")
            np.testing.assert_array_equal(curve(axes, model), expected[["snapshot", "median"]])
            assert ends(expected, "snapshot", "q25", "q75") in bands
        assert len(bands) == len(MODELS)
        assert any(list(line.get_xdata()) == [3.5, 3.5] for line in axes.lines)
        assert axes.get_yscale() == "log"
    assert len({axes.get_ylim() for axes in shown.values()}) == 1


def test_drift_of_a_rollout_that_blew_up_is_marked(tables: Tables) -> None:
    table = tables["drift"]
    table.loc[(table["model"] == "unet") & (table["snapshot"] == 5), ["q25", "median", "q75"]] = np.inf
    figure = draw("drift", table, OPTIONS)
    for axes in panels(figure).values():
        assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "x"] == [[5]]
        assert np.isfinite(axes.get_ylim()).all()
    assert "cross: not finite" in figure.get_supxlabel()
    exact = draw("drift", table.assign(q25=0.0), OPTIONS)
    assert {axes.get_yscale() for axes in exact.axes} == {"linear"}
