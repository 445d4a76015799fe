"""A study that was really run is checked, packed, and compared with its estimate."""

import json
import re
import subprocess
import sys
from pathlib import Path

from .conftest import TINY, Project


def tool(project: Project, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"surroscope.tools.{name}", *arguments],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_finished_study_is_verified_and_packed(tiny: Project, tmp_path: Path) -> None:
    project = tiny.copy(tmp_path / "project")
    record = json.loads((project.folder / "results/tiny/provenance.json").read_text())
    assert record["config"]["influence"]["damping"] == 1e-6
    assert {"data/store/tiny/NS/NS-BB.zarr", "results/tiny/NS/vit/seed10/weights"} <= set(record["stores"])
    assert sum("gradients/shard" in path for path in record["stores"]) == 2  # they are kept
    assert not tool(project, "archive", TINY).returncode
    assert not tool(project, "verify", "results/tiny.tar.gz").returncode
    page = (project.folder / "results/tiny/report.html").read_text()
    assert "What it cost" in page
    table = project.folder / "results/tiny/NS/tables/two_time.csv"
    table.write_text(table.read_text() + "\n")
    found = tool(project, "verify")
    assert found.returncode == 1
    (line,) = [line for line in found.stderr.splitlines() if line.startswith("error: ")]
    assert "results/tiny/NS/tables/two_time.csv: damaged, or edited" in line


def test_an_estimate_counts_snakemakes_jobs(tiny: Project) -> None:
    found = tool(tiny, "estimate", TINY, "--cores", "2")
    assert not found.returncode, found.stderr
    rows = {line.split()[0]: line.split()[1:] for line in found.stdout.splitlines() if line}
    assert rows["simulate"][:2] == ["4", "2000"]
    assert rows["gradients"][:2] == ["2", "8000"]
    assert len(rows["train"]) == 5  # measured, too
    assert re.search(r"on 2 cores of this kind and no GPU: [\d.]+ minutes", found.stdout)
