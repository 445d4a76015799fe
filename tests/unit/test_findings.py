"""The sentence above a figure says what its table holds, of every network."""

import numpy as np
import pandas as pd
import pytest
from figure_tables import MODELS, all_tables

from surroscope.report.catalogue import figure
from surroscope.report.findings import FINDINGS, finding, number, percent


@pytest.mark.parametrize("name", FINDINGS)
def test_a_sentence_names_every_network_and_no_other_gap(name: str) -> None:
    table = all_tables()[figure(name).table]
    told = finding(name, table)
    assert all(f"{model}: " in told for model in MODELS)
    assert told.endswith(".")
    assert "nan" not in told
    assert finding(name, table.iloc[:0]) == ""
    assert finding("snapshots", table) == ""


def test_what_is_told_is_what_the_table_holds() -> None:
    lag = pd.DataFrame(
        {"model": "net", "relation": relation, "lag": at, "median": value, "observable": "smse", "step": "smse"}
        for relation, at, value in (
            *(("intra-class", at, value) for at, value in ((-8, 1.0), (0, 4.0), (8, 3.0))),
            ("inter-class", 0, -1.0),
        )
    )
    expected = "After 8 steps, net: 50 % of that at lag 0 is left, and at lag 0 −25 % of it reaches other classes."
    assert finding("time_lag", lag).replace("\N{NO-BREAK SPACE}", " ") == expected
    mass = lag.assign(step="mass", median=100.0)  # steps on another observable are not among the figure's
    assert finding("time_lag", pd.concat([lag, mass])) == finding("time_lag", lag)
    one = lag[lag["relation"] == "intra-class"]
    assert finding("time_lag", one).endswith("is left.")
    short = lag[lag["lag"] == 0]
    assert "– of that at lag 0" in finding("time_lag", short)


def test_gaps_and_infinities_are_written_as_such() -> None:
    assert (percent(np.inf), percent(-0.123)) == ("∞", "−12\N{NO-BREAK SPACE}%")
    assert (percent(np.nan), number(np.inf), number(np.nan), number(-0.123)) == ("–", "∞", "–", "−0.12")
