"""A study that was really run is checked, packed, compared with its estimate, and opened."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import surroscope
from surroscope.errors import UserError
from surroscope.plots import style
from surroscope.runtime import store
from tests import notebooks

from .conftest import ROOT, TINY, Project


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


def test_a_study_does_not_differ_from_its_copy(tiny: Project, tmp_path: Path) -> None:
    project = tiny.copy(tmp_path / "project")
    shutil.copytree(project.folder / "results/tiny", project.folder / "results/again")
    found = tool(project, "compare", "results/tiny", "results/again")
    assert not found.returncode, found.stderr
    table = pd.read_csv(project.folder / "results/compare.csv", keep_default_na=False, na_values=[""])
    apart = table[table["less"] == "tiny"]
    assert apart["paired"].all()
    finite = apart["value"].notna()
    assert finite.sum() > 10
    assert (apart.loc[finite, ["value", "low", "high"]].fillna(0) == 0).all(axis=None)
    page = (project.folder / "results/compare.html").read_text()
    assert "None: what differs is data, code or machine." in page
    alone = tool(project, "compare", "results/tiny")
    assert alone.returncode == 1
    assert "found 1 studies, expected two or more" in alone.stderr


@pytest.mark.slow
def test_an_estimate_counts_snakemakes_jobs(tiny: Project) -> None:
    found = tool(tiny, "estimate", TINY, "--cores", "2")
    assert not found.returncode, found.stderr
    rows = {line.split()[0]: line.split()[1:] for line in found.stdout.splitlines() if line}
    assert rows["simulate"][:2] == ["4", "2000"]
    assert rows["gradients"][:2] == ["2", "3000"]
    assert len(rows["train"]) == 5  # measured, too
    assert re.search(r"on 2 cores of this kind and no GPU: [\d.]+ minutes", found.stdout)


def test_a_run_says_what_it_does_how_far_it_is_and_what_came_of_it(tiny: Project) -> None:
    lines = tiny.said.splitlines()
    assert not re.search(r"[^\n -~]", tiny.said)
    assert lines[1].startswith("18 jobs: ")
    assert "simulate 4" in lines[1]
    assert "study tiny; when all is done, its page is results/tiny/report.html" in lines
    assert sum(line.startswith("[") for line in lines) == 18
    # It is estimated while it runs.
    assert re.search(r"^estimated: .+ on 2 cores$", tiny.said, re.MULTILINE)
    assert re.fullmatch(r"\[ *\d+ %, ETA .+\] Write the report: .+", lines[lines.index("") - 1])
    verdict = json.loads((tiny.folder / "results/tiny/NS/tables/verdict.json").read_text())["vit"]
    assert lines[lines.index("") + 1] == f"NS, vit: {verdict['answer']}"
    assert "report:  results/report.html -> results/tiny/report.html" in lines
    assert len(lines) < 40


def test_the_documented_examples_run_on_a_finished_study(tiny: Project, tmp_path: Path) -> None:
    page = (ROOT / "docs/api.md").read_text().replace("results/default", "results/tiny").replace("CE", "NS")
    examples = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    examples = [example for example in examples if "results/" in example]  # the others need no study
    assert len(examples) == 6
    project = tiny.copy(tmp_path / "project")
    for example in examples:
        command = [sys.executable, "-W", "error::FutureWarning", "-c", example]
        environment = os.environ | {"MPLBACKEND": "agg"}
        done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    assert (project.folder / "decay.pdf").stat().st_size > 5000


def test_the_notebook_of_figures_runs_on_a_finished_study(
    tiny: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs/notebooks/make_your_own_figure.ipynb").read_text()
    for default, ours in (("results/default", str(tiny.folder / "results/tiny")), ('\\"CE\\"', '\\"NS\\"')):
        assert default in text
        text = text.replace(default, ours)
    monkeypatch.chdir(tmp_path)
    found = notebooks.run(json.loads(text))
    assert sum(output["output_type"] == "display_data" for cell in found for output in cell) == 2
    assert (tmp_path / "decay.pdf").stat().st_size > 5000


def test_a_figure_drawn_again_is_the_study_s_own(tiny: Project, tmp_path: Path) -> None:
    folder = tiny.folder / "results/tiny"
    figure = surroscope.plot("two_time", folder)
    settings = store.made(folder / "NS/figures/two_time.png")["settings"]
    style.save(figure, [tmp_path / "again.png"], settings["dpi"])
    assert (tmp_path / "again.png").read_bytes() == (folder / "NS/figures/two_time.png").read_bytes()


def test_what_is_opened_is_what_the_tables_were_made_of(tiny: Project) -> None:
    folder = tiny.folder / "results/tiny"
    study = surroscope.open_study(folder)
    assert study.attrs["config"]["study"] == "tiny"
    found = study["NS/vit/influence"].to_dataset().isel(seed=0, epoch=0)
    found = found.sel(observable="smse", step="smse", solver="subspace")
    (row,) = surroscope.read_table(folder, "NS", "checkpoints").to_dict("records")
    rank = found["rank"].values
    assert row["rank"] == np.median(rank)
    h = found["influence"].transpose("probe", ...).values
    assert row["diagonal_mean"] == pytest.approx(np.einsum("nctct->nct", h).mean())
    error = study["NS/vit/evaluation"]["error"].isel(seed=0, epoch=0)
    assert error.dims == ("class", "probe", "start", "snapshot")
    assert [str(name) for name in error["class"].values] == ["NS-BB", "NS-Sines"]


def test_what_cannot_be_opened_is_one_line(tiny: Project, tmp_path: Path) -> None:
    for folder, words in ((tmp_path, "no provenance.json"), (tmp_path / "none", "is not there")):
        with pytest.raises(UserError, match=words):
            surroscope.open_study(folder)
    with pytest.raises(UserError, match="no such table; there are: channels, checkpoints"):
        surroscope.read_table(tiny.folder / "results/tiny", "NS", "two_times")
