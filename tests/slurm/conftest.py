"""Studies submitted to a real SLURM cluster of several nodes, which `make test-slurm` starts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.workflow.conftest import TINY, Project, fresh

TABLES = "results/tiny/NS/tables/verdict.json"
TRAINING = ("surroscope.stages.train", "results/tiny/NS/vit/seed10/resume/latest.pt")
PATIENCE = 240.0
NODES = Path(__file__).with_name("nodes.sh")
LAB = Path("/var/lib/surroscope-nodes")
# The nodes are small ones, and nobody waits behind these jobs.
QUICK_CHECKS = ("--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10")
# Every job on one of the two nodes that are alike: the list takes the place of the profile's, which asks for GPUs.
ANYWHERE = ("--set-resources", "train:slurm_partition=cpu")


def until(holds: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """What `holds` returns once it is true."""
    end = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < end, f"{what}: not within {patience:.0f} s"
        time.sleep(0.2)
    return found


def cluster(*words: str) -> None:
    """start | cable NODE down | kill NODE; the first mends what the others broke"""
    subprocess.run([NODES, *words], check=True, stdout=subprocess.DEVNULL)


def at(machine: str, *words: str) -> list[str]:
    """A command that runs another one at a machine."""
    return [str(NODES), "on", machine, *words]


def slurm(*words: str) -> str:
    return subprocess.run(at("head", *words), capture_output=True, text=True, check=True).stdout


def requeued() -> bool:
    return any("Restarts=1" in slurm("scontrol", "show", "job", job) for job in jobs())


def node_of(process: psutil.Process) -> str | None:
    """The machine that a process runs at, by its namespace of host names; None of one that does not any more."""

    def names(pid: int) -> str:
        return os.readlink(f"/proc/{pid}/ns/uts")

    own = names(process.pid)
    return next((path.parent.name for path in LAB.glob("*/init.pid") if names(int(path.read_text())) == own), None)


def jobs() -> list[str]:
    return slurm("squeue", "--noheader", "--format", "%A").split()


@dataclass(frozen=True)
class Submission:
    """A Snakemake at the cluster's head that submits to SLURM, its output in a file."""

    project: Project
    head: subprocess.Popen[bytes]
    output: Path

    def process(self, word: str, ready: str | None = None, away: str | None = None) -> psutil.Process:
        """A Python process that has `word` in its command line, once `ready` stands in its folder.

        away: a machine at which it does not run
        """

        def look() -> psutil.Process | None:
            assert self.head.poll() is None, f"the workflow ended before {word} was seen:\n{self.said()}"
            for process in psutil.process_iter():
                try:
                    words, folder = process.cmdline(), Path(process.cwd())
                    own = folder == self.project.folder.resolve() and "python" in Path(words[0]).name
                    found = own and any(word in part for part in words[1:4])
                    if found and (ready is None or any(folder.glob(ready))) and node_of(process) != away:
                        return process
                except (psutil.Error, IndexError, OSError):  # it has ended meanwhile
                    continue
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
            at("head", *project.command("--profile", "profiles/slurm", *QUICK_CHECKS, *arguments, "--", *targets)),
            cwd=project.folder,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Submission(project, head, output)


def recover(project: Project, *arguments: str, machine: str = "head") -> subprocess.CompletedProcess[str]:
    command = at(machine, sys.executable, "-m", "surroscope.tools.recover", *arguments)
    return subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)


def require_undisturbed(project: Project, reference: Project) -> None:
    """The tables are those of an undisturbed run, bit for bit, and nothing half-written or of a writer is left."""
    assert project.tables() == reference.tables()
    assert not [path for pattern in ("**/.*.partial-*", "**/.*.writer*") for path in project.folder.glob(pattern)]


def cancel_all() -> None:
    for job in jobs():
        subprocess.run(at("head", "scancel", job), check=False)


@pytest.fixture(scope="session", autouse=True)
def _cluster() -> Iterator[None]:
    assert LAB.exists(), "`make test-slurm` starts the cluster; by hand, 'tests/slurm/nodes.sh start'"
    yield
    cancel_all()


@pytest.fixture(scope="session")
def local_tiny(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tiny study, run to its end on this machine without SLURM."""
    project = fresh(tmp_path_factory.mktemp("tiny") / "project", TINY)
    project.run()
    return project


@pytest.fixture
def untrained(local_tiny: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of it that has its data, and has everything to do from training on. All nodes are well at its end."""
    project = local_tiny.copy(tmp_path / "project")
    project.remove("results/tiny/NS/vit", "results/tiny/NS/tables")
    yield project
    try:
        cluster("start")
    finally:
        end(project)


def end(project: Project) -> None:
    """Of all jobs, and of all processes that work in a project's folder."""
    cancel_all()
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == project.folder.resolve():
                os.kill(process.pid, signal.SIGKILL)
        except (psutil.Error, ProcessLookupError):
            continue
    until(lambda: not jobs(), "the end of all jobs")
