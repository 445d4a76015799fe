"""Differences between studies: paired draws where they looked at the same, independent ones where not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from surroscope.diagnostics import bootstrap
from surroscope.plots import style
from surroscope.plots.plane import ALONE, plane
from surroscope.report.compare import differences, render
from surroscope.tables import compare
from surroscope.tables.scalars import Sampled

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
    assert "settled but for times, whose interval spans a limit between labels" in text
    assert "<code>seeds</code>" in text
    assert "<strong>0.5</strong>" not in text  # of independent draws the interval holds 0
    together = compare.table(found, {"a": record(), "b": record()})
    assert "<strong>0.5</strong>" in render(["a", "b"], answers, together, compare.settings(records), b"", "")


def test_the_plane_draws_every_pair_before_and_after_training_and_networks_of_one_class() -> None:
    places = [f"between_{of}{end}" for of in ("times", "classes") for end in ("", "_low", "_high")]
    none = np.nan
    rows = [
        ("net", "trained", 1e-3, "A and B", 0.9, 0.8, 0.95, 0.2, 0.1, 0.3),
        ("net", "trained", 1e-3, "A and C", 0.9, 0.8, 0.95, 0.7, none, none),
        ("net", "trained", 1e-2, "A and B", 0.85, none, none, 0.3, none, none),
        ("net", "untrained", 1e-3, "A and B", 1.0, none, none, 0.98, none, none),
        ("alone", "trained", 1e-2, "A", 0.4, 0.3, 0.5, none, none, none),
        ("dead", "trained", 1e-3, "A and B", none, none, none, none, none, none),
    ]
    table = pd.DataFrame(rows, columns=["model", "weights", "noise", "classes", *places])
    (axes,) = plane(table, style.Options()).axes
    drawn = {tuple(np.round(line.get_xydata().ravel(), 3)) for line in axes.lines}
    assert {(0.9, 0.2, 0.9, 0.7), (0.85, 0.3), (1.0, 0.98), (1.0, 0.98, 0.9, 0.2), (0.4, ALONE)} <= drawn
    # The noise that its study names first is a network's own, whatever that of others is.
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [tuple(line.get_xydata().ravel()) for line in hollow if len(line.get_xydata())] == [(1.0, 0.98)]
    assert axes.get_yticklabels()[0].get_text() == "one class"
    (segments,) = [
        found
        for part in axes.collections
        if (found := np.round(part.get_segments(), 3)).tolist() == [[[0.9, 0.1], [0.9, 0.3]]]
    ]
    assert len(segments) == 1
