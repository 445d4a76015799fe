"""Copies of the project in which the workflow really runs."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
SOURCES = ("Snakefile", "config.yaml", "workflow", "profiles", "envs")
TINY = "tests/workflow/tiny.yaml"
# A token in the environment of the tiny study's run.
SECRET = "hf_not-for-others"
QUICK = "workflow/presets/quick.yaml"


@dataclass(frozen=True)
class Project:
    """A working copy of the sources, and the study that is run in it."""

    folder: Path
    configfile: str
    # What the run that made it printed as it went on, if a fixture ran it.
    said: str = ""

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--configfile", self.configfile, *arguments]

    def run(self, *arguments: str, cores: int = 2, estimated: bool = False) -> subprocess.CompletedProcess[str]:
        """estimated: whether the run says how long it will take, which costs about ten seconds of a core"""
        quiet = () if estimated or "--dry-run" in arguments else ("--quiet", "progress")
        finished = subprocess.run(
            self.command(*quiet, "--cores", str(cores), *arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, (finished.stdout + finished.stderr)[-6000:]
        return finished

    def planned(self) -> Counter[str]:
        """Rule, by the name that it has here, -> number of jobs that a dry run plans; all figures are one "figures"."""
        text = self.run("--dry-run").stdout
        if "Nothing to be done" in text:
            return Counter()
        stats = text[text.index("Job stats:") :].split("\n\n")[0]
        jobs: Counter[str] = Counter()
        for rule, count in re.findall(r"^(\w+) +(\d+)(?:  .*)?$", stats, flags=re.MULTILINE):
            rule = rule.removeprefix("surroscope_")
            jobs["figures" if rule.startswith("figures_") else rule] += int(count)
        del jobs["total"], jobs["all"]
        return jobs

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert text.count(old) >= 1, f"{path} does not hold {old!r}"
        file.write_text(text.replace(old, new, 1))

    def tables(self, place: str = ".") -> dict[str, bytes]:
        found = {
            str(path.relative_to(self.folder / place)): path.read_bytes()
            for pattern in ("*.csv", "verdict.json")
            for path in (self.folder / place / "results").glob(f"*/*/tables/{pattern}")
        }
        assert found
        return found

    def remove(self, *patterns: str) -> None:
        for pattern in patterns:
            for path in self.folder.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def copy(self, folder: Path) -> "Project":
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder, self.configfile)


def fresh(folder: Path, configfile: str) -> Project:
    """The sources alone, without data or results."""
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=skip)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    (folder / TINY).parent.mkdir(parents=True)
    shutil.copy2(ROOT / TINY, folder / TINY)
    return Project(folder, configfile)


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder that the processes of this run of the tests share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


def finished(common: Path, own: Path, configfile: str, estimated: bool = False) -> Project:
    """A study run to its end, once for all processes of this run of the tests; a copy of it for this one."""
    project = Project(common / Path(configfile).stem / "project", configfile)
    said = project.folder.with_name("said")
    with FileLock(f"{project.folder.parent}.lock"):
        if not said.exists():
            assert not project.folder.exists(), f"{configfile} failed in another process of these tests"
            said.write_text(fresh(project.folder, configfile).run(estimated=estimated).stderr)
        return replace(project.copy(own / "project"), said=said.read_text())


@pytest.fixture(scope="session")
def quick(common: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The quick study, run to its end. Tests that change it take a copy."""
    return finished(common, tmp_path_factory.mktemp("quick"), QUICK)


@pytest.fixture(scope="session")
def tiny(common: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tiny study, run to its end without disturbance."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_TOKEN", SECRET)
        return finished(common, tmp_path_factory.mktemp("tiny"), TINY, estimated=True)


@pytest.fixture(autouse=True)
def _no_inherited_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)
