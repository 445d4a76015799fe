"""Figures show exactly what their tables say, and refuse tables that cannot carry them."""

import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_tables import CLASSES, MODELS, OBSERVABLES, PARTS, panels, select

from surroscope.config.jobs import Figures
from surroscope.errors import UserError
from surroscope.influence.solvers import QUANTITIES
from surroscope.plots.dynamics import SHOWN
from surroscope.plots.sensitivity import CONCLUSIONS
from surroscope.plots.style import Options, by_model, save
from surroscope.report.catalogue import figure, figures_for, tables_for
from surroscope.report.draw import draw
from surroscope.report.spec import ENDS
from surroscope.stages.figures import stage

Tables = dict[str, pd.DataFrame]
Change = Callable[[pd.DataFrame], pd.DataFrame]
FIGURES = {name: figure(name) for name in figures_for(OBSERVABLES, PARTS)}


def assert_is_for_print(pdf: bytes, pictures: bool) -> None:
    """A PDF of a column's width, with embedded TrueType, and no bitmaps unless there are pictures or colour bars."""
    assert pdf.startswith(b"%PDF")
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", pdf)
    assert round(float(box) / 72, 6) in (3.4, 7.0)
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert (b"/Subtype /Image" in pdf) == pictures


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_saves_the_same_bytes_twice(name: str, tables: Tables, tmp_path: Path) -> None:
    written = []
    spec = FIGURES[name]
    for attempt in ("first", "second"):
        paths = [tmp_path / f"{attempt}.{suffix}" for suffix in spec.suffixes]
        drawn = draw(name, tables[spec.table])
        save(drawn, paths, dpi=60)
        written.append({path.suffix: path.read_bytes() for path in paths})
    assert written[0] == written[1]
    files = written[0]
    if spec.moving:
        assert set(files) == {".gif"}
        assert files[".gif"].startswith(b"GIF89a")
    else:
        assert files[".png"].startswith(b"\x89PNG")
        assert b"CreationDate" not in files[".pdf"]
        pictures = any(axes.images or axes.get_label() == "<colorbar>" for axes in drawn.axes)
        assert_is_for_print(files[".pdf"], pictures)


@pytest.mark.parametrize(("name", "observable"), [("two_time", "smse"), ("two_time_energy", "energy")])
def test_heatmaps_hold_the_medians(name: str, observable: str, tables: Tables) -> None:
    shown = panels(draw(name, tables["two_time"].sample(frac=1, random_state=1), Options(heatmap_limit=3.0)))
    assert set(shown) == set(MODELS)
    ranges = set()
    for model, axes in shown.items():
        image = axes.images[0]
        for row in select(tables["two_time"], model=model, observable=observable).itertuples():
            assert image.get_array()[row.response_time, row.perturbation_time] == row.median
        ranges.add(image.get_clim())
    (limits,) = ranges
    largest = select(tables["two_time"], observable=observable)["median"].abs().max()
    assert limits == ((0.0, 3.0) if observable == "smse" else (-largest, largest))


@pytest.mark.parametrize(
    ("limit", "lowest", "arrows"), [(0.5, -1, "both"), (9.0, -1, "min"), (0.5, 0.1, "max"), (9.0, 0.1, "neither")]
)
def test_the_colour_bar_says_what_is_clipped(limit: float, lowest: float, arrows: str, tables: Tables) -> None:
    columns = ["q25", "median", "q75"]
    tables["two_time"][columns] = tables["two_time"][columns].clip(lower=lowest)
    drawn = draw("two_time", tables["two_time"], Options(heatmap_limit=limit))
    (bar,) = (axes.images[0].colorbar for axes in panels(drawn).values() if axes.images[0].colorbar)
    assert bar.extend == arrows


def test_only_steps_on_the_cost_are_drawn(tables: Tables) -> None:
    table = select(tables["time_lag"], observable="mass")
    figures = [draw("time_lag_mass", t) for t in (table, pd.concat([table, table.assign(step="mass", median=9.0)]))]
    first, second = ([line.get_xydata() for axes in drawn.axes for line in axes.lines] for drawn in figures)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_class_matrix_prints_its_numbers(tables: Tables) -> None:
    for model, axes in panels(draw("class_transfer", tables["class_transfer"])).items():
        printed = {(text.xy, text.get_text()) for text in axes.texts}
        assert [label.get_text() for label in axes.get_xticklabels()] == list(CLASSES)
        for row in select(tables["class_transfer"], model=model, observable="smse").itertuples():
            cell = CLASSES.index(row.perturbation_class), CLASSES.index(row.response_class)
            assert axes.images[0].get_array()[cell[::-1]] == row.median
            assert (cell, f"{row.median:z.2f}".replace("-", "−")) in printed


