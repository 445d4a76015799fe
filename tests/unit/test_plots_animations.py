"""Every frame of a figure that moves is the table's rows of its epoch or snapshot, and the file holds every frame."""

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_tables import CHANNELS, MODELS, all_tables, panels, select
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from surroscope.plots.style import Moving, Options, save
from surroscope.report.draw import draw

Tables = dict[str, pd.DataFrame]
OPTIONS = Options(models=MODELS, heatmap_limit=3.0)
EPOCHS, SNAPSHOTS = (0, 5, 10), (0, 1, 2)


def moving(name: str, table: pd.DataFrame) -> Moving:
    drawn = draw(name, table, OPTIONS)
    assert isinstance(drawn, Moving)
    return drawn


def rows(figure: Figure) -> np.ndarray:
    """The panels of a rollout, a row a channel; no colour bars."""
    found = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    return np.array(found, dtype=object).reshape(len(CHANNELS), -1)


def curve(axes: Axes, style: str = "-") -> np.ndarray:
    (found,) = (c.get_ydata() for c in axes.lines if c.get_linestyle() == style and len(c.get_xdata()) > 2)
    return found


def test_a_frame_between_times_is_the_table_at_its_epoch(tables: Tables) -> None:
    table = tables["two_time_training"]
    drawn = moving("two_time_training", table.sample(frac=1, random_state=1))
    assert drawn.frames == len(EPOCHS)
    for frame in (2, 0, 1):  # any frame may follow any other
        drawn.update(frame)
        shown = panels(drawn.figure)
        assert list(shown) == [f"{model}, epoch {EPOCHS[frame]}" for model in MODELS]
        for model, axes in zip(MODELS, shown.values(), strict=True):
            (image,) = axes.images
            assert image.get_array().shape == (4, 4)
            for row in select(table, model=model, epoch=EPOCHS[frame]).itertuples():
                assert image.get_array()[row.response_time, row.perturbation_time] == row.median
            assert image.get_clim() == (0.0, 3.0)
    assert len({id(axes.images[0].norm) for axes in shown.values()}) == 1


def test_a_model_with_fewer_epochs_rests_at_its_last(tables: Tables) -> None:
    table = tables["two_time_training"]
    drawn = moving("two_time_training", table[(table["model"] == "vit") | (table["epoch"] == 5)])
    drawn.update(2)
    assert list(panels(drawn.figure)) == ["vit, epoch 10", "unet, epoch 5"]
    middle = select(table, model="unet", epoch=5).pivot(
        index="response_time", columns="perturbation_time", values="median"
    )
    np.testing.assert_array_equal(panels(drawn.figure)["unet, epoch 5"].images[0].get_array(), middle)


def test_colours_that_are_clipped_in_any_frame_are_said_in_all(tables: Tables) -> None:
    table = tables["two_time_training"]
    table[["q25", "median", "q75"]] = 1.0
    for value, arrows in ((1.0, "neither"), (9.0, "max"), (-1.0, "min")):
        table.loc[table["epoch"] == 10, "median"] = value
        drawn = moving("two_time_training", table.assign(q25=-1.0, q75=9.0))
        assert panels(drawn.figure)["vit, epoch 0"].images[0].colorbar.extend == arrows


def test_a_frame_of_a_rollout_is_the_table_at_its_snapshot(tables: Tables) -> None:
    table = tables["rollout_fields"]
    drawn = moving("rollout_fields", table.sample(frac=1, random_state=1).sort_values("channel"))
    assert drawn.frames == len(SNAPSHOTS)
    limits = set()
    for frame in (2, 0, 1):
        drawn.update(frame)
        shown = rows(drawn.figure)
        assert [axes.get_title() for axes in shown[0]] == [
            f"truth\nsnapshot {SNAPSHOTS[frame]}",
            *(title for model in MODELS for title in (model, "difference")),
        ]
        for row, channel in zip(shown, CHANNELS, strict=True):
            cells = select(table, channel=channel, snapshot=SNAPSHOTS[frame])
            of = {model: select(cells, model=model).sort_values(["y", "x"]) for model in MODELS}
            truth = of["vit"]["truth"].to_numpy()
            fields = [truth, *(f for m in MODELS for f in (of[m]["prediction"], of[m]["prediction"] - truth))]
            for axes, expected in zip(row, fields, strict=True):
                (image,) = axes.images
                np.testing.assert_array_equal(image.get_array().ravel(), expected)
            field, error = ({axes.images[0].get_clim() for axes in part} for part in (row[[0, 1, 3]], row[[2, 4]]))
            limits.add((channel, *field, *error))
    assert len(limits) == len(CHANNELS)
    for channel, (low, high), (below, above) in limits:
        cells = select(table, channel=channel)
        assert (low, high) == (cells["truth"].min(), cells["truth"].max())
        assert above == -below == (cells["prediction"] - cells["truth"]).abs().max()


