"""A bank of trainings without groups: one run makes it, it grows, and no edit of what is concluded makes it again."""

from pathlib import Path

import pytest

from .conftest import TINY, Project

BANK = """
cross: {seed: 10, train: 2}
retraining: {seeds: [10], window: 3, subsets: 1}
"""
CONCLUDED = {"tables": 1, "figures": 1, "report": 1}


@pytest.mark.slow
def test_a_bank_grows_and_an_edit_of_its_conclusions_trains_nothing(tiny: Project, tmp_path: Path) -> None:
    project = tiny.copy(tmp_path / "project")
    file = project.folder / TINY
    file.write_text(file.read_text() + BANK)
    # All, without each of two groups, which are the classes, without each class, and a half.
    assert project.planned()["retrain"] == 6
    project.run()
    assert project.planned() == {}
    assert {"retraining_maps", "retraining_scores", "retraining_kept"} <= {
        path.stem for path in project.folder.glob("results/tiny/NS/figures/*.png")
    }
    project.edit(TINY, "subsets: 1", "subsets: 4")
    assert project.planned() == {"retrain": 3} | CONCLUDED
    project.edit(TINY, "subsets: 4", "subsets: 1")
    project.edit("workflow/surroscope/diagnostics/retraining.py", "ranks - slope * own", "ranks - 2 * slope * own")
    assert project.planned() == CONCLUDED
