"""Figures show exactly what their tables say, and refuse tables that cannot carry them."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from surroscope.catalogue import FIGURES, QUANTITIES, TABLES, figures_for, tables_for
from surroscope.plots.draw import REQUIRED, draw
from surroscope.plots.style import Options, by_model, save

MODELS = ("vit", "unet")  # not alphabetical: order must come from the table
CLASSES = ("RP", "CRP")
OBSERVABLES = ("smse", "mass", "energy")
PARTS = ("sensitivity", "cross", "maps", "symmetry")
CHANNELS = ("density", "momentum_x")
RELATIONS = ("self", "intra-class", "inter-class")


def summary(random, rows, positive=False):
    """Rows of keys, completed with quartiles and counts."""
    table = pd.DataFrame(rows)
    centre = 0.5 + random.uniform(size=len(table)) if positive else random.normal(size=len(table))
    return table.assign(q25=centre - 0.2, median=centre, q75=centre + 0.3, n_seeds=3, n_probes=6)


def keys(**values):
    return [dict(zip(values, row, strict=True)) for row in product(*values.values())]


def sensitivity(random):
    """Two seeds; the full space does not converge at the smallest damping, where nothing decays at the largest."""
    curves = keys(model=MODELS, seed=(10, 35), method=("span cut", "span none", "full -"), damping=(1e-6, 1e-3, 1.0))
    rows = pd.DataFrame(curves + keys(model=MODELS, seed=(10, 35), method=("euclidean -", "adam -"), damping=(np.nan,)))
    rows[["quantity", "cut"]] = rows.pop("method").str.split(expand=True).to_numpy()
    for column in ("half_life", "class_transfer", "off_diagonal_ratio", "correlation"):
        rows[column] = random.uniform(size=len(rows))
    rows.loc[rows["damping"] == 1.0, "half_life"] = np.inf
    return rows.assign(
        relative_difference=0.1,
        certificate=np.nan,
        converged=(rows["quantity"] != "full") | (rows["damping"] > 1e-6),
        reference=(rows["cut"] == "cut") & (rows["damping"] == 1e-6),
        n_probes=6,
    )


def response_tables(random, fields):
    """The tables about what responds to a step."""
    pairs = pd.DataFrame(
        [
            {"pair": i, "response_class": a, "response_time": tau, "perturbation_class": b, "perturbation_time": 4}
            for i, (a, tau, b) in enumerate((("RP", 4, "RP"), ("RP", 8, "RP"), ("CRP", 4, "RP")))
        ]
    )
    cells = pd.DataFrame(keys(model=MODELS, channel=CHANNELS, **fields))
    maps = pairs.merge(cells, how="cross")
    state = random.uniform(size=16)[(4 * (4 * maps["y"]) + 4 * maps["x"]).astype(int)]
    ranked = pd.DataFrame(
        [
            ("test", 0, "RP", 7, 4, np.nan),
            ("helped", 2, "CRP", 2, 3, 4.0),
            ("helped", 1, "RP", 1, 4, 5.0),
            ("hurt", 8, "CRP", 8, 16, -1.0),
            ("hurt", 9, "CRP", 9, 15, -2.5),
        ],
        columns=("role", "rank", "class", "trajectory", "time", "influence"),
    )
    examples = ranked.merge(cells, how="cross")
    actions = ("e", "r", "s", "x16")
    span = {"model": MODELS, "quantity": ("span",)}
    leverage = summary(random, keys(**span, **{"class": CLASSES}, time=range(4)), positive=True)
    channels = keys(**span, relation=RELATIONS, response_channel=CHANNELS, perturbation_channel=CHANNELS)
    return {
        "sensitivity": sensitivity(random),
        "channels": summary(random, channels),
        "fronts": summary(random, keys(**span, relation=RELATIONS), positive=True).assign(area=0.2),
        "response_maps": maps.assign(quantity="span", state=state, response=random.normal(size=len(maps))),
        "attribution_fields": examples.assign(quantity="span", value=random.uniform(size=len(examples))),
        "leverage": leverage.drop(columns=["n_seeds", "n_probes"]).assign(n_batches=5),
        "symmetry": summary(random, keys(**span, action=actions)),
    }


@pytest.fixture
def tables():
    random = np.random.default_rng(0)
    influence = {"model": MODELS, "observable": OBSERVABLES, "step": ("smse",)}
    influence |= {"quantity": ("span",), "normalization": ("standard",)}
    epochs = keys(model=MODELS, epoch=(1, 5, 10))
    spectrum = summary(random, epochs, positive=True).assign(minimum=0.1, maximum=50.0, condition=500.0)
    fields = {"y": np.arange(4) / 4, "x": np.arange(4) / 4}
    prediction = pd.DataFrame(
        keys(model=MODELS, **{"class": CLASSES}, start=(0,), snapshot=(1, 3), channel=("density",), **fields)
    )
    truth = 1 + random.uniform(size=len(prediction) // 2)
    prediction["truth"] = np.tile(truth, 2)
    snapshots = pd.DataFrame(keys(**{"class": CLASSES}, snapshot=(0, 2), channel=("density",), **fields))
    starts = [row for row in keys(model=(*MODELS, "persistence"), start=range(3), snapshot=range(5))]
    return {
        "two_time": summary(random, keys(**influence, perturbation_time=range(4), response_time=range(4))),
        "class_transfer": summary(random, keys(**influence, perturbation_class=CLASSES, response_class=CLASSES)),
        "time_lag": summary(random, keys(**influence, relation=("intra-class", "inter-class"), lag=range(-3, 4))),
        "interpolation": summary(
            random, keys(model=MODELS, quantity=("span",), normalization=("standard",), distance=(0.01, 0.1, 1.0))
        ),
        "spectrum": spectrum.assign(largest_metric_eigenvalue=1e7),
        "training": pd.DataFrame(epochs).assign(
            **{
                f"{part}_{s}": v
                for part in ("train", "validation")
                for s, v in zip(("minimum", "median", "maximum"), (0.1, 0.2, 0.3), strict=True)
            },
            persistence=0.5,
            n_seeds=3,
        ),
        "rollout": summary(random, [row for row in starts if row["snapshot"] > row["start"]], positive=True),
        "snapshots": snapshots.assign(time=0.1 * snapshots["snapshot"], value=random.uniform(size=len(snapshots))),
        "prediction": prediction.assign(prediction=prediction["truth"] + 0.1 * random.normal(size=len(prediction))),
    } | response_tables(random, fields)


def panels(figure):
    """The titled axes by title: one panel a model, no colour bars."""
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def select(table, **values):
    for column, value in values.items():
        table = table[table[column] == value]
    return table


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_saves_the_same_bytes_twice(name, tables, tmp_path):
    written = []
    for attempt in ("first", "second"):
        figure = draw(name, tables[FIGURES[name].table])
        paths = tmp_path / f"{attempt}.pdf", tmp_path / f"{attempt}.png"
        save(figure, *paths, dpi=60)
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]
    pdf, png = written[0]
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf
    assert png.startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "observable"), [("two_time", "smse"), ("two_time_energy", "energy")])
def test_heatmaps_hold_the_medians(name, observable, tables):
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
def test_the_colour_bar_says_what_is_clipped(limit, lowest, arrows, tables):
    columns = ["q25", "median", "q75"]
    tables["two_time"][columns] = tables["two_time"][columns].clip(lower=lowest)
    figure = draw("two_time", tables["two_time"], Options(heatmap_limit=limit))
    (bar,) = (axes.images[0].colorbar for axes in panels(figure).values() if axes.images[0].colorbar)
    assert bar.extend == arrows


def test_only_steps_on_the_cost_are_drawn(tables):
    table = select(tables["time_lag"], observable="mass")
    figures = [draw("time_lag_mass", t) for t in (table, pd.concat([table, table.assign(step="mass", median=9.0)]))]
    first, second = ([line.get_xydata() for axes in figure.axes for line in axes.lines] for figure in figures)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_class_matrix_prints_its_numbers(tables):
    for model, axes in panels(draw("class_transfer", tables["class_transfer"])).items():
        printed = {(text.xy, text.get_text()) for text in axes.texts}
        assert [label.get_text() for label in axes.get_xticklabels()] == list(CLASSES)
        for row in select(tables["class_transfer"], model=model, observable="smse").itertuples():
            cell = CLASSES.index(row.perturbation_class), CLASSES.index(row.response_class)
            assert axes.images[0].get_array()[cell[::-1]] == row.median
            assert (cell, f"{row.median:z.2f}".replace("-", "−")) in printed


@pytest.mark.parametrize("relation", ["intra-class", "inter-class"])
def test_lag_lines_are_the_table(relation, tables):
    shown = panels(draw("time_lag_mass", tables["time_lag"].sample(frac=1, random_state=1)))
    for model, axes in shown.items():
        expected = select(tables["time_lag"], model=model, relation=relation, observable="mass").sort_values("lag")
        (line,) = (line for line in axes.lines if line.get_label() == relation)
        np.testing.assert_array_equal(line.get_xydata(), expected[["lag", "median"]])
        bands = [band.get_paths()[0].vertices for band in axes.collections]
        assert any(set(expected["q25"]) | set(expected["q75"]) <= set(band[:, 1]) for band in bands)
    assert len({axes.get_ylim() for axes in shown.values()}) == 1


def test_interpolation_and_rollout_lines_are_the_tables(tables):
    (axes,) = draw("interpolation", tables["interpolation"]).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    for model in MODELS:
        np.testing.assert_array_equal(lines[model], select(tables["interpolation"], model=model)["median"])
    figure = draw("rollout", tables["rollout"], Options(last_training_snapshot=2))
    assert list(panels(figure)) == [*MODELS, "persistence"]
    drawn = [list(line.get_ydata()) for line in panels(figure)["unet"].lines]
    for start in range(3):
        assert list(select(tables["rollout"], model="unet", start=start)["median"]) in drawn
    assert any(list(line.get_xdata()) == [2.5, 2.5] for line in panels(figure)["unet"].lines)


def test_boxes_are_the_table(tables):
    for model, axes in panels(draw("spectrum", tables["spectrum"])).items():
        expected = select(tables["spectrum"], model=model)
        drawn = np.concatenate([line.get_ydata() for line in axes.lines])
        for column in ("minimum", "median", "maximum"):
            assert set(expected[column]) <= set(drawn)
        boxes = np.concatenate([patch.get_path().vertices[:, 1] for patch in axes.patches])
        assert set(expected["q25"]) | set(expected["q75"]) <= set(boxes)


def test_fields_are_the_tables(tables):
    figure = draw("prediction", tables["prediction"])
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    first = select(tables["prediction"], **{"class": "RP", "snapshot": 1})
    truth = select(first, model="vit")["truth"].to_numpy().reshape(4, 4)
    predicted = [select(first, model=model)["prediction"].to_numpy().reshape(4, 4) for model in MODELS]
    expected = [truth, predicted[0], predicted[0] - truth, predicted[1], predicted[1] - truth]
    np.testing.assert_array_equal(images[:5], expected)
    figure = draw("snapshots", tables["snapshots"])
    shown = next(axes for axes in figure.axes if axes.images).images[0].get_array()
    expected = select(tables["snapshots"], **{"class": "RP", "snapshot": 0})["value"]
    np.testing.assert_array_equal(shown.ravel(), expected)


@pytest.mark.parametrize("name", FIGURES)
def test_every_drawn_column_is_demanded(name, tables):
    spec = FIGURES[name]
    columns = REQUIRED[spec.table]
    for column in (*columns.text, *columns.keys, *columns.values):
        with pytest.raises(ValueError, match=rf"table {spec.table}: no column {column}"):
            draw(name, tables[spec.table].drop(columns=column))
    for column in {*columns.keys, *columns.values} - {*columns.missing}:
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
        ("response_maps", lambda t: t.assign(state=t.index), "column state of pair 0 differs between models"),
        ("response_maps", lambda t: t.assign(pair=0), "table response_maps: column pair has 0 for 3 pairs"),
        ("attribution", lambda t: t.assign(role="best"), "table attribution_fields: column role has best, expected"),
        ("attribution", lambda t: t[t["role"] != "test"], "column role has 0 tests for vit, expected one"),
        ("attribution", lambda t: t.assign(influence=np.nan), "column influence has nan for role helped of vit"),
    ],
)
def test_tables_that_would_mislead_are_refused(name, change, message, tables):
    table = change(tables[FIGURES[name].table])
    if message.endswith("14 missing"):
        table = table[(table["model"] == "vit")]
    with pytest.raises(ValueError, match=message):
        draw(name, table)


def test_what_left_the_axes_is_marked(tables, tmp_path):
    blown = (tables["rollout"]["model"] == "unet") & (tables["rollout"]["snapshot"] == 4)
    tables["rollout"].loc[blown, ["q25", "median", "q75"]] = np.inf
    figure = draw("rollout", tables["rollout"])
    crosses = [line for line in panels(figure)["unet"].lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[4]] * 3
    assert "cross" in figure.get_supxlabel()
    tables["prediction"].loc[0, "prediction"] = np.inf
    image = panels(draw("prediction", tables["prediction"]))["vit"].images[0]
    assert image.get_array()[0, 0] > image.get_clim()[1]
    tables["spectrum"].loc[0, "minimum"] = -1e-12
    figure = draw("spectrum", tables["spectrum"])
    assert "a whisker to the bottom edge" in figure.get_supxlabel()
    save(figure, tmp_path / "s.pdf", tmp_path / "s.png", dpi=50)


def test_the_sample_size_stands_in_the_figure(tables):
    assert draw("time_lag", tables["time_lag"]).get_supxlabel().startswith("n = 3 seeds × 6 probe batches")
    tables["interpolation"].loc[0, "n_probes"] = 1
    assert draw("interpolation", tables["interpolation"]).get_supxlabel().startswith("n = 3 seeds × 1–6 probe batches")


def test_a_model_looks_alike_in_every_figure(tables):
    options = Options(models=MODELS)
    alone = select(tables["interpolation"], model="unet")
    both = {model: look for model, _, look in by_model(tables["interpolation"], options)}
    assert by_model(alone, options)[0][2] == both["unet"] != both["vit"]


def test_figures_for_observables_and_parts():
    assert set(figures_for(OBSERVABLES, PARTS)) == set(FIGURES)
    assert not [name for name in figures_for(("smse",), PARTS) if name.endswith(("_mass", "_energy"))]
    assert all(FIGURES[name].part is None for name in figures_for(OBSERVABLES))
    assert set(figures_for((), ("cross",))) - set(figures_for(())) == {"attribution", "leverage"}


def test_a_part_brings_the_tables_of_its_figures():
    assert tables_for(PARTS) == TABLES
    optional = {"sensitivity", "response_maps", "attribution", "attribution_fields", "leverage"}
    assert set(TABLES) - set(tables_for()) == optional
    for parts in ((), ("cross",), PARTS):
        assert {FIGURES[name].table for name in figures_for(OBSERVABLES, parts)} <= set(tables_for(parts))


@pytest.mark.parametrize("name", ["two_time", "time_lag_mass", "class_transfer", "interpolation"])
def test_the_kind_of_influence_stands_in_the_figure(name, tables):
    for quantity, long_name in QUANTITIES.items():
        figure = draw(name, tables[FIGURES[name].table].assign(quantity=quantity))
        assert long_name in figure.get_supxlabel().replace("\n", " ")


def test_one_to_four_models(tables):
    extra = [select(tables["two_time"], model="vit").assign(model=f"net{i}") for i in range(4)]
    for count in range(1, 5):
        figure = draw("two_time", pd.concat(extra[:count]))
        assert len(panels(figure)) == count


def labelled(figure, label):
    """The main panel and the strip beside it of the panel with this label on its vertical axis."""
    i = next(i for i, axes in enumerate(figure.axes) if axes.get_ylabel().startswith(label))
    return figure.axes[i : i + 2]


def points(lines):
    return {tuple(point) for line in lines for point in line.get_xydata()}


def test_sensitivity_curves_are_medians_over_seeds(tables):
    table = tables["sensitivity"]
    figure = draw("sensitivity", table.sample(frac=1, random_state=1), Options(models=MODELS))
    assert figure.get_supxlabel().startswith("n = 2 seeds × 6 probe batches")
    panel, strip = labelled(figure, "correlation")
    middle = table.groupby(["model", "quantity", "cut", "damping"], dropna=False)["correlation"].median()
    for colour, model in zip(("#0072b2", "#e69f00"), MODELS, strict=True):
        for (quantity, cut), line in {("span", "cut"): "-", ("span", "none"): "--", ("full", "-"): ":"}.items():
            (curve,) = (c for c in panel.lines if (c.get_color(), c.get_linestyle()) == (colour, line))
            np.testing.assert_array_equal(curve.get_ydata(), middle[model, quantity, cut])
            assert list(curve.get_xdata()) == [1e-6, 1e-3, 1.0]
        heights = {height for line in strip.lines if line.get_color() == colour for height in line.get_ydata()}
        assert heights == set(middle[model].loc[["euclidean", "adam"]])
    assert [label.get_text() for label in strip.get_xticklabels()] == ["dot product", "Adam step"]
    assert strip.get_ylim() == panel.get_ylim()
    ends = [segment for bars in panel.collections for segment in bars.get_segments()]
    span = table[(table["quantity"] == "full") & (table["damping"] == 1e-3) & (table["model"] == "vit")]["correlation"]
    assert any(sorted(end[:, 1]) == sorted(span) for end in ends)


def test_sensitivity_marks_what_is_not_a_plain_point(tables):
    table = tables["sensitivity"]
    figure = draw("sensitivity", table, Options(models=MODELS))
    middle = table.groupby(["model", "quantity", "cut", "damping"])["half_life"].median()
    panel, _ = labelled(figure, "half-life")
    hollow = points(line for line in panel.lines if line.get_markerfacecolor() == "white")
    assert hollow == {(1e-6, middle[model, "full", "-", 1e-6]) for model in MODELS}
    rings = points(line for line in panel.lines if line.get_markersize() == 8)
    assert rings == {(1e-6, middle[model, "span", "cut", 1e-6]) for model in MODELS}
    crosses = [line for line in panel.lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[1.0]] * 6
    for word in ("hollow", "cross", "ring"):
        assert word in figure.get_supxlabel()
    calm = table.assign(converged=True, half_life=1.0)
    words = draw("sensitivity", calm).get_supxlabel()
    assert "hollow" not in words
    assert "cross" not in words
    bare = draw("sensitivity", table[table["damping"].notna()])
    assert len(bare.axes) == 4


def test_channel_heatmaps_print_per_cents_of_the_table(tables):
    for title, axes in panels(draw("channels", tables["channels"])).items():
        model, relation = title.split(": ")
        printed = {(text.xy, text.get_text()) for text in axes.texts}
        low, high = axes.images[0].get_clim()
        assert low == -high
        for row in select(tables["channels"], model=model, relation=relation).itertuples():
            cell = CHANNELS.index(row.perturbation_channel), CHANNELS.index(row.response_channel)
            assert axes.images[0].get_array()[cell[::-1]] == 100 * row.median
            for value in (row.q25, row.median, row.q75):
                assert (cell, f"{100 * value:z.1f}".replace("-", "−")) in printed


@pytest.mark.parametrize(("name", "column"), [("fronts", "relation"), ("symmetry", "action")])
def test_markers_and_bars_are_the_table(name, column, tables):
    table = tables[name]
    (axes,) = draw(name, table, Options(models=MODELS)).axes
    places = {label.get_text(): place for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)}
    for container, model in zip(axes.containers, MODELS, strict=True):
        assert container.get_label() == model
        marks, _, (bars,) = container.lines
        for row in select(table, model=model).to_dict("records"):
            i = int(np.argmin(np.abs(marks.get_xdata() - places[row[column]])))
            assert marks.get_ydata()[i] == row["median"]
            np.testing.assert_allclose(bars.get_segments()[i][:, 1], [row["q25"], row["q75"]])
    levels = {line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1}
    assert levels >= ({0.2} if name == "fronts" else set(select(table, action="e")["median"]))


def test_leverage_lines_are_the_table(tables):
    figure = draw("leverage", tables["leverage"].sample(frac=1, random_state=1))
    assert figure.get_supxlabel().startswith("n = 5 batches")
    for model, axes in panels(figure).items():
        for line in axes.lines:
            expected = select(tables["leverage"], model=model, **{"class": line.get_label()}).sort_values("time")
            np.testing.assert_array_equal(line.get_xydata(), expected[["time", "median"]])
        assert {line.get_label() for line in axes.lines} == set(CLASSES)
        assert axes.get_ylim()[0] == 0


def test_response_maps_are_the_first_channel_of_the_table(tables):
    table = tables["response_maps"]
    figure = draw("response_maps", table, Options(models=MODELS))
    assert CHANNELS[0] in figure.get_supxlabel()
    rows = np.array([axes for axes in figure.axes if axes.get_label() != "<colorbar>"]).reshape(3, 3)
    for pair, row in enumerate(rows):
        shown = select(table, pair=pair, channel=CHANNELS[0])
        np.testing.assert_array_equal(row[0].images[0].get_array().ravel(), select(shown, model="vit")["state"])
        for axes, model in zip(row[1:], MODELS, strict=True):
            np.testing.assert_array_equal(axes.images[0].get_array().ravel(), select(shown, model=model)["response"])
            assert axes.images[0].get_clim() == (-shown["response"].abs().max(), shown["response"].abs().max())
    assert rows[1, 0].get_ylabel() == "response: RP, τ = 8\nstep on: RP, t = 4"
    assert [axes.get_title() for axes in rows[0]] == ["state", *MODELS]


def test_attribution_shows_the_ranked_trajectories_in_order(tables):
    table = tables["attribution_fields"]
    figure = draw("attribution", table[::-1], Options(models=MODELS))
    shown = [axes for axes in figure.axes if axes.get_title()]
    order = ["RP no. 7\nt = 4", "RP no. 1\nt = 4\nH = 5.00", "CRP no. 2\nt = 3\nH = 4.00"]
    order += ["CRP no. 9\nt = 15\nH = −2.50", "CRP no. 8\nt = 16\nH = −1.00"]
    assert [axes.get_title() for axes in shown] == 2 * order
    assert [axes.get_ylabel() for axes in shown if axes.get_ylabel()] == list(MODELS)
    for axes, (model, trajectory) in zip(shown, product(MODELS, (7, 1, 2, 9, 8)), strict=True):
        chosen = select(table, model=model, trajectory=trajectory, channel=CHANNELS[-1])
        np.testing.assert_array_equal(axes.images[0].get_array().ravel(), chosen["value"])


@pytest.mark.parametrize(
    "name", ["sensitivity", "channels", "fronts", "symmetry", "leverage", "response_maps", "attribution"]
)
def test_one_and_four_models_fit_the_page(name, tables, recwarn, tmp_path):
    table = select(tables[FIGURES[name].table], model="vit")
    for count in (1, 4):
        figure = draw(name, pd.concat([table.assign(model=f"net{i}") for i in range(count)], ignore_index=True))
        save(figure, tmp_path / "f.pdf", tmp_path / "f.png", dpi=50)
        assert figure.get_figwidth() <= 7.0
        assert figure.get_figheight() <= 9.0
    assert not [warning for warning in recwarn if "layout" in str(warning.message)]