@pytest.mark.parametrize("relation", ["intra-class", "inter-class"])
def test_lag_lines_are_the_table(relation: str, tables: Tables) -> None:
    shown = panels(draw("time_lag_mass", tables["time_lag"].sample(frac=1, random_state=1)))
    for model, axes in shown.items():
        expected = select(tables["time_lag"], model=model, relation=relation, observable="mass").sort_values("lag")
        (line,) = (line for line in axes.lines if line.get_label() == relation)
        np.testing.assert_array_equal(line.get_xydata(), expected[["lag", "median"]])
        bands = [band.get_paths()[0].vertices for band in axes.collections]
        assert any(set(expected["q25"]) | set(expected["q75"]) <= set(band[:, 1]) for band in bands)
    assert len({axes.get_ylim() for axes in shown.values()}) == 1


def test_interpolation_and_rollout_lines_are_the_tables(tables: Tables) -> None:
    (axes,) = draw("interpolation", tables["interpolation"]).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    for model in MODELS:
        np.testing.assert_array_equal(lines[model], select(tables["interpolation"], model=model)["median"])
    drawn = draw("rollout", tables["rollout"], Options(last_training_snapshot=2))
    assert list(panels(drawn)) == [*MODELS, "persistence"]
    curves = [list(line.get_ydata()) for line in panels(drawn)["unet"].lines]
    for start in range(3):
        assert list(select(tables["rollout"], model="unet", start=start)["median"]) in curves
    assert any(list(line.get_xdata()) == [2.5, 2.5] for line in panels(drawn)["unet"].lines)


def test_boxes_are_the_table(tables: Tables) -> None:
    for model, axes in panels(draw("spectrum", tables["spectrum"])).items():
        expected = select(tables["spectrum"], model=model)
        drawn = np.concatenate([line.get_ydata() for line in axes.lines])
        for column in ("minimum", "median", "maximum"):
            assert set(expected[column]) <= set(drawn)
        boxes = np.concatenate([patch.get_path().vertices[:, 1] for patch in axes.patches])
        assert set(expected["q25"]) | set(expected["q75"]) <= set(boxes)


def test_fields_are_the_tables(tables: Tables) -> None:
    drawn = draw("prediction", tables["prediction"])
    images = [axes.images[0].get_array() for axes in drawn.axes if axes.images]
    first = select(tables["prediction"], **{"class": "RP", "snapshot": 1})
    truth = select(first, model="vit")["truth"].to_numpy().reshape(4, 4)
    predicted = [select(first, model=model)["prediction"].to_numpy().reshape(4, 4) for model in MODELS]
    expected = [truth, predicted[0], predicted[0] - truth, predicted[1], predicted[1] - truth]
    np.testing.assert_array_equal(images[:5], expected)
    drawn = draw("snapshots", tables["snapshots"])
    shown = next(axes for axes in drawn.axes if axes.images).images[0].get_array()
    expected = select(tables["snapshots"], **{"class": "RP", "snapshot": 0})["value"]
    np.testing.assert_array_equal(shown.ravel(), expected)


