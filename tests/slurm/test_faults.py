"""What clusters do to jobs: the study finishes all the same, with the tables of an undisturbed run."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.workflow.conftest import TINY, Project, fresh

from .conftest import TABLES, Submission, jobs, require_undisturbed, slurm, submit, until

pytestmark = pytest.mark.slurm

TRAINING = ("surroscope.stages.train", "results/tiny/NS/vit/seed10/resume/latest.pt")
WRITTEN = ("resume/latest.pt", "weights/manifest.json", "history.csv")
LOG = "results/tiny/NS/vit/seed10/train.log"


def state_of(number: str) -> str:
    return slurm("squeue", "--noheader", "--states", "all", "--job", number, "--format", "%T").strip()


def stopped(submission: Submission) -> psutil.Process:
    """The training, which does not go on."""
    process = submission.process(*TRAINING)
    process.send_signal(signal.SIGSTOP)
    return process


def hang(submission: Submission) -> str:
    """The job hangs until its time is up. SLURM looks at limits twice a minute."""
    stopped(submission)
    return "TIMEOUT"


def cancel(submission: Submission) -> str:
    stopped(submission)
    slurm("scancel", *jobs())
    return "CANCELLED"


def kill(submission: Submission) -> str:
    stopped(submission).kill()
    return "FAILED"


def outgrow(submission: Submission) -> str:
    return "FAILED"  # as it is called where memory is watched and not limited by cgroups


def lose_the_node(submission: Submission) -> None:
    stopped(submission)
    node = socket.gethostname().split(".")[0]
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    until(lambda: not slurm("squeue", "--noheader", "--states", "running"), "the end of the node's jobs")
    # It may be back by itself, and then cannot be resumed.
    subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)


@pytest.mark.parametrize(
    ("fault", "arguments"),
    [
        (hang, ("--set-resources", "train:runtime=1")),
        (outgrow, ("--set-resources", "train:mem_mb=120 if attempt == 1 else 2000")),
        (cancel, ()),
        (kill, ()),
    ],
)
def test_a_job_that_is_lost_is_tried_again(
    untrained: Project, local_tiny: Project, fault: Callable[[Submission], str], arguments: tuple[str, ...]
) -> None:
    before = set(jobs_ever())
    submission = submit(untrained, *arguments)
    expected = fault(submission)
    said = submission.finish()
    assert "Trying to restart job" in said
    assert expected in {state_of(job) for job in set(jobs_ever()) - before}
    if fault is not outgrow:
        assert "resuming after epoch" in (untrained.folder / LOG).read_text()
    require_undisturbed(untrained, local_tiny)


def jobs_ever() -> list[str]:
    return slurm("squeue", "--noheader", "--states", "all", "--format", "%A").split()


def test_a_job_whose_node_is_lost_is_requeued(untrained: Project, local_tiny: Project) -> None:
    submission = submit(untrained)
    lose_the_node(submission)
    submission.finish()
    assert "Restarts=1" in "".join(slurm("scontrol", "show", "job", job) for job in jobs_ever())
    assert "resuming after epoch" in (untrained.folder / LOG).read_text()
    require_undisturbed(untrained, local_tiny)


def test_a_drained_node_is_waited_for(untrained: Project, local_tiny: Project) -> None:
    node = socket.gethostname().split(".")[0]
    submission = submit(untrained)
    submission.process(*TRAINING)
    slurm("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    until(lambda: slurm("squeue", "--noheader", "--states", "pending"), "a job that waits")
    slurm("scontrol", "update", f"nodename={node}", "state=resume")
    submission.finish()
    require_undisturbed(untrained, local_tiny)


def recover(project: Project) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "surroscope.tools.recover"]
    return subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)


def test_a_killed_head_is_recovered(untrained: Project, local_tiny: Project) -> None:
    submission = submit(untrained)
    orphan = stopped(submission)
    refused = recover(untrained)
    assert refused.returncode == 1
    assert f"Snakemake still works here (process {submission.head.pid})" in refused.stderr
    os.killpg(submission.head.pid, signal.SIGKILL)
    submission.head.wait()
    assert orphan.is_running()
    assert "cannot be locked" in submit(untrained).fail()
    assert "unlocked" in recover(untrained).stdout
    assert not jobs()
    assert not orphan.is_running()
    submit(untrained).finish()
    assert "resuming after epoch" in (untrained.folder / LOG).read_text()
    require_undisturbed(untrained, local_tiny)


def test_an_orphan_that_was_not_ended_is_refused(untrained: Project, local_tiny: Project) -> None:
    """Whoever unlocks by hand has two jobs at the same files; the older one's work is not taken."""
    submission = submit(untrained)
    orphan = stopped(submission)
    os.killpg(submission.head.pid, signal.SIGKILL)
    submission.head.wait()
    untrained.run("--unlock")
    submit(untrained).finish()
    written = [untrained.folder / "results/tiny/NS/vit/seed10" / file for file in WRITTEN]
    before = [path.stat().st_ino for path in written]
    orphan.send_signal(signal.SIGCONT)
    until(lambda: not jobs(), "the end of the orphan")
    assert [path.stat().st_ino for path in written] == before
    assert "FAILED" in {state_of(job) for job in jobs_ever()}
    require_undisturbed(untrained, local_tiny)
    assert "Nothing to be done" in untrained.run("--dry-run", TABLES).stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 64 MB."""
    folder = tmp_path / "shared"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))


def test_a_full_shared_disk_loses_nothing(local_tiny: Project, small_disk: Path) -> None:
    """The study lies on a file system of its own, away from the sources."""
    project = fresh(small_disk.parent / "sources", TINY)
    away = Project(small_disk, TINY)
    for name in ("data", "results", ".snakemake"):
        shutil.copytree(local_tiny.folder / name, small_disk / name, symlinks=True)
    away.remove("results/tiny/NS/vit", "results/tiny/NS/tables")
    submission = submit(project, "--directory", str(small_disk))
    Submission(away, submission.head, submission.output).process(*TRAINING)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        fill(filler)
    said = submission.fail()
    assert "no space is left" in said
    filler.unlink()
    submit(project, "--directory", str(small_disk)).finish()
    require_undisturbed(away, local_tiny)


def test_a_dask_worker_killed_in_mid_reduction(untrained: Project, local_tiny: Project) -> None:
    untrained.edit(TINY, "study: tiny", "study: tiny\ndask: {cluster: slurm, workers: 2}")
    submission = submit(untrained)
    worker = submission.process("distributed.cli.dask_worker")
    worker.send_signal(signal.SIGSTOP)  # it holds on to what it was given,
    time.sleep(3)
    worker.kill()  # and loses it
    submission.finish()
    until(lambda: not jobs(), "the end of the workers' jobs")
    require_undisturbed(untrained, local_tiny)
    assert TABLES in untrained.tables()
