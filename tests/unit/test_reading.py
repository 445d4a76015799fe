"""Names come back from tables as they were written."""

import io
from pathlib import Path

import pandas as pd
import pytest
from figure_tables import all_tables

import surroscope
from surroscope.report.catalogue import FIGURES, figure
from surroscope.report.draw import draw
from surroscope.runtime import claims, store
from surroscope.tables.reading import TEXT, read_csv

# What pandas would make numbers, truth values and gaps of, for names of the tables of figures.
NAMES = {"vit": "1", "unet": "007", "RP": "1e-3", "CRP": "NA", "density": "true", "momentum_x": "nan", "mass": "null"}
TABLES = {
    name: table.assign(**{column: table[column].replace(NAMES) for column in TEXT & set(table)})
    for name, table in all_tables().items()
}


def test_all_that_figures_call_text_is_read_as_text() -> None:
    assert set().union(*(spec.columns.text for spec in FIGURES.values())) <= TEXT


@pytest.mark.parametrize("name", TABLES)
def test_a_table_comes_back_as_it_was_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "CE" / "tables" / f"{name}.csv"
    with claims.claimed([path]), store.atomic(path) as temporary:
        TABLES[name].to_csv(temporary, index=False)
    found = surroscope.read_table(tmp_path, "CE", name)
    pd.testing.assert_frame_equal(found, TABLES[name], check_dtype=False)
    for column in TEXT & set(found):
        assert {type(value) for value in found[column]} == {str}


@pytest.mark.parametrize("name", ["training", "two_time_null", "class_transfer", "prediction", "channels", "leverage"])
def test_figures_show_names_that_look_like_numbers(name: str) -> None:
    text = TABLES[figure(name).table].to_csv(index=False)
    assert draw(name, read_csv(io.StringIO(text)))
