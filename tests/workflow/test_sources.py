"""Whole studies of data that others made: from a hub over HTTP, and from files of one's own, by configuration alone."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from surroscope import store
from surroscope.catalogue import figure, figures_for
from tests.hub_server import Hub

from . import data_sets
from .conftest import QUICK, ROOT, TINY, Project, fresh

TRAINING = {"epochs": 2, "learning_rate": 2.0e-3}
UNET = {
    "factory": "surroscope.models.unet:build",
    "options": {"width": 4, "stages": 1, "kernels": [5, 3], "heads": 1},
    "training": TRAINING,
    "probe_epochs": [2],
}
VIT = {
    "factory": "surroscope.models.vit:build",
    "options": {"patch": 4, "width": 16, "depth": 1, "heads": 2},
    "training": TRAINING,
    "probe_epochs": [2],
}


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


def own_study(folder: Path, configuration: dict) -> Project:
    project = fresh(folder / "project", "own.yaml")
    (project.folder / "own.yaml").write_text(yaml.safe_dump(configuration))
    return project


def configuration(system: str, equations: dict, data: dict) -> dict:
    return yaml.safe_load((ROOT / QUICK).read_text()) | {
        "study": "own",
        "data": {"dataset": "own", "source": "files", "snapshots": 9} | data,
        "systems": {system: {"trajectories": 8, "equations": equations, "models": {"unet": UNET, "vit": VIT}}},
    }


def test_a_shallow_water_study_by_configuration_alone(tmp_path: Path) -> None:
    for kind in ("dam", "wave"):
        data_sets.water(tmp_path / f"{kind}.zarr", kind)
    equations = {
        "title": "shallow water",
        "channels": ["depth", "discharge_x", "discharge_y"],
        "positive": ["depth"],
        "conserved": ["depth"],
        "vectors": [["discharge_x", "discharge_y"]],
        "symmetries": ["turns", "shifts"],
        "boundary": "open",
    }
    data = {
        "size": [16, 24],
        "files": {kind: str(tmp_path / f"{kind}.zarr") for kind in ("dam", "wave")},
        "channels": {"depth": "h", "discharge_x": "hu", "discharge_y": "hv"},
        "dimensions": {"trajectory": "run", "time": "t", "y": "lat", "x": "lon"},
        "dtype": "float64",
    }
    chosen = configuration("SW", equations, data)
    chosen["symmetry"] = {}
    project = own_study(tmp_path, chosen)
    project.run()
    results = project.folder / "results/own/SW"
    # No shifts, since the boundary is open.
    for name in figures_for(["smse", "depth"], ("symmetry", "turns", "conserved")):
        assert (results / f"figures/{name}.{figure(name).suffixes[-1]}").stat().st_size > 1000, name
    two_time = pd.read_csv(results / "tables/two_time.csv")
    assert set(two_time["observable"]) == {"smse", "depth"}
    assert np.isfinite(two_time["median"]).all()
    assert "shallow water" in (project.folder / "results/own/report.html").read_text()


def test_a_study_on_a_line(tmp_path: Path) -> None:
    for waves in (1, 2):
        data_sets.burgers(tmp_path / f"u{waves}.npy", waves)
    data = {
        "size": [1, 32],
        "format": "apebench",
        "files": {"long": str(tmp_path / "u1.npy"), "short": str(tmp_path / "u2.npy")},
        "channels": {"velocity": "state[0]"},
        "time_step": 0.02,
    }
    chosen = configuration("BU", {"channels": ["velocity"], "conserved": ["velocity"]}, data)
    chosen["symmetry"] = {}
    project = own_study(tmp_path, chosen)
    project.run()
    # The equations name no symmetry, so there are no images.
    for name in figures_for(["smse"], ("symmetry", "conserved")):
        drawn = project.folder / f"results/own/BU/figures/{name}.{figure(name).suffixes[-1]}"
        assert drawn.stat().st_size > 1000, name


def test_a_missing_file_stops_before_any_job(tmp_path: Path) -> None:
    chosen = configuration("BU", {"channels": ["u"]}, {"files": {"a": "a.npy", "b": "b.npy"}, "format": "apebench"})
    project = own_study(tmp_path, chosen)
    command = project.command("--cores", "1")
    finished = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)
    assert finished.returncode != 0
    assert "data.files.a: found no file 'a.npy'" in finished.stdout + finished.stderr
    assert "Traceback" not in finished.stdout + finished.stderr
