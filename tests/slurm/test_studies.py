"""Whole studies and parallel training by profiles/slurm, and on a shared disk that is slow to tell."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.workflow.conftest import QUICK, TINY, Project, fresh

from .conftest import (
    ANYWHERE,
    PATIENCE,
    TRAINING,
    at,
    cluster,
    node_of,
    recover,
    requeued,
    require_undisturbed,
    slurm,
    submit,
    until,
)

pytestmark = pytest.mark.slurm


def test_the_quick_study_has_the_tables_of_a_local_run(tmp_path: Path) -> None:
    local, submitted = (fresh(tmp_path / name, QUICK) for name in ("local", "submitted"))
    local.run()
    submission = submit(submitted, targets=())
    submission.finish(patience=4 * PATIENCE)
    require_undisturbed(submitted, local)
    assert (submitted.folder / "results/report.html").exists()
    # Those that need a GPU ask for one, and are where there are some.
    (log,) = (submitted.folder / ".snakemake/log").glob("*.log")
    numbers = re.findall(r"rule_(\w+)/\S*?(\d+)\.log", log.read_text())
    assert {rule for rule, _ in numbers} >= {"simulate", "train", "gradients", "evaluate", "tables"}
    for rule, number in numbers:
        job = slurm("scontrol", "show", "job", number)
        wanted = rule in ("train", "coupling", "gradients", "evaluate")
        assert ("gres:gpu:1" in job, "Partition=gpu" in job) == (wanted, wanted), rule


CHECKPOINT = "results/tiny/NS/vit/seed10"
HISTORY = f"{CHECKPOINT}/history.csv"


def together(processes: int, nodes: int) -> tuple[str, ...]:
    """Arguments that have one training run on several nodes, with so many processes on each."""
    several = {
        "mpi": f"srun --nodes={nodes} --ntasks-per-node=1 --cpus-per-task={processes}",
        "nodes": nodes,
        "tasks": nodes,
        "tasks_per_gpu": 0,
        "processes": processes,
        "slurm_partition": "cpu",
    }
    told = several if nodes > 1 else {"processes": processes, "slurm_partition": "cpu"}
    resources = (f"train:{name}={value}" for name, value in told.items())
    return ("--set-threads", f"train={processes}", "--set-resources", *resources)


def require_weights(project: Project, reference: Project) -> None:
    """Those of one process, up to round-off."""
    found, expected = (
        torch.load(each.folder / CHECKPOINT / "weights/epoch60.pt", weights_only=True) for each in (project, reference)
    )
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


def log(project: Project) -> str:
    return (project.folder / CHECKPOINT / "train.log").read_text()


def test_training_in_two_tasks_of_one_job_with_a_gpu_each(untrained: Project, local_tiny: Project) -> None:
    resources = ("mpi=srun", "tasks=2", "gpu=2", "tasks_per_gpu=0", "slurm_partition=gpu")
    submit(untrained, "--set-resources", *(f"train:{one}" for one in resources), targets=(HISTORY,)).finish()
    assert "2 processes" in log(untrained)
    require_weights(untrained, local_tiny)


def test_training_on_two_nodes_with_two_processes_each(untrained: Project, local_tiny: Project) -> None:
    untrained.edit(TINY, "dataset: tiny,", "dataset: tiny, reader: mapped,")
    submit(untrained, *together(processes=2, nodes=2), targets=(HISTORY,)).finish()
    assert "4 processes" in log(untrained)
    require_weights(untrained, local_tiny)


@pytest.mark.parametrize("nodes", [2, 1])
def test_training_goes_on_after_the_loss_of_a_node(untrained: Project, local_tiny: Project, nodes: int) -> None:
    """On as many nodes as before, which waits for it, or on one; at first with two processes on each."""
    submission = submit(untrained, *together(processes=2, nodes=2), targets=(HISTORY,))
    process = submission.process(*TRAINING)
    process.send_signal(signal.SIGSTOP)
    cluster("kill", node_of(process))
    if nodes == 2:
        until(requeued, "the job in the queue again")
        cluster("start")
    else:
        os.killpg(submission.head.pid, signal.SIGKILL)
        submission.head.wait()
        assert recover(untrained).returncode == 0
        submission = submit(untrained, *together(processes=1, nodes=1), targets=(HISTORY,))
    submission.finish()
    assert "resuming after epoch" in log(untrained)
    require_weights(untrained, local_tiny)


def test_a_node_on_which_nothing_joins_ends_the_job(untrained: Project, tmp_path: Path) -> None:
    """Where the others would wait for it until the job's time is up."""
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('error: no module here')\n")
    target = untrained.folder / "workflow/surroscope/runtime/torchrun.py"
    subprocess.run(at("node2", "mount", "--bind", str(broken), str(target)), check=True)
    try:
        submission = submit(untrained, *together(processes=1, nodes=2), "--retries", "0", targets=(HISTORY,))
        said = submission.fail()
    finally:
        subprocess.run(at("node2", "umount", str(target)), check=True)
    assert "error: no module here" in said + log(untrained)


# Much longer than a file that another node wrote is waited for without a word in the profile.
STALE_SECONDS = 20


@pytest.fixture
def slow_to_tell(untrained: Project) -> Iterator[Project]:
    """Its folder as nodes see it that look again only after a while, as those of NFS do."""
    options = "".join(f",{name}_timeout={STALE_SECONDS}" for name in ("attr", "entry", "negative"))
    folder = str(untrained.folder)
    machines = ("head", "node1", "node2", "node3")
    for machine in machines:
        subprocess.run(at(machine, "bindfs", "-o", f"dev{options}", folder, folder), check=True)
    # A node that has looked for a name in vain does not see it for so long.
    new = untrained.folder / "new"
    seen = at("node1", "test", "-e", str(new))
    assert subprocess.run(seen, check=False).returncode
    new.touch()
    began = time.monotonic()
    assert subprocess.run(seen, check=False).returncode, "not slow: this bindfs looks again at once"
    until(lambda: not subprocess.run(seen, check=False).returncode, "the new name", 2 * STALE_SECONDS)
    assert time.monotonic() - began > STALE_SECONDS / 2
    yield untrained
    for machine in machines:
        subprocess.run(at(machine, "umount", "--lazy", folder), check=True)


def test_a_shared_disk_that_is_slow_to_tell(slow_to_tell: Project, local_tiny: Project) -> None:
    submission = submit(slow_to_tell, *ANYWHERE, "--latency-wait", str(3 * STALE_SECONDS))
    submission.finish(patience=4 * PATIENCE)
    require_undisturbed(slow_to_tell, local_tiny)
