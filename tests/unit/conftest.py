"""Fixtures that several files share."""

from pathlib import Path

import pandas as pd
import pytest
from figure_tables import all_tables
from response_study import Study, make


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    return all_tables()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def shards(study: Study) -> list[Path]:
    return [study.shard(f"shard{b}.zarr", [("test", b)]) for b in range(2)]