def test_a_rollout_that_blew_up_hides_no_other(tables: Tables) -> None:
    table = tables["rollout_fields"]
    blown = (table["model"] == "unet") & (table["snapshot"] == 2)
    table.loc[blown, "prediction"] = np.inf
    drawn = moving("rollout_fields", table)
    drawn.update(2)
    for row, channel in zip(rows(drawn.figure), CHANNELS, strict=True):
        span = np.ptp(select(table, channel=channel)["truth"])
        assert row[2].images[0].get_clim()[1] <= span
        for axes in row[3:]:
            assert (axes.images[0].get_array() > axes.images[0].get_clim()[1]).all()
    bars = [axes for axes in drawn.figure.axes if axes.get_label() == "<colorbar>"]
    assert len(bars) == 2 * len(CHANNELS)


def test_a_rollout_on_a_line_is_curves_whose_scales_stay() -> None:
    table = all_tables(1, 16)["rollout_fields"]
    drawn = moving("rollout_fields", table)
    ranges = []
    for frame in SNAPSHOTS:
        drawn.update(frame)
        shown = rows(drawn.figure)
        for row, channel in zip(shown, CHANNELS, strict=True):
            cells = select(table, channel=channel, snapshot=frame)
            truth = select(cells, model="vit")["truth"].to_numpy()
            np.testing.assert_array_equal(curve(row[0]), truth)
            for i, model in enumerate(MODELS):
                predicted = select(cells, model=model)["prediction"].to_numpy()
                np.testing.assert_array_equal(curve(row[1 + 2 * i]), predicted)
                np.testing.assert_array_equal(curve(row[1 + 2 * i], ":"), truth)
                np.testing.assert_array_equal(curve(row[2 + 2 * i]), predicted - truth)
            assert row[-1].get_ylabel() == "difference"
            assert row[-1].yaxis.get_label_position() == "right"
            assert row[-2].get_ylabel() == ""
        ranges.append([axes.get_ylim() for axes in shown.flat])
    assert ranges[0] == ranges[1] == ranges[2]
    assert "vertical range fixed over the frames" in drawn.figure.get_supxlabel()


@pytest.mark.parametrize(("name", "frames"), [("two_time_training", 3), ("rollout_fields", 3)])
def test_the_file_holds_every_frame_and_they_differ(name: str, frames: int, tables: Tables, tmp_path: Path) -> None:
    drawn = moving(name, tables[name])
    save(drawn, [tmp_path / "f.gif"], dpi=60)
    with Image.open(tmp_path / "f.gif") as file:
        assert file.n_frames == frames == drawn.frames
        assert abs(file.width - 60 * 7.0) <= 1
        seen = []
        for frame in range(frames):
            file.seek(frame)
            seen.append(np.asarray(file.convert("RGB")))
            assert file.info["duration"] == 500
    assert all((a != b).any() for a, b in pairwise(seen))


def test_colours_of_a_frame_are_those_of_the_figure(tables: Tables, tmp_path: Path) -> None:
    """A file of 256 colours: the colour of each cell is close to that of the map."""
    table = all_tables(16, 16)["rollout_fields"]
    drawn = moving("rollout_fields", table)
    save(drawn, [tmp_path / "f.gif"], dpi=100)
    with Image.open(tmp_path / "f.gif") as file:
        file.seek(2)
        frame = np.asarray(file.convert("RGB")).astype(int)
    for axes in rows(drawn.figure).flat:
        (image,) = axes.images
        exact = 255 * image.cmap(image.norm(image.get_array()))[..., :3]
        for y, x in product(range(16), repeat=2):
            across, up = axes.transData.transform((x, y)).astype(int)
            assert np.abs(frame[frame.shape[0] - 1 - up, across] - exact[y, x]).max() <= 24


@pytest.mark.parametrize("grid", [(4, 12), (12, 4), (1, 16)], ids=str)
def test_rollouts_on_other_grids_fit_the_page(grid: tuple[int, int]) -> None:
    figure = moving("rollout_fields", all_tables(*grid)["rollout_fields"]).figure
    figure.draw_without_rendering()
    assert figure.get_figwidth() == 7.0
    assert figure.get_figheight() <= 9.21
    for axes in rows(figure).flat:
        box = axes.get_position()
        height, width = box.height * figure.get_figheight(), box.width * figure.get_figwidth()
        assert min(height, width) > 0.2
        if grid[0] > 1:
            assert height / width == pytest.approx(grid[0] / grid[1], rel=1e-3)
