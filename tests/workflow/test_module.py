"""Another workflow takes this one as its module, under other names and in another place."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from .conftest import QUICK, TINY, Project, fresh

MODULE = """
module surroscope:
    snakefile: "../surroscope/workflow/Snakefile"
    config: config
    {prefix}


use rule * from surroscope {alias}


onstart:
    surroscope.onstart()


onsuccess:
    surroscope.onsuccess()
"""


def workflow_of_another(folder: Path, configfile: str, prefix: str, alias: str) -> Project:
    """A workflow in whose folder a checkout of this one lies, as a submodule of git would."""
    fresh(folder / "surroscope", configfile)
    (folder / "workflow").mkdir()
    (folder / "workflow/Snakefile").write_text(MODULE.format(prefix=prefix, alias=alias))
    return Project(folder, f"surroscope/{configfile}")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """The jobs of the quick study where it is no module."""
    return fresh(tmp_path_factory.mktemp("alone") / "project", QUICK).planned()


@pytest.mark.parametrize("prefix", ["", 'prefix: "somewhere"'])
@pytest.mark.parametrize("alias", ["", "as surroscope_*"])
def test_a_module_plans_the_quick_study(alone: Counter[str], tmp_path: Path, prefix: str, alias: str) -> None:
    assert workflow_of_another(tmp_path / "other", QUICK, prefix, alias).planned() == alone


@pytest.mark.slow
def test_a_module_runs_in_its_prefix_alone(tiny: Project, tmp_path: Path) -> None:
    project = workflow_of_another(tmp_path / "other", TINY, 'prefix: "some where"', "as surroscope_*")
    project.edit(project.configfile, "dataset: tiny,", "dataset: tiny, reader: mapped,")
    said = project.run().stderr
    place = project.folder / "some where"
    assert {path.name for path in project.folder.iterdir()} == {"surroscope", "workflow", "some where", ".snakemake"}
    assert {path.name for path in place.iterdir()} == {"data", "results"}
    assert not {path.name for path in (project.folder / "surroscope").iterdir()} & {"data", "results", ".snakemake"}

    assert "report:  some where/results/report.html -> some where/results/tiny/report.html" in said
    assert (place / "results/report.html").resolve() == place / "results/tiny/report.html"
    page = (place / "results/report.html").read_text()
    for stage in ("simulate", "ingest", "train", "gradients", "influence"):
        assert f'<th scope="row">{stage}</th>' in page
    assert "snakemake --cores all --configfile surroscope/tests/workflow/tiny.yaml" in page
    assert "build seed10.cache" in (place / "results/tiny/NS/vit/seed10/train.log").read_text()
    assert not list(place.rglob("*.cache*"))
    assert not list((project.folder / ".snakemake").glob("heads/*"))

    assert project.planned() == {}
    assert project.tables("some where") == tiny.tables()


def test_files_of_the_users_own_are_read_where_they_are(tmp_path: Path) -> None:
    project = workflow_of_another(tmp_path / "other", TINY, 'prefix: "somewhere"', "as surroscope_*")
    project.edit(project.configfile, "dataset: tiny", "dataset: own, source: files")
    project.edit(project.configfile, "block: 6", 'files: {NS-BB: "in/a*.nc", NS-Sines: in/b.nc}')
    (project.folder / "in").mkdir()
    for name in ("a1", "a2", "b"):
        (project.folder / f"in/{name}.nc").touch()
    planned = project.run("--dry-run", "--printshellcmds").stdout
    assert "--raw in/a1.nc in/a2.nc --store somewhere/data/store/own/NS/NS-BB.zarr" in planned


def test_a_package_that_is_installed_gives_way_to_the_one_beside_the_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages" / "surroscope"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("raise SystemExit('the installed one was imported')\n")
    monkeypatch.setenv("PYTHONPATH", str(installed.parent))
    project = fresh(tmp_path / "project", TINY)
    project.run("data/raw/tiny/NS/NS-BB/block0.nc")
    assert (project.folder / "data/raw/tiny/NS/NS-BB/block0.nc").exists()


def test_files_of_the_working_folder_replace_no_library_and_factories_are_found_there(tmp_path: Path) -> None:
    project = fresh(tmp_path / "project", TINY)
    for name in ("dask", "numpy", "tqdm", "xarray"):
        (project.folder / f"{name}.py").write_text(f"raise SystemExit('the working folder has {name}')\n")
    (project.folder / "mynets.py").write_text("from surroscope.models.vit import build\n")
    project.edit(TINY, "surroscope.models.vit:build", "mynets:build")
    command = [str(Path(sys.executable).with_name("snakemake")), *project.command("--cores", "1")[3:]]
    made = "data/raw/tiny/NS/NS-BB/block0.nc"
    done = subprocess.run([*command, made], cwd=project.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "your own code is run: systems.NS.models.vit.factory: mynets:build" in done.stdout + done.stderr
    assert (project.folder / made).exists()
