"""Studies submitted to a real SLURM cluster of one node, which `make test-slurm` starts."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.workflow.conftest import TINY, Project, fresh

TABLES = "results/tiny/NS/tables/verdict.json"
PATIENCE = 240.0
# The node is a small one, and nobody waits behind these jobs.
QUICK_CHECKS = ("--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10")


def until(holds: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """What `holds` returns once it is true."""
    end = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < end, f"{what}: not within {patience:.0f} s"
        time.sleep(0.05)
    return found


def slurm(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def jobs() -> list[str]:
    return slurm("squeue", "--noheader", "--format", "%A").split()


@dataclass(frozen=True)
class Submission:
    """A Snakemake that submits to SLURM, its output in a file."""

    project: Project
    head: subprocess.Popen[bytes]
    output: Path

    def process(self, word: str, ready: str | None = None) -> psutil.Process:
        """The Python process on the node that has `word` in its command line, once `ready` stands in its folder."""

        def look() -> psutil.Process | None:
            assert self.head.poll() is None, f"the workflow ended before {word} was seen:\n{self.said()}"
            for process in psutil.process_iter():
                try:
                    words, folder = process.cmdline(), Path(process.cwd())
                    own = folder == self.project.folder.resolve() and "python" in Path(words[0]).name
                except (psutil.Error, IndexError):
                    continue
                if own and any(word in part for part in words[1:4]) and (ready is None or any(folder.glob(ready))):
                    return process
            return None

        return until(look, f"a process of {word}")

    def said(self) -> str:
        return self.output.read_text()[-6000:]

    def finish(self, patience: float = 2 * PATIENCE) -> str:
        """What it printed, once it has ended well."""
        assert self.head.wait(patience) == 0, self.said()
        return self.output.read_text()

    def fail(self) -> str:
        assert self.head.wait(2 * PATIENCE) != 0, self.said()
        return self.output.read_text()


def submit(project: Project, *arguments: str, targets: tuple[str, ...] = (TABLES,)) -> Submission:
    output = project.folder / f"head-{time.monotonic_ns()}.log"
    with output.open("wb") as stream:
        head = subprocess.Popen(
            project.command("--profile", "profiles/slurm", *QUICK_CHECKS, *arguments, "--", *targets),
            cwd=project.folder,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Submission(project, head, output)


def require_undisturbed(project: Project, reference: Project) -> None:
    """The tables are those of an undisturbed run, bit for bit, and nothing half-written or of a writer is left."""
    assert project.tables() == reference.tables()
    assert not [path for pattern in ("**/.*.partial-*", "**/.*.writer*") for path in project.folder.glob(pattern)]


@pytest.fixture(scope="session", autouse=True)
def _cluster() -> Iterator[None]:
    shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False).stdout
    assert re.search(r"^ClusterName += surroscope_test$", shown, re.MULTILINE), "`make test-slurm` starts the cluster"
    yield
    for job in jobs():
        subprocess.run(["scancel", job], check=False)


@pytest.fixture(scope="session")
def local_tiny(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tiny study, run to its end on this machine without SLURM."""
    project = fresh(tmp_path_factory.mktemp("tiny") / "project", TINY)
    project.run()
    return project


@pytest.fixture
def untrained(local_tiny: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of it that has its data, and has everything to do from training on."""
    project = local_tiny.copy(tmp_path / "project")
    project.remove("results/tiny/NS/vit", "results/tiny/NS/tables")
    yield project
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == project.folder.resolve():
                os.kill(process.pid, signal.SIGKILL)
        except (psutil.Error, ProcessLookupError):
            continue
