"""Whole studies and parallel training by profiles/slurm."""

import re
from pathlib import Path

import pytest
import torch

from tests.workflow.conftest import QUICK, Project, fresh

from .conftest import PATIENCE, require_undisturbed, slurm, submit

pytestmark = pytest.mark.slurm


def test_the_quick_study_has_the_tables_of_a_local_run(tmp_path: Path) -> None:
    local, submitted = (fresh(tmp_path / name, QUICK) for name in ("local", "submitted"))
    local.run()
    submission = submit(submitted, targets=())
    said = submission.finish(patience=4 * PATIENCE)
    require_undisturbed(submitted, local)
    assert (submitted.folder / "results/report.html").exists()
    # Those that need a GPU ask for one, and are where there are some.
    numbers = re.findall(r"rule_(\w+)/\S*?(\d+)\.log", said)
    assert {rule for rule, _ in numbers} >= {"simulate", "train", "gradients", "evaluate", "tables"}
    for rule, number in numbers:
        job = slurm("scontrol", "show", "job", number)
        wanted = rule in ("train", "calibrate", "gradients", "evaluate")
        assert ("gres:gpu:1" in job, "Partition=gpu" in job) == (wanted, wanted), rule


def weights(project: Project) -> dict[str, torch.Tensor]:
    return torch.load(project.folder / "results/tiny/NS/vit/seed10/weights/epoch60.pt", weights_only=True)


def test_training_in_two_tasks_of_one_job(untrained: Project, local_tiny: Project) -> None:
    resources = ("mpi=srun", "tasks=2", "gpu=2", "tasks_per_gpu=0")
    target = "results/tiny/NS/vit/seed10/history.csv"
    submit(untrained, "--set-resources", *(f"train:{one}" for one in resources), targets=(target,)).finish()
    assert "2 processes" in (untrained.folder / "results/tiny/NS/vit/seed10/train.log").read_text()
    alone = weights(local_tiny)
    for name, value in weights(untrained).items():
        torch.testing.assert_close(value, alone[name], rtol=1e-4, atol=1e-6)