@pytest.mark.parametrize("name", FIGURES)
def test_every_drawn_column_is_demanded(name: str, tables: Tables) -> None:
    spec = FIGURES[name]
    columns = spec.columns
    for column in (*columns.text, *columns.keys, *columns.values):
        with pytest.raises(ValueError, match=rf"table {spec.table}: no column {column}"):
            draw(name, tables[spec.table].drop(columns=column))
    for column in {*columns.keys, *columns.values} - {*columns.missing, *ENDS}:
        holed = tables[spec.table].astype({column: float})
        holed[column] = np.nan
        with pytest.raises(ValueError, match=rf"table {spec.table}: column {column} has nan"):
            draw(name, holed)
    with pytest.raises(ValueError, match=rf"table {spec.table}: "):
        draw(name, tables[spec.table].iloc[:0])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("two_time", lambda t: pd.concat([t, t]), "table two_time: .* do not identify a row"),
        ("two_time", lambda t: t.drop(index=t.index[5]), "table two_time: no median for response_time = 1"),
        ("two_time_mass", lambda t: t[t["observable"] == "smse"], "table two_time: column observable has no 'mass'"),
        ("time_lag", lambda t: t.assign(q75=t["q25"] - 1), "table time_lag: columns q25, median, q75 do not ascend"),
        ("time_lag", lambda t: t.assign(median="high"), "table time_lag: column median is .* expected numbers"),
        ("time_lag", lambda t: t.assign(median=np.inf), "table time_lag: column median has inf"),
        ("time_lag", lambda t: t.assign(relation=None), "table time_lag: column relation has 14 missing"),
        ("interpolation", lambda t: t.assign(distance=0.0), "table interpolation: column distance has 0.0"),
        ("snapshots", lambda t: pd.concat([t, t.assign(channel="energy")]), "table snapshots: column channel has"),
        (
            "two_time",
            lambda t: pd.concat([t, t.assign(quantity="full")]),
            "column quantity has span, full, expected one",
        ),
        (
            "time_lag",
            lambda t: t.assign(quantity="best"),
            "table time_lag: column quantity has best, expected one of span",
        ),
        (
            "sensitivity",
            lambda t: t.assign(cut=t["cut"].replace("cut", "half")),
            "table sensitivity: column cut has half in row 0 .span., expected",
        ),
        ("sensitivity", lambda t: t.assign(damping=np.nan), "table sensitivity: .* do not identify a row"),
        (
            "sensitivity",
            lambda t: t[t["damping"] != 1e-3].assign(damping=np.nan, seed=range(len(t) - 12)),
            "has nan in",
        ),
        ("fronts", lambda t: t.assign(area=t.index / 10), "table fronts: column area has 0.0, 0.1"),
        ("channels", lambda t: t.drop(index=0), "table channels: no median for response_channel = density"),
        ("symmetry", lambda t: t[t["action"] != "e"], "table symmetry: column action has no 'e' for vit"),
        ("equivariance_lines", lambda t: t[t["action"] != "e"], "table equivariance: column action has no 'e' for vit"),
        ("symmetry_lines", lambda t: t[t["shift_x"] * t["shift_y"] > 0], "column action has no shift along one axis"),
        ("symmetry_box", lambda t: t[t["shift_y"] == 0], "table symmetry: column action has no shift along both axes"),
        ("equivariance_box", lambda t: t[t["action"] != "x2y1"], "action lacks shifts within 3 x 3 cells for vit"),
        ("equivariance_box", lambda t: t[t["action"] != "e"], "action lacks shifts within 3 x 3 cells for vit"),
        ("two_time_training", lambda t: t.drop(index=t.index[-1]), "no median for response_time = 3"),
        ("two_time_training", lambda t: t.assign(median=np.inf, q75=np.inf), "column median has inf"),
        ("dynamics", lambda t: pd.concat([t, t]), "columns model, quantity, seed, epoch do not identify a row"),
        (
            "rollout_fields",
            lambda t: t.drop(index=t.index[-1]),
            "no truth for y = 0.75, x = 0.75",
        ),
        ("rollout_fields", lambda t: t[(t["model"] != "unet") | (t["snapshot"] != 1)], "no truth for y = 0.0, x = 0.0"),
        (
            "rollout_fields",
            lambda t: t.assign(start=t["snapshot"]),
            "column start has 0, 1, 2 for vit, expected one value",
        ),
        ("response_maps", lambda t: t.assign(state=t.index), "column state of pair 0 differs between models"),
        ("response_maps", lambda t: t.assign(pair=0), "table response_maps: column pair has 0 for 3 pairs"),
        ("attribution", lambda t: t.assign(role="best"), "table attribution_fields: column role has best, expected"),
        ("attribution", lambda t: t[t["role"] != "test"], "column role has 0 tests for vit, expected one"),
        ("attribution", lambda t: t.assign(influence=np.nan), "column influence has nan for role helped of vit"),
    ],
)
def test_tables_that_would_mislead_are_refused(name: str, change: Change, message: str, tables: Tables) -> None:
    table = change(tables[FIGURES[name].table])
    if message.endswith("14 missing"):
        table = table[(table["model"] == "vit")]
    with pytest.raises(ValueError, match=message):
        draw(name, table)


def test_the_figures_of_a_system_are_drawn_all_or_none(tables: Tables, tmp_path: Path) -> None:
    places = [tmp_path / f"{name}.csv" for name in ("leverage", "fronts")]
    files = [tmp_path / name for name in ("fronts.png", "fronts.pdf", "leverage.png")]
    settings = Figures(heatmap_limit=7.0, dpi=50, models=list(MODELS), last_training_snapshot=3)
    for path in places:
        tables[path.stem].to_csv(path, index=False)
    stage(settings, tables=places, files=files)
    drawn = {path: path.read_bytes() for path in files}
    tables["leverage"].drop(columns="median").to_csv(places[0], index=False)
    with pytest.raises(UserError, match=r"leverage.csv: table leverage: no column median; found .* and run again$"):
        stage(settings.model_copy(update={"dpi": 60}), tables=places, files=files)
    with pytest.raises(UserError, match=r"no leverage.csv, which the figure leverage shows"):
        stage(settings, tables=places[1:], files=files)
    assert {path: path.read_bytes() for path in files} == drawn
    assert len(list(tmp_path.iterdir())) == len(places + files)


