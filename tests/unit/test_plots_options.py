"""What a study chooses about its figures: limits, labels, notes, letters and formats."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from default_study import DEFAULT, changed
from figure_tables import MODELS, panels, select
from matplotlib.markers import CARETDOWNBASE
from matplotlib.text import Text

from surroscope.config import jobs
from surroscope.config.study import check
from surroscope.errors import UserError
from surroscope.plots.style import LETTER, NOTE, Moving, Options, save
from surroscope.report.catalogue import figure
from surroscope.report.draw import draw

Tables = dict[str, pd.DataFrame]
LABELS = {"unet": "UNet, small", "vit": "ViT"}


def test_colours_of_influence_between_times_end_at_a_percentile_of_the_cells(tables: Tables) -> None:
    table = tables["two_time"]
    drawn = draw("two_time", table)
    cells = select(table, observable="smse")["median"]
    (image, *_) = (axes.images[0] for axes in panels(drawn).values())
    assert image.get_clim() == (0, np.percentile(cells, 98))
    assert any("98th percentile" in axes.get_ylabel() for axes in drawn.axes)
    chosen = draw("two_time", table, Options(heatmap_limit=3.0))
    assert not any("percentile" in axes.get_ylabel() for axes in chosen.axes)


def test_a_map_without_negative_values_wastes_no_colours_on_them(tables: Tables) -> None:
    size = tables["two_time"]["median"].abs()
    drawn = draw("two_time_mass", tables["two_time"].assign(q25=size, median=size, q75=size))
    assert {axes.images[0].get_clim()[0] for axes in panels(drawn).values()} == {0}
    assert "dots" not in drawn.get_supxlabel()


@pytest.mark.parametrize(
    "name", ["two_time", "interpolation", "rollout", "sensitivity", "foresight_arms", "two_time_training"]
)
def test_labels_stand_for_the_names_of_networks(name: str, tables: Tables) -> None:
    drawn = draw(name, tables[figure(name).table], Options(models=MODELS, labels=LABELS))
    found = drawn.figure if isinstance(drawn, Moving) else drawn
    shown = {text.get_text() for text in found.findobj(Text)}
    shown |= {str(line.get_label()) for axes in found.axes for line in axes.lines}
    assert all(any(label in text for text in shown) for label in LABELS.values())
    assert not shown & set(MODELS)


@pytest.mark.parametrize("name", ["time_lag", "fronts"])
def test_the_small_print_can_be_left_out_and_takes_no_room(name: str, tables: Tables) -> None:
    kept, dropped = (draw(name, tables[figure(name).table], Options(notes=notes)) for notes in (True, False))
    for drawn, there in ((kept, True), (dropped, False)):
        (note,) = (text for text in drawn.texts if text.get_gid() == NOTE)
        assert note.get_visible() == note.get_in_layout() == there
        drawn.draw_without_rendering()
    assert dropped.axes[0].get_position().y0 < kept.axes[0].get_position().y0


def test_letters_stand_at_panels_and_not_at_colour_bars(tables: Tables) -> None:
    def letters(name: str, options: Options) -> list[str]:
        drawn = draw(name, tables[figure(name).table], options)
        return [text.get_text() for axes in drawn.axes for text in axes.texts if text.get_gid() == LETTER]

    assert letters("two_time", Options()) == []
    assert letters("two_time", Options(letters=True)) == ["a", "b"]
    assert letters("fronts", Options(letters=True)) == []  # of one panel


def test_svg_is_written_and_is_the_same_whenever_it_is_drawn(tables: Tables, tmp_path: Path) -> None:
    paths = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for path in paths:
        save(draw("fronts", tables["fronts"]), [path], dpi=60)
    one, two = (path.read_bytes() for path in paths)
    assert one == two
    assert b"<svg" in one
    assert b"dc:date" not in one


def test_intervals_of_medians_look_unlike_quartiles(tables: Tables) -> None:
    drawn = draw("time_lag", tables["time_lag"], Options(models=MODELS))
    for model, axes in panels(drawn).items():
        rows = select(tables["time_lag"], model=model, observable="smse", relation="intra-class").sort_values("lag")
        caps = [set(line.get_ydata()) for line in axes.lines if line.get_marker() == "_"]
        assert set(rows["low"]) in caps
        assert set(rows["high"]) in caps
    assert "bars: 95 % interval of the median" in drawn.get_supxlabel().replace("\n", " ")


def test_the_trust_horizon_is_marked_beside_the_error_of_each_step(tables: Tables) -> None:
    table = tables["rollout_error"]
    (axes,) = draw("rollout_error", table, Options(models=MODELS)).axes
    ticks = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == CARETDOWNBASE]
    assert [round(tick) for tick in ticks] == [2, 2]
    (idle,) = (line for line in axes.lines if line.get_label() == "no change predicted")
    np.testing.assert_array_equal(idle.get_ydata(), select(table, model="persistence")["median"])


def test_every_point_behind_the_correlation_is_drawn(tables: Tables) -> None:
    table = tables["rollout_points"]
    drawn = draw("rollout_points", table, Options(models=MODELS))
    shown = {tuple(point) for axes in drawn.axes for line in axes.lines for point in line.get_xydata()}
    assert shown == set(table[["ratio", "error"]].itertuples(index=False, name=None))


def test_labels_and_options_reach_the_figures_and_no_other_job() -> None:
    """A label or letters are no reason to train or to measure again."""
    plain, named = DEFAULT, changed("figures.letters", True)
    named["systems"]["CE"]["models"]["unet"]["label"] = "U-Net"
    of = {"system": "CE", "model": "unet", "seed": "10", "epoch": "13", "shard": "0", "block": "0", "ic": "CE-RP"}
    wildcards = {
        **dict.fromkeys(("train", "split"), ("system", "model", "seed")),
        **{"tables": ("system",), "evaluate": ("system", "model", "seed", "epoch"), "split": ("system", "seed")},
    }
    one, other = check(plain, "config.yaml"), check(named, "config.yaml")
    for job, names in wildcards.items():
        chosen = {name: of[name] for name in names}
        assert jobs.settings(one, job, **chosen) == jobs.settings(other, job, **chosen)
    settings = jobs.Figures.of(other, "CE")
    assert (settings.letters, settings.labels["unet"]) == (True, "U-Net")
    assert jobs.settings(one, "figures", system="CE") != jobs.settings(other, "figures", system="CE")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("figures.formats", ["pdf", "svg"], "png"),
        ("figures.formats", ["png", "tiff"], "figures.formats"),
        ("systems.CE.models.unet.label", "ViT", "two that are called 'ViT'"),
    ],
)
def test_options_that_do_not_fit_are_refused(key: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(changed(key, value), "config.yaml")
