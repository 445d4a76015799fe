"""Fixtures that several files share."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from figure_tables import all_tables
from hub_study import disk, serving
from response_study import Study, make
from tests.hub_server import Hub


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    return all_tables()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def shards(study: Study) -> list[Path]:
    return [study.shard(f"shard{b}.zarr", [("test", b)]) for b in range(2)]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving(monkeypatch, tmp_path) as hub:
        yield hub


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disk(tmp_path / "disk") as folder:
        yield folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
