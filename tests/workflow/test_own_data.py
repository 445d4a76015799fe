"""Studies of files of one's own, by configuration alone."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from surroscope.report.catalogue import figure, figures_for

from . import data_sets
from .conftest import QUICK, ROOT, Project, fresh

TRAINING = {"epochs": 2, "learning_rate": 2.0e-3}
UNET = {
    "factory": "surroscope.models.unet:build",
    "options": {"width": 4, "stages": 1, "kernels": [5, 3], "heads": 1},
    "training": TRAINING,
    "probe_epochs": [2],
}


def own_study(folder: Path, configuration: dict) -> Project:
    project = fresh(folder / "project", "own.yaml")
    (project.folder / "own.yaml").write_text(yaml.safe_dump(configuration))
    return project


def configuration(system: str, equations: dict, data: dict, **models: dict) -> dict:
    return yaml.safe_load((ROOT / QUICK).read_text()) | {
        "study": "own",
        "data": {"dataset": "own", "source": "files", "snapshots": 9} | data,
        "systems": {system: {"trajectories": 8, "equations": equations, "models": models}},
    }


@pytest.mark.slow
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
    chosen = configuration("SW", equations, data, unet=UNET)
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


@pytest.mark.slow
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
    chosen = configuration("BU", {"channels": ["velocity"], "conserved": ["velocity"]}, data, unet=UNET)
    chosen["symmetry"] = {}
    project = own_study(tmp_path, chosen)
    project.run()
    # The equations name no symmetry, so there are no images.
    for name in figures_for(["smse"], ("symmetry", "conserved")):
        drawn = project.folder / f"results/own/BU/figures/{name}.{figure(name).suffixes[-1]}"
        assert drawn.stat().st_size > 1000, name


def test_a_missing_file_stops_before_any_job(tmp_path: Path) -> None:
    data = {"files": {"a": "a.npy", "b": "b.npy"}, "format": "apebench"}
    chosen = configuration("BU", {"channels": ["u"]}, data, unet=UNET)
    project = own_study(tmp_path, chosen)
    command = project.command("--cores", "1")
    finished = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)
    assert finished.returncode != 0
    assert "data.files.a: found no file 'a.npy'" in finished.stdout + finished.stderr
    assert "Traceback" not in finished.stdout + finished.stderr


@pytest.mark.slow
def test_a_large_file_that_is_touched_runs_nothing_again(tmp_path: Path) -> None:
    files = {name: str(tmp_path / f"{name} [1].npy") for name in ("a", "b")}
    for seed, path in enumerate(files.values()):
        np.save(path, np.random.default_rng(seed).normal(size=(8, 9, 1, 64, 64)).astype("f4"))
    assert Path(files["a"]).stat().st_size > 10**6  # beyond which Snakemake compares times alone
    data = {"files": files, "format": "apebench", "size": 16, "time_step": 1.0, "channels": {"u": "state"}}
    project = own_study(tmp_path, configuration("BU", {"channels": ["u"]}, data, unet=UNET))
    project.run("--until", "split")
    before = project.planned()
    assert "ingest" not in before
    for path in files.values():
        os.utime(path)
    assert project.planned() == before
    with Path(files["a"]).open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(np.array([1, 2], "f4").tobytes())
    assert project.planned() == before | {"ingest": 1, "split": 1}
    # Older than the store, as a copy that keeps its time may be, and without Snakemake's memory.
    for path in files.values():
        os.utime(path, (1, 1))
    project.remove(".snakemake")
    assert project.planned() == before | {"ingest": 1, "split": 1}


def test_a_store_of_another_folders_files_under_the_same_names_is_refused(tmp_path: Path) -> None:
    data = {"files": {"a": "in/a.npy", "b": "in/b.npy"}, "format": "apebench", "size": 16, "time_step": 1.0}
    data["channels"] = {"u": "state"}
    projects = []
    for seed in range(2):
        folder = tmp_path / str(seed)
        project = own_study(folder, configuration("BU", {"channels": ["u"]}, data, unet=UNET))
        (project.folder / "in").mkdir()
        for name in ("a", "b"):
            state = np.random.default_rng([seed, ord(name)]).normal(size=(8, 9, 1, 16, 16))
            np.save(project.folder / "in" / f"{name}.npy", state.astype("f4"))
            os.utime(project.folder / "in" / f"{name}.npy", (1, 1))
        projects.append(project)
    one, other = projects
    one.run("--until", "split")
    (other.folder / "data").symlink_to(one.folder / "data")
    refused = subprocess.run(other.command("--dry-run"), cwd=other.folder, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "made from in/a.npy as it was before. It is outside of this folder" in refused.stdout + refused.stderr
