"""What clusters do to jobs: the study finishes all the same, with the tables of an undisturbed run."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.workflow.conftest import TINY, Project, fresh

from .conftest import (
    ANYWHERE,
    LAB,
    PATIENCE,
    TABLES,
    TRAINING,
    Submission,
    at,
    cluster,
    jobs,
    node_of,
    recover,
    requeued,
    require_undisturbed,
    slurm,
    submit,
    until,
)

pytestmark = pytest.mark.slurm

GRADIENTS = ("surroscope.stages.gradients",)
WRITTEN = ("resume/latest.pt", "weights/manifest.json", "history.csv")
LOG = "results/tiny/NS/vit/seed10/train.log"


def dask(interface: str) -> tuple[str, str, str]:
    """An edit that has blocks contracted by a job of their own, on whichever node has most room."""
    return TINY, "study: tiny", f"study: tiny\ndask: {{cluster: slurm, workers: 1, interface: {interface}}}"


def state_of(number: str) -> str:
    return slurm("squeue", "--noheader", "--states", "all", "--job", number, "--format", "%T").strip()


def stopped(submission: Submission, *sought: str) -> psutil.Process:
    """The training, or another stage, which does not go on."""
    process = submission.process(*(sought or TRAINING))
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
    # "FAILED" where memory is watched and not limited by control groups.
    return "OUT_OF_MEMORY" if (LAB / "node3/enforced").exists() else "FAILED"


def jobs_ever() -> list[str]:
    return slurm("squeue", "--noheader", "--states", "all", "--format", "%A").split()


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


def power(node: str) -> None:
    cluster("kill", node)


def daemon(node: str) -> None:
    subprocess.run(at(node, "pkill", "-KILL", "-x", "slurmd"), check=True)


def cable(node: str) -> None:
    cluster("cable", node, "down")


@pytest.mark.parametrize("sought", [TRAINING, GRADIENTS])
@pytest.mark.parametrize("fault", [power, daemon, cable])
def test_a_job_whose_node_is_lost_runs_on_another(
    untrained: Project, local_tiny: Project, fault: Callable[[str], None], sought: tuple[str, ...]
) -> None:
    """And the node comes back while it does, with what it was doing."""
    submission = submit(untrained, *ANYWHERE)
    orphan = stopped(submission, *sought)
    node = node_of(orphan)
    fault(node)
    until(requeued, "the job in the queue again")
    submission.process(sought[0], away=node)
    cluster("start")
    submission.finish()
    until(lambda: not orphan.is_running(), "the end of what was cut off")
    if sought is TRAINING:
        assert "resuming after epoch" in (untrained.folder / LOG).read_text()
    require_undisturbed(untrained, local_tiny)


def test_a_job_returns_to_a_node_that_was_cut_off(untrained: Project, local_tiny: Project) -> None:
    """It has nowhere else to go, and finds what is left of itself there."""
    submission = submit(untrained)
    orphan = stopped(submission)
    cable(node_of(orphan))
    until(requeued, "the job in the queue again")
    cluster("start")
    submission.finish()
    until(lambda: not orphan.is_running(), "the end of what was cut off")
    require_undisturbed(untrained, local_tiny)


def versions(project: Project) -> list[tuple[int, int]]:
    found = [(project.folder / "results/tiny/NS/vit/seed10" / file).stat() for file in WRITTEN]
    return [(each.st_ino, each.st_mtime_ns) for each in found]


def let_go_on_and_be_refused(orphan: psutil.Process) -> None:
    assert orphan.status() == psutil.STATUS_STOPPED
    with open(f"/proc/{orphan.pid}/fd/2", errors="replace") as said:  # another log stands at the name of its own
        orphan.send_signal(signal.SIGCONT)
        orphan.wait(PATIENCE)
        assert "has begun to write it later" in said.read()


def test_what_a_node_goes_on_writing_that_was_cut_off_is_refused(untrained: Project, local_tiny: Project) -> None:
    submission = submit(untrained, *ANYWHERE)
    orphan = stopped(submission)
    cable(node_of(orphan))
    submission.finish()
    before = versions(untrained)
    let_go_on_and_be_refused(orphan)
    assert versions(untrained) == before
    require_undisturbed(untrained, local_tiny)
    cluster("start")
    assert "Nothing to be done" in untrained.run("--dry-run", TABLES).stdout


def test_a_drained_node_is_waited_for(untrained: Project, local_tiny: Project) -> None:
    submission = submit(untrained)
    node = node_of(submission.process(*TRAINING))
    slurm("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    (training,) = jobs()
    until(lambda: "DRAINED" in slurm("squeue", "--noheader", "--states=pending", "--format=%r"), "jobs that wait")
    assert state_of(training) == "COMPLETED"
    slurm("scontrol", "update", f"nodename={node}", "state=resume")
    submission.finish()
    require_undisturbed(untrained, local_tiny)


def test_a_controller_is_away_for_a_while(untrained: Project, local_tiny: Project) -> None:
    """Jobs stay where they are while Snakemake asks for them in vain."""
    submission = submit(untrained)
    training = stopped(submission)
    subprocess.run(at("head", "pkill", "-KILL", "-x", "slurmctld"), check=True)
    until(lambda: "SLURM does not answer" in submission.said(), "a round of questions in vain")
    cluster("start")
    training.send_signal(signal.SIGCONT)
    assert "Trying to restart job" not in submission.finish()
    require_undisturbed(untrained, local_tiny)


def test_a_killed_head_is_recovered(untrained: Project, local_tiny: Project) -> None:
    submission = submit(untrained)
    orphan = stopped(submission)
    refused = recover(untrained)
    assert refused.returncode == 1
    assert "Snakemake still works here (process " in refused.stderr
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


def test_a_killed_head_is_recovered_from_another_machine(untrained: Project, local_tiny: Project) -> None:
    submission = submit(untrained)
    orphan = stopped(submission)
    os.killpg(submission.head.pid, signal.SIGKILL)
    submission.head.wait()
    refused = recover(untrained, machine="node1")
    assert refused.returncode == 1
    assert "Snakemake was started here on head (process " in refused.stderr
    assert f"--elsewhere {untrained.folder}'" in refused.stderr
    assert orphan.is_running()
    assert "unlocked" in recover(untrained, "--elsewhere", str(untrained.folder), machine="node1").stdout
    assert not jobs()
    assert not orphan.is_running()
    submit(untrained).finish()
    require_undisturbed(untrained, local_tiny)


def test_an_orphan_that_was_not_ended_is_refused(untrained: Project, local_tiny: Project) -> None:
    """Whoever unlocks by hand has two jobs at the same files; the older one's work is not taken."""
    submission = submit(untrained, *ANYWHERE)
    orphan = stopped(submission)
    os.killpg(submission.head.pid, signal.SIGKILL)
    submission.head.wait()
    subprocess.run(at("head", *untrained.command("--unlock")), cwd=untrained.folder, check=True, capture_output=True)
    submit(untrained, *ANYWHERE).finish()
    before = versions(untrained)
    (job,) = jobs()
    let_go_on_and_be_refused(orphan)
    until(lambda: not jobs(), "the end of the orphan's job")
    assert state_of(job) == "FAILED"
    assert versions(untrained) == before
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


