"""Whole studies of data that others made, from a hub over HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from surroscope.report.catalogue import figure, figures_for
from surroscope.runtime import store
from tests.hub_server import Hub

from . import data_sets
from .conftest import QUICK, TINY, fresh


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub, and the environment that points to it."""
    folder = tmp_path_factory.mktemp("hub")
    with Hub() as hub, pytest.MonkeyPatch.context() as patch:
        for name, value in hub.environment(folder / "home").items():
            patch.setenv(name, value)
        yield hub


def publish(hub: Hub, folder: Path, classes: list[str]) -> None:
    for ic in classes:
        path = data_sets.pdegym(folder, ic)
        hub.publish(f"camlab-ethz/{ic}", {path.name: path, "README.md": b"# PDEGym"})


@pytest.mark.slow
def test_a_study_of_hub_data_needs_the_network_for_its_raw_files_only(hub: Hub, tmp_path: Path) -> None:
    publish(hub, tmp_path, ["NS-BB", "NS-Sines"])
    project = fresh(tmp_path / "project", TINY)
    project.edit(TINY, "data: {", "data: {source: pdegym, keep_raw: false, reader: mapped, ")
    project.edit(TINY, "epochs: 60", "epochs: 2")
    project.edit(TINY, "[60]", "[2]")
    said = project.run().stdout
    assert "CC-BY-NC-4.0" in said
    raw = project.folder / "data/raw/tiny/NS/NS-BB"
    assert not (raw / "velocity_0.nc").exists()
    assert not list(project.folder.glob("results/tiny/NS/splits/*.cache*"))
    assert "build seed10.cache" in (project.folder / "results/tiny/NS/vit/seed10/train.log").read_text()
    assert json.loads((raw / "listing.json").read_text())["commit"] == hub.commit("camlab-ethz/NS-BB")
    data = store.read(project.folder / "data/store/tiny/NS/NS-BB.zarr")
    assert data.attrs["licence"] == "CC-BY-NC-4.0"
    assert data.attrs["commit"] == hub.commit("camlab-ethz/NS-BB")
    assert data.sizes == {"trajectory": 8, "time": 5, "channel": 2, "y": 8, "x": 8}
    page = (project.folder / "results/tiny/report.html").read_text()
    assert "CC-BY-NC-4.0" in page
    assert project.planned() == {}

    before, tables = len(hub.requests), project.tables()
    project.edit(TINY, "learning_rate: 2.0e-3", "learning_rate: 1.0e-3")
    project.run("results/tiny/NS/tables/verdict.json")
    assert project.tables() != tables
    assert len(hub.requests) == before


def test_files_of_another_revision_are_fetched_again(hub: Hub, tmp_path: Path) -> None:
    publish(hub, tmp_path, ["NS-BB", "NS-Sines"])
    project = fresh(tmp_path / "project", TINY)
    project.edit(TINY, "data: {", "data: {source: pdegym, ")
    project.run("data/store/tiny/NS/NS-BB.zarr", "data/store/tiny/NS/NS-Sines.zarr")
    planned = project.planned()
    assert "download" not in planned
    project.edit(TINY, "source: pdegym", f"source: pdegym, revision: {hub.commit('camlab-ethz/NS-BB')}")
    assert project.planned() == planned | {"listing": 2, "download": 2, "ingest": 2}


@pytest.mark.slow
def test_the_quick_study_runs_on_hub_data_by_its_source_alone(hub: Hub, tmp_path: Path) -> None:
    publish(hub, tmp_path, ["CE-RP", "CE-CRP", "CE-RPUI", "NS-BB", "NS-Gauss", "NS-Sines"])
    project = fresh(tmp_path / "project", QUICK)
    project.edit(QUICK, "  dataset: quick\n", "  dataset: quick\n  source: pdegym\n")
    project.run()
    for system, observables in {"CE": ["smse", "mass", "energy"], "NS": ["smse"]}.items():
        for name in figures_for(observables, ("turns", "conserved")):
            drawn = project.folder / f"results/quick/{system}/figures/{name}.{figure(name).suffixes[0]}"
            assert drawn.stat().st_size > 1000