def test_what_left_the_axes_is_marked(tables: Tables, tmp_path: Path) -> None:
    blown = (tables["rollout"]["model"] == "unet") & (tables["rollout"]["snapshot"] == 4)
    tables["rollout"].loc[blown, ["q25", "median", "q75"]] = np.inf
    drawn = draw("rollout", tables["rollout"])
    crosses = [line for line in panels(drawn)["unet"].lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[4]] * 3
    assert "cross" in drawn.get_supxlabel()
    tables["prediction"].loc[0, "prediction"] = np.inf
    image = panels(draw("prediction", tables["prediction"]))["vit"].images[0]
    assert image.get_array()[0, 0] > image.get_clim()[1]
    tables["spectrum"].loc[0, "minimum"] = -1e-12
    drawn = draw("spectrum", tables["spectrum"])
    assert "a whisker to the bottom edge" in drawn.get_supxlabel()
    save(drawn, [tmp_path / "s.pdf", tmp_path / "s.png"], dpi=50)


def test_the_sample_size_stands_in_the_figure(tables: Tables) -> None:
    assert draw("time_lag", tables["time_lag"]).get_supxlabel().startswith("n = 3 seeds × 6 probe batches")
    tables["interpolation"].loc[0, "n_probes"] = 1
    assert draw("interpolation", tables["interpolation"]).get_supxlabel().startswith("n = 3 seeds × 1–6 probe batches")


def test_a_model_looks_alike_in_every_figure(tables: Tables) -> None:
    options = Options(models=MODELS)
    alone = select(tables["interpolation"], model="unet")
    both = {model: look for model, _, look in by_model(tables["interpolation"], options)}
    assert by_model(alone, options)[0][2] == both["unet"] != both["vit"]


def test_figures_for_observables_and_parts() -> None:
    assert {"two_time_mass", "time_lag_energy", "attribution", "symmetry"} <= set(FIGURES)
    assert not [name for name in figures_for(("smse",), PARTS) if name.endswith(("_mass", "_energy"))]
    for size in range(len(PARTS) + 1):
        for parts in combinations(PARTS, size):
            drawn = figures_for(OBSERVABLES, parts)
            assert set(drawn) == {name for name, spec in FIGURES.items() if set(spec.needs) <= set(parts)}
            assert {FIGURES[name].table for name in drawn} <= set(tables_for(parts))
    assert set(figures_for((), ("cross",))) - set(figures_for(())) == {"attribution", "leverage"}
    assert set(figures_for((), ("symmetry", "box"))) - set(figures_for((), ("symmetry",))) == {
        "symmetry_box",
        "equivariance_box",
    }


def test_a_part_brings_the_tables_of_its_figures() -> None:
    every = {spec.table for spec in FIGURES.values()} | {
        "scalars",
        "attribution",
        "fidelity_lag",
        "dial",
        "leads_error",
        "retraining_locking",
    }
    assert set(tables_for(PARTS)) == every
    assert len(tables_for(PARTS)) == len(every)
    optional = {
        "classes": {"class_transfer", "coupling_classes"},
        "sensitivity": {"sensitivity"},
        "cross": {"attribution_fields", "leverage", "attribution"},
        "maps": {"response_maps"},
        "symmetry": {"symmetry"},
        "fidelity": {"fidelity", "fidelity_lag", "fidelity_pairs"},
        "dial": {"dial", "dial_measures", "dial_roc"},
        "leads": {"leads", "leads_error"},
        "remedies": {"remedies", "foresight", "foresight_arms"},
        "retraining": {"retraining_maps", "retraining_scores", "retraining_kept", "retraining_locking"},
    }
    assert every - set(tables_for()) == set.union(*optional.values())
    for part, own in optional.items():
        assert set(tables_for((part,))) - set(tables_for()) == own


def test_panels_are_of_columns_that_are_demanded() -> None:
    assert set(FIGURES["dynamics"].columns.values) == set(SHOWN)
    assert set(FIGURES["sensitivity"].columns.values) >= set(CONCLUSIONS)


@pytest.mark.parametrize(
    "name", ["two_time", "time_lag_mass", "class_transfer", "interpolation", "dynamics", "rollout_correlation"]
)
def test_the_kind_of_influence_stands_in_the_figure(name: str, tables: Tables) -> None:
    for quantity, long_name in QUANTITIES.items():
        drawn = draw(name, tables[FIGURES[name].table].assign(quantity=quantity))
        assert long_name in drawn.get_supxlabel().replace("\n", " ")


def test_one_to_four_models(tables: Tables) -> None:
    extra = [select(tables["two_time"], model="vit").assign(model=f"net{i}") for i in range(4)]
    for count in range(1, 5):
        drawn = draw("two_time", pd.concat(extra[:count]))
        assert len(panels(drawn)) == count
