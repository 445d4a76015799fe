"""A network of several snapshots, a constant field, a lead time and units of the data: trained, and from its file."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from .conftest import Project, fresh

PAST = """
import torch
from torch import nn


class Past(nn.Module):
    def __init__(self, history, channels, constants, width=4):
        super().__init__()
        self.first = nn.Conv2d(history * channels + constants, width, 3, padding=1, padding_mode="circular")
        self.second = nn.Conv2d(width, channels, 3, padding=1, padding_mode="circular")

    def forward(self, given, ahead):
        return self.second(torch.tanh(self.first(given))) * ahead[:, None, None, None]
"""
HISTORY, SNAPSHOTS, CELLS, TRAJECTORIES = 2, 6, 8, 6
EQUATIONS = {"channels": ["u", "v"], "vectors": [["u", "v"]], "constants": ["depth"], "symmetries": ["shifts"]}
CALL = {"history": HISTORY, "predicts": "delta", "normalize": "data", "lead": {"ahead": 1.0}}
MODEL = {"factory": "mine:Past", "options": {"history": HISTORY, "channels": 2, "constants": 1}, "call": CALL}
# What nobody knows of a network from its file.
TRAINING = {"training.csv", "checkpoints.csv", "scalars.csv"}


def write(folder: Path) -> None:
    """Waves of two classes; the depth has neither trajectory nor time."""
    random = np.random.default_rng(0)
    y, x = np.meshgrid(*[np.arange(CELLS) / CELLS] * 2, indexing="ij")
    for wave, name in enumerate(("smooth", "rough"), 1):
        phase, speed = random.uniform(0.5, 1.5, (2, TRAJECTORIES, 1, 1, 1))
        t = np.arange(SNAPSHOTS)[:, None, None]
        states = {
            "u": 1 + np.sin(2 * np.pi * (wave * x - 0.07 * t * speed + phase)),
            "v": np.cos(2 * np.pi * (y + wave * x - 0.05 * t * speed + phase)),
        }
        data = {key: (("trajectory", "time", "y", "x"), value.astype("f4")) for key, value in states.items()}
        data["depth"] = (("y", "x"), (2 + np.sin(2 * np.pi * y)).astype("f4"))
        xr.Dataset(data, coords={"time": 0.1 * np.arange(SNAPSHOTS)}).to_netcdf(folder / f"{name}.nc")


@pytest.mark.slow
def test_a_network_with_a_past_is_probed_and_adopted(tmp_path: Path) -> None:
    project = fresh(tmp_path / "project", "past.yaml")
    (project.folder / "mine.py").write_text(PAST)
    write(project.folder)
    study = {
        "study": "past",
        "seeds": [10],
        "data": {"dataset": "past", "source": "files", "size": CELLS, "snapshots": SNAPSHOTS}
        | {"files": {"smooth": "smooth.nc", "rough": "rough.nc"}},
        "split": {"train": 0.5, "validation": 0.25, "test": 0.25, "trained": "split"},
        "systems": {"W": {"trajectories": TRAJECTORIES, "equations": EQUATIONS, "models": {"past": MODEL}}},
        "probe": {"batches": 1, "snapshots": 5},
        "coupling": {"draws": 8, "patterns": 4},
        "leads": {"seeds": [10], "steps": [1, 2]},
    }
    model = study["systems"]["W"]["models"]["past"]  # type: ignore[index]
    trained = model | {"training": {"epochs": 3, "learning_rate": 5.0e-3}, "probe_epochs": [0, 3]}
    study["systems"]["W"]["models"]["past"] = trained  # type: ignore[index]
    (project.folder / "past.yaml").write_text(yaml.safe_dump(study))
    project.run()
    tables = project.folder / "results/past/W/tables"
    assert sorted(set(pd.read_csv(tables / "two_time.csv")["response_time"])) == [1, 2, 3]
    lags = pd.read_csv(tables / "time_lag.csv")
    marked = lags[lags["shares_snapshots"]]
    assert set(marked["relation"]) == {"intra-class"}
    assert set(marked["lag"]) == {-1, 1}
    rollout = pd.read_csv(tables / "rollout.csv")
    assert rollout["start"].min() == 1
    assert set(pd.read_csv(tables / "leads.csv")["perturbation_time"]) == {1, 2}
    assert project.planned() == {}

    shutil.copy(project.folder / "results/past/W/past/seed10/weights/epoch3.pt", project.folder / "step3.pt")
    adopted = model | {"weights": "step{epoch}.pt"}
    study["systems"]["W"]["models"]["past"] = adopted  # type: ignore[index]
    (project.folder / "audit.yaml").write_text(yaml.safe_dump(study | {"study": "audit"}))
    audit = Project(project.folder, "audit.yaml")
    assert not {"train", "ingest"} & set(audit.planned())
    audit.run()
    assert audit.planned() == {}
    for path in sorted(tables.glob("*.csv")):
        found = project.folder / "results/audit/W/tables" / path.name
        if path.name not in TRAINING and found.exists():
            whole = pd.read_csv(path)
            own = whole[whole["epoch"] == 3] if "epoch" in whole else whole
            pd.testing.assert_frame_equal(own.reset_index(drop=True), pd.read_csv(found), check_exact=True)
