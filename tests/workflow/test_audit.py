"""Networks that were trained elsewhere, by configuration alone: no training, and the tables of those trained here."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from .conftest import TINY, Project

TRAINING = {"training.csv", "checkpoints.csv", "scalars.csv"}


@pytest.mark.slow
def test_a_network_of_ours_adopted_from_its_file_has_the_tables_of_its_study(tiny: Project, tmp_path: Path) -> None:
    project = tiny.copy(tmp_path / "project")
    saved, names = project.folder / "mine", "results/{}/NS/tables"
    saved.mkdir()
    shutil.copy(project.folder / "results/tiny/NS/vit/seed10/weights/epoch60.pt", saved / "step60.pt")
    config = yaml.safe_load((project.folder / TINY).read_text())
    model = config["systems"]["NS"]["models"]["vit"]
    del model["training"], model["probe_epochs"]
    model["weights"] = "mine/step{epoch}.pt"
    (project.folder / "audit.yaml").write_text(yaml.safe_dump(config | {"study": "audit"}))
    audit = Project(project.folder, "audit.yaml")
    planned = audit.planned()
    assert planned["adopt"] == 1
    assert not {"train", "simulate", "ingest"} & set(planned)
    audit.run()
    assert audit.planned() == {}
    tables = project.folder / names.format("tiny")
    for path in sorted(tables.glob("*.csv")):
        found = project.folder / names.format("audit") / path.name
        if path.name not in TRAINING:
            assert found.read_bytes() == path.read_bytes(), path.name
    for name in ("checkpoints.csv", "scalars.csv"):
        one, other = (pd.read_csv(project.folder / names.format(study) / name) for study in ("tiny", "audit"))
        if name == "scalars.csv":
            one = one[one["name"] != "train"].reset_index(drop=True)
        pd.testing.assert_frame_equal(
            one.drop(columns="train", errors="ignore"), other.drop(columns="train", errors="ignore")
        )
    page = (project.folder / "results/audit/report.html").read_text()
    assert "may have been trained on" in page

    (saved / "step60.pt").touch()
    assert audit.planned() == {}
    state = torch.load(saved / "step60.pt", weights_only=True)
    torch.save({"ema": {f"module.{name}": 1.01 * part for name, part in state.items()}}, saved / "step60.pt")
    assert audit.planned()["adopt"] == 1
