"""Figures of sensitivity and of what responds show exactly what their tables say."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_tables import CHANNELS, CLASSES, MODELS, panels, select
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from surroscope.plots.style import Options, save
from surroscope.report.catalogue import FIGURES
from surroscope.report.draw import draw

Tables = dict[str, pd.DataFrame]


def labelled(figure: Figure, label: str) -> list[Axes]:
    """The main panel and the strip beside it of the panel with this label on its vertical axis."""
    i = next(i for i, axes in enumerate(figure.axes) if axes.get_ylabel().startswith(label))
    return figure.axes[i : i + 2]


def points(lines: Iterable[Line2D]) -> set[tuple[float, ...]]:
    return {tuple(point) for line in lines for point in line.get_xydata()}


def damping(place: float) -> float:
    """The damping beside which a point stands."""
    return float(10.0 ** round(np.log10(place)))


def test_sensitivity_curves_are_medians_over_seeds(tables: Tables) -> None:
    table = tables["sensitivity"]
    figure = draw("sensitivity", table.sample(frac=1, random_state=1), Options(models=MODELS))
    assert figure.get_supxlabel().startswith("n = 2 seeds × 6 probe batches")
    panel, strip = labelled(figure, "correlation")
    middle = table.groupby(["model", "quantity", "cut", "damping"], dropna=False)["correlation"].median()
    for colour, model in zip(("#0072b2", "#e69f00"), MODELS, strict=True):
        for (quantity, cut), line in {("span", "cut"): "-", ("span", "none"): "--", ("full", "-"): ":"}.items():
            (curve,) = (c for c in panel.lines if (c.get_color(), c.get_linestyle()) == (colour, line))
            np.testing.assert_array_equal(curve.get_ydata(), middle[model, quantity, cut])
            assert [damping(x) for x in curve.get_xdata()] == [1e-6, 1e-3, 1.0]
        heights = {height for line in strip.lines if line.get_color() == colour for height in line.get_ydata()}
        assert heights == set(middle[model].loc[["euclidean", "adam"]])
    assert [label.get_text() for label in strip.get_xticklabels()] == ["dot product", "Adam step"]
    assert strip.get_ylim() == panel.get_ylim()
    ends = [segment for bars in panel.collections for segment in bars.get_segments()]
    span = table[(table["quantity"] == "full") & (table["damping"] == 1e-3) & (table["model"] == "vit")]["correlation"]
    assert any(sorted(end[:, 1]) == sorted(span) for end in ends)


def test_sensitivity_marks_what_is_not_a_plain_point(tables: Tables) -> None:
    table = tables["sensitivity"]
    figure = draw("sensitivity", table, Options(models=MODELS))
    middle = table.groupby(["model", "quantity", "cut", "damping"])["half_life"].median()
    panel, _ = labelled(figure, "half-life")
    hollow = points(line for line in panel.lines if line.get_markerfacecolor() == "white")
    assert {(damping(x), y) for x, y in hollow} == {(1e-6, middle[model, "full", "-", 1e-6]) for model in MODELS}
    rings = points(line for line in panel.lines if line.get_markersize() == 8)
    assert {(damping(x), y) for x, y in rings} == {(1e-6, middle[model, "span", "cut", 1e-6]) for model in MODELS}
    crosses = [x for line in panel.lines if line.get_marker() == "x" for x in line.get_xdata()]
    assert [damping(x) for x in crosses] == [1.0] * 6
    # Side by side, so that none hides another.
    assert len({round(np.log10(x), 3) for x in crosses}) == 6
    for word in ("hollow", "cross", "ring"):
        assert word in figure.get_supxlabel()
    calm = table.assign(converged=True, half_life=1.0)
    words = draw("sensitivity", calm).get_supxlabel()
    assert "hollow" not in words
    assert "cross" not in words
    bare = draw("sensitivity", table[table["damping"].notna()])
    assert len(bare.axes) == 4


def test_channel_heatmaps_print_per_cents_of_the_table(tables: Tables) -> None:
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


def test_shares_on_fronts_are_the_table(tables: Tables) -> None:
    table = tables["fronts"]
    (axes,) = draw("fronts", table, Options(models=MODELS)).axes
    places = {label.get_text(): place for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)}
    for container, model in zip(axes.containers, MODELS, strict=True):
        assert container.get_label() == model
        marks, _, (bars,) = container.lines
        for row in select(table, model=model).to_dict("records"):
            i = int(np.argmin(np.abs(marks.get_xdata() - places[row["relation"]])))
            assert marks.get_ydata()[i] == row["median"]
            np.testing.assert_allclose(bars.get_segments()[i][:, 1], [row["q25"], row["q75"]])
    assert 0.2 in {line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1}


def test_leverage_lines_are_the_table(tables: Tables) -> None:
    figure = draw("leverage", tables["leverage"].sample(frac=1, random_state=1))
    assert figure.get_supxlabel().startswith("n = 5 batches")
    for model, axes in panels(figure).items():
        for line in axes.lines:
            expected = select(tables["leverage"], model=model, **{"class": line.get_label()}).sort_values("time")
            np.testing.assert_array_equal(line.get_xydata(), expected[["time", "median"]])
        assert {line.get_label() for line in axes.lines} == set(CLASSES)
        assert axes.get_ylim()[0] == 0


def test_response_maps_are_the_first_channel_of_the_table(tables: Tables) -> None:
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


def test_attribution_shows_the_ranked_trajectories_in_order(tables: Tables) -> None:
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


@pytest.mark.parametrize("name", ["sensitivity", "channels", "fronts", "leverage", "response_maps", "attribution"])
def test_one_and_four_models_fit_the_page(
    name: str, tables: Tables, recwarn: pytest.WarningsRecorder, tmp_path: Path
) -> None:
    table = select(tables[FIGURES[name].table], model="vit")
    for count in (1, 4):
        figure = draw(name, pd.concat([table.assign(model=f"net{i}") for i in range(count)], ignore_index=True))
        save(figure, [tmp_path / "f.pdf", tmp_path / "f.png"], dpi=50)
        assert figure.get_figwidth() in (3.4, 7.0)
        assert figure.get_figheight() <= 9.0
    assert not [warning for warning in recwarn if "layout" in str(warning.message)]
