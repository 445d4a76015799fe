"""Differences between studies: paired draws where they looked at the same, independent ones where not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from surroscope.diagnostics import bootstrap
from surroscope.errors import UserError
from surroscope.plots import style
from surroscope.plots.plane import ALONE, plane
from surroscope.report.compare import differences, render
from surroscope.runtime import claims, store
from surroscope.tables import compare
from surroscope.tables.scalars import Sampled
from surroscope.tools.compare import concluded

NAMES = ["validation", "half_life"]
DRAWN = np.random.default_rng(0).normal(size=(bootstrap.DRAWS, 2)) + 5
ONE = Sampled(NAMES, np.array([5.0, 5.0]), DRAWN, np.zeros(2, bool), 3, np.array([np.nan, 4]))
OTHER = replace(ONE, estimate=ONE.estimate + 0.5, draws=DRAWN + 0.5)


def record(digest: str = "a", **changes: Any) -> dict[str, Any]:
    config = {
        "study": "x",
        "seeds": [10, 35],
        "split": {"train": 0.5},
        "probe": {"batches": 2},
        "coupling": {},
        "systems": {},
    } | changes
    return {"config": config, "stores": {f"data/store/{digest}/NS/NS-BB.zarr": {"digest": digest}, "results/x": {}}}


def test_a_paired_difference_has_no_spread_where_both_move_together() -> None:
    found = {("NS", "net"): {"a": ONE, "b": OTHER}}
    table = compare.table(found, {"a": record(), "b": record()})
    apart = table[table["less"] == "a"].set_index("name")
    assert apart["paired"].all()
    assert apart[["value", "low", "high"]].to_numpy() == pytest.approx(0.5)
    # A network that is given a longer past is looked at from other transitions.
    later = {("NS", "net"): {"a": ONE, "b": replace(OTHER, first=2)}}
    assert not compare.table(later, {"a": record(), "b": record()})["paired"].any()
    alone = compare.table(found, {"a": record(), "b": record("other")})
    apart = alone[alone["less"] == "a"].set_index("name")
    assert not apart["paired"].any()
    # Of two independent numbers with deviation 1 each, 1.96 √2, widened for three seeds.
    spread = (apart["high"] - apart["low"]) / 2 / np.sqrt(3 / 2)
    assert spread.to_numpy() == pytest.approx(1.96 * np.sqrt(2), rel=0.15)


@pytest.mark.parametrize(
    ("other", "together"),
    [
        (record(), True),
        (record(study="y"), True),
        (record("b"), False),
        (record(seeds=[10]), False),
        (record(probe={"batches": 3}), False),
        (record(coupling={"probes": 1}), False),
    ],
)
def test_studies_are_paired_that_look_at_the_same_transitions_of_the_same_data(other: Any, together: bool) -> None:
    assert compare.paired(record(), other, "NS") is together
    assert not compare.paired(record(), other, "CE")


def test_settings_that_differ_are_named_by_their_key() -> None:
    one, other = record(probe={"batches": 2, "snapshots": 9}), record(probe={"batches": 3, "snapshots": 9}, more=1)
    found = compare.settings({"a": one, "b": other})
    assert found.to_dict("index") == {"probe.batches": {"a": "2", "b": "3"}, "more": {"a": "–", "b": "1"}}
    assert compare.settings({"a": one, "b": one}).empty


def test_the_page_has_every_network_and_marks_differences_that_leave_out_zero() -> None:
    found = {("NS", "net"): {"a": ONE, "b": OTHER}, ("NS", "alone"): {"a": ONE}}
    records = {"a": record(), "b": record(seeds=[10])}
    table = compare.table(found, records)
    blocks = differences(table)
    assert list(blocks) == [("NS", "net")]
    assert [words for words, _ in blocks["NS", "net"]["rows"]] == [
        "One-step error, validation",
        "Half-life of signed influence, steps",
    ]
    bar = {"what": "x", "value": 0.5, "low": 0.4, "high": 0.6}
    told = {"label": "partly", "answer": "It reaches <all>.", "strength": "", "unsettled": ["times"], "moved": []}
    told["bars"] = [bar] * 3
    answers = [told | {"study": study, "system": "NS", "name": "net", "model": f"Net {study}"} for study in ("a", "b")]
    text = render(["a", "b"], answers, table, compare.settings(records), b"image", "results/compare.csv")
    assert "It reaches &lt;all&gt;." in text
    assert '<h3 id="NS-net">Net a/Net b on NS</h3>' in text
    assert "not settled for times, whose interval spans a limit between labels" in text
    assert "<code>seeds</code>" in text
    assert "<strong>0.5</strong>" not in text  # of independent draws the interval holds 0
    together = compare.table(found, {"a": record(), "b": record()})
    assert "<strong>0.5</strong>" in render(["a", "b"], answers, together, compare.settings(records), b"", "")


def test_the_plane_draws_every_pair_before_and_after_training_and_networks_of_one_class() -> None:
    places = [f"between_{of}{end}" for of in ("times", "classes") for end in ("", "_low", "_high")]
    none = np.nan
    rows = [
        ("net", "trained", 1e-3, "A and C", 0.9, 0.8, 0.95, 0.7, none, none),
        ("net", "trained", 1e-3, "A and B", 0.9, 0.8, 0.95, 0.2, 0.1, 0.3),
        ("net", "trained", 1e-3, "B and C", 0.9, 0.8, 0.95, none, none, none),
        ("net", "trained", 1e-2, "A and B", 0.85, none, none, 0.3, none, none),
        ("net", "untrained", 1e-3, "A and B", 1.0, none, none, 0.98, none, none),
        ("alone", "trained", 1e-2, "A", 0.4, 0.3, 0.5, none, none, none),
        ("dead", "trained", 1e-3, "A and B", none, none, none, none, none, none),
    ]
    table = pd.DataFrame(rows, columns=["model", "weights", "noise", "classes", *places]).assign(label="times shared")
    table.loc[table["model"] == "alone", "label"] = "too weak to say"
    figure = plane(table, style.Options())
    (axes,) = figure.axes
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][:3] == ["net", "alone: too weak to say", "dead"]
    drawn = {tuple(np.round(line.get_xydata().ravel(), 3)) for line in axes.lines}
    assert {(0.85, 0.3), (1.0, 0.98), (1.0, 0.98, 0.9, 0.2), (0.4, ALONE)} <= drawn
    # The noise that its study names first is a network's own, whatever that of others is.
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [tuple(line.get_xydata().ravel()) for line in hollow if len(line.get_xydata())] == [(1.0, 0.98)]
    ticks = [text.get_text() for text in axes.get_yticklabels()]
    assert (ticks[0], ticks[-1]) == ("one class", "1.0")
    bars = [np.round(part.get_segments(), 3).tolist() for part in axes.collections]
    assert bars.count([[[0.9, 0.1], [0.9, 0.3]]]) == 1  # of the pair that shares least
    assert bars.count([[[0.8, 0.7], [0.95, 0.7]]]) == 1  # and most, of those of which there is a number


def test_what_was_concluded_is_of_the_studys_own_noise_and_of_this_version(tmp_path: Path) -> None:
    rows = [("net", "trained", 1.0), ("net", "trained", 0.1), ("net", "untrained", 1.0), ("other", "trained", 1.0)]
    for name, write in {
        "verdict.json": lambda path: path.write_text('{"net": {"label": "shared"}}'),
        "verdict_plane.csv": lambda path: pd.DataFrame(rows, columns=["model", "weights", "noise"]).to_csv(path),
    }.items():
        with claims.claimed([tmp_path / name]), store.atomic(tmp_path / name) as temporary:
            write(temporary)
    verdicts, shown = concluded(tmp_path)
    assert verdicts == {"net": {"label": "shared"}}
    assert shown["model"].tolist() == ["net", "other"]
    assert set(zip(shown["weights"], shown["noise"], strict=True)) == {("trained", 1.0)}
    (tmp_path / "verdict_plane.csv").unlink()
    with pytest.raises(UserError, match="is of an older version; run the study again"):
        concluded(tmp_path)
