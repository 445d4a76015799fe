"""Networks that were trained elsewhere, by configuration alone: no training, and the tables of those trained here."""

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from .conftest import TINY, Project, fresh

TRAINING = {"training.csv", "checkpoints.csv", "scalars.csv"}


def adopting(project: Project) -> Project:
    """The same study of weights that lie in `mine`."""
    config = yaml.safe_load((project.folder / TINY).read_text())
    model = config["systems"]["NS"]["models"]["vit"]
    del model["training"], model["probe_epochs"]
    model["weights"] = "mine/step{epoch}.pt"
    (project.folder / "audit.yaml").write_text(yaml.safe_dump(config | {"study": "audit"}))
    return Project(project.folder, "audit.yaml")


@pytest.mark.slow
def test_a_network_of_ours_adopted_from_its_file_has_the_tables_of_its_study(tiny: Project, tmp_path: Path) -> None:
    project = tiny.copy(tmp_path / "project")
    saved, names = project.folder / "mine", "results/{}/NS/tables"
    saved.mkdir()
    shutil.copy(project.folder / "results/tiny/NS/vit/seed10/weights/epoch60.pt", saved / "step60.pt")
    audit = adopting(project)
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

    # One that was only touched is as it was; another epoch, before or after, runs its own chain alone.
    (saved / "step60.pt").touch()
    assert audit.planned() == {}
    state = torch.load(saved / "step60.pt", weights_only=True)
    other = {"ema": {f"module.{name}": 1.01 * part for name, part in state.items()}}
    torch.save(other, saved / "step70.pt")
    own = {"adopt": 1, "gradients": 2, "reduce": 1, "influence": 1, "coupling": 1, "evaluate": 1}
    of_all = {"validate": 1, "tables": 1, "figures": 1, "report": 1}
    assert audit.planned() == own | of_all
    shutil.copy(saved / "step70.pt", saved / "step50.pt")
    assert audit.planned() == {rule: 2 * count for rule, count in own.items()} | of_all
    audit.run()
    assert audit.planned() == {}
    history = pd.read_csv(project.folder / "results/audit/NS/vit/seed10/history.csv")
    assert list(history["epoch"]) == [50, 60, 70]
    assert len(set(history["validation"])) == 2
    # Other weights under an old name run what they must.
    torch.save(other, saved / "step60.pt")
    assert audit.planned() == own | of_all
    # What it was trained on reaches all that is of probe trajectories, but not the weights.
    audit.edit(
        "audit.yaml", "split:\n  test: 0.25\n  train: 0.5\n", "split:\n  trained: {NS-BB: 0-3, NS-Sines: [0, 1]}\n"
    )
    assert audit.planned()["adopt"] == 1
    assert audit.planned()["split"] == 1
    assert audit.planned()["gradients"] == 6


@pytest.mark.slow
def test_nothing_is_made_for_a_network_that_cannot_be_built(tmp_path: Path) -> None:
    project = fresh(tmp_path / "project", TINY)
    project.run("--until", "contract")
    project.edit(TINY, "heads: 2", "heads: 3")
    ended = subprocess.run(
        project.command("--cores", "1"), cwd=project.folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode
    assert "heads: found 3, expected a divisor of width = 8" in ended.stdout + ended.stderr
    assert not (project.folder / "data").exists()


def test_a_plan_tells_which_files_of_weights_are_none(tmp_path: Path) -> None:
    project = fresh(tmp_path / "project", TINY)
    audit, saved = adopting(project), project.folder / "mine"
    saved.mkdir()
    torch.save({"a": torch.ones(3)}, saved / "step5.pt")
    half = (saved / "step5.pt").read_bytes()[:500]
    (saved / "step5.pt").write_bytes(half)
    planned = subprocess.run(audit.command("--dry-run"), cwd=audit.folder, capture_output=True, text=True, check=False)
    assert planned.returncode
    words = "systems.NS.models.vit.weights.files: mine/step5.pt: only the first part of a file; fetch it again"
    assert words in planned.stdout + planned.stderr