def lose_the_process(worker: psutil.Process) -> None:
    time.sleep(3)
    worker.kill()


def lose_the_network(worker: psutil.Process) -> None:
    cable(node_of(worker))


def lose_the_network_for_a_while(worker: psutil.Process) -> None:
    node = node_of(worker)
    cable(node)
    until(lambda: "down" in slurm("sinfo", "--noheader", "--nodes", node, "--format=%T"), "a node that is missed")
    cluster("start")


@pytest.mark.parametrize("lose", [lose_the_process, lose_the_network, lose_the_network_for_a_while])
def test_a_dask_worker_is_lost_in_mid_reduction(
    untrained: Project, local_tiny: Project, lose: Callable[[psutil.Process], None]
) -> None:
    untrained.edit(*dask("eth0"))
    before = set(jobs_ever())
    submission = submit(untrained, *ANYWHERE)
    reduction = submission.process("surroscope.stages.reduce")
    worker = submission.process("distributed.cli.dask_worker", away=node_of(reduction))
    # Its second process, which computes, has joined and holds on to what it is given.
    logs = untrained.folder / "results/tiny/NS/vit/seed10/epoch60/grams.workers"
    until(lambda: any("Registered to" in log.read_text() for log in logs.glob("*.err")), "a worker that has joined")
    for process in (*worker.children(), worker):
        process.send_signal(signal.SIGSTOP)
    lose(worker)
    submission.finish()
    cluster("start")
    until(lambda: not jobs(), "the end of the workers' jobs")
    named = slurm("squeue", "--noheader", "--states=all", "--format=%A %j").splitlines()
    workers = [job for job, name in map(str.split, named) if name == "surroscope-dask" and job not in before]
    # By another job, or by SLURM that begins the same one elsewhere.
    again = [int(re.search(r"Restarts=(\d+)", slurm("scontrol", "show", "job", job))[1]) for job in workers]
    assert len(workers) + sum(again) >= 2
    require_undisturbed(untrained, local_tiny)


def test_a_network_that_dask_finds_on_one_node_alone(untrained: Project, local_tiny: Project) -> None:
    """The worker on the other node ends before it joins, and is tried once more."""
    untrained.edit(*dask("ib0"))
    here = ("reduce", "influence")
    where = (*ANYWHERE, *(f"{rule}:slurm_extra='--nodelist=node1'" for rule in here))
    for words in (("link", "add", "ib0", "type", "bridge"), ("address", "add", "10.99.0.1/24", "dev", "ib0")):
        subprocess.run(at("node1", "ip", *words), check=True)
    try:
        said = submit(untrained, *where, "--retries", "0").fail()
    finally:
        subprocess.run(at("node1", "ip", "link", "delete", "ib0"), check=True)
    assert said.count("ended before it joined") == 2
    assert "no worker is left and none is in the queue" in said
    assert "'ib0' is not a valid network interface" in said
    untrained.edit(TINY, "interface: ib0", "interface: eth0")
    submit(untrained, *ANYWHERE).finish()
    require_undisturbed(untrained, local_tiny)
