"""GPUs that jobs of one machine take and give back, and the commands that start a stage."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from surroscope.errors import UserError
from surroscope.runtime import launch, torchrun
from surroscope.runtime.environment import HEAD

ROOT = Path(__file__).parents[2]
# A job: says which GPUs it has and how many processes it is of, and lives for a while.
JOB = """
import os, sys, time
print(os.environ.get("CUDA_VISIBLE_DEVICES", "none"), flush=True)
time.sleep(float(sys.argv[1]))
"""
NVIDIA_SMI = """#!/bin/sh
test "$*" = "--query-gpu=uuid --format=csv,noheader" && printf 'GPU-a\\nGPU-b\\n'
"""


class Machine:
    """Two GPUs, as nvidia-smi lists them, and jobs that share a folder for temporary files."""

    def __init__(self, folder: Path) -> None:
        (folder / "job.py").write_text(JOB)
        listing = folder / "bin" / "nvidia-smi"
        listing.parent.mkdir()
        listing.write_text(NVIDIA_SMI)
        listing.chmod(0o755)
        self.folder = folder

    def start(self, gpus: int, seconds: float = 0, visible: str | None = None) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if name != launch.VISIBLE}
        own = {
            "PYTHONPATH": f"{ROOT / 'workflow'}{os.pathsep}{self.folder}",
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": str(self.folder),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "surroscope.runtime.launch", "--gpus", str(gpus), "--", "job", str(seconds)],
            env=kept | own | ({} if visible is None else {launch.VISIBLE: visible}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def has(self, gpus: int, visible: str | None = None) -> str:
        """The GPUs that a job of so many sees."""
        seen, errors = self.start(gpus, visible=visible).communicate(timeout=60)
        assert not errors
        return seen.strip()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def line(job: subprocess.Popen[str]) -> str:
    assert job.stdout
    return job.stdout.readline().strip()


def test_jobs_of_one_gpu_get_one_each_and_a_third_waits_for_the_first_that_is_killed(machine: Machine) -> None:
    jobs = [machine.start(1, 600) for _ in range(2)]
    try:
        devices = [line(job) for job in jobs]
        assert sorted(devices) == ["GPU-a", "GPU-b"]
        third = machine.start(1)
        assert third.stderr
        assert third.stderr.readline() == "waiting for 1 of the GPUs GPU-a, GPU-b to be free\n"
        time.sleep(2 * launch.POLL_SECONDS)
        assert third.poll() is None
        jobs[0].send_signal(signal.SIGKILL)
        seen, errors = third.communicate(timeout=60)
        assert (seen.strip(), errors) == (devices[0], "")
    finally:
        for job in jobs:
            job.kill()
            job.communicate()


def test_jobs_of_two_gpus_do_not_wait_for_each_other(machine: Machine) -> None:
    jobs = [machine.start(2, 0.2) for _ in range(4)]
    for job in jobs:
        seen, _ = job.communicate(timeout=120)
        assert (job.returncode, seen.strip()) == (0, "GPU-a,GPU-b")


STAGE = """
import os, time
from pathlib import Path
from pydantic import BaseModel
from surroscope.runtime import cli, store

class Settings(BaseModel):
    pass

def stage(settings: Settings, table: cli.Output):
    with store.atomic(table.with_name(os.environ.get("RANK", "table"))) as temporary:
        temporary.touch()
        print(os.getpid(), flush=True)
        time.sleep(600)

if __name__ == "__main__":
    cli.run(stage)
"""


def of_job(folder: Path) -> dict[str, str]:
    """The environment of a job that this process starts as Snakemake does."""
    return os.environ | {"PYTHONPATH": f"{ROOT / 'workflow'}{os.pathsep}{folder}", HEAD: str(os.getpid())}


linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process is not told that its parent has ended")


@linux
@pytest.mark.parametrize("by", ["", "surroscope.runtime.launch --", "surroscope.runtime.launch --processes 2 --"])
def test_a_job_ends_with_the_shell_that_snakemake_started_it_by(tmp_path: Path, by: str) -> None:
    (tmp_path / "job.py").write_text(STAGE)
    text = f"{sys.executable} -m {by} job --settings '{{}}' --table table.csv > log; true"
    with subprocess.Popen(["bash", "-c", text], cwd=tmp_path, env=of_job(tmp_path), stderr=subprocess.PIPE) as job:
        while not (tmp_path / "log").exists() or len((tmp_path / "log").read_text().splitlines()) < 1 + ("2" in by):
            assert job.poll() is None
            time.sleep(0.01)
        running = psutil.Process(job.pid).children(recursive=True)
        job.kill()
        assert not psutil.wait_procs(running, timeout=60)[1]
        assert job.stderr
        assert b"error: ended by SIGTERM; nothing half-written is kept" in job.stderr.read()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["job.py", "log"]


@linux
def test_a_job_whose_shell_was_killed_before_it_began_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(STAGE)
    text = f"{sys.executable} -m job --settings '{{}}' --table table.csv > log 2>&1 & echo $!"
    done = subprocess.run(["bash", "-c", text], cwd=tmp_path, env=of_job(tmp_path), capture_output=True, check=True)
    while psutil.pid_exists(int(done.stdout)):
        time.sleep(0.01)
    assert (tmp_path / "log").read_text() == "error: ended by SIGTERM; nothing half-written is kept\n"


def test_gpus_that_were_given_stay_as_they_are(machine: Machine) -> None:
    assert machine.has(0) == "none"
    assert machine.has(0, visible="4,5") == "4,5"
    # Two jobs of a scheduler may have GPUs of one name, each in a control group of its own.
    other = machine.start(1, 600, visible="0")
    try:
        assert line(other) == "0"
        assert machine.has(1, visible="0") == "0"
    finally:
        other.kill()
        other.communicate()
    assert machine.has(1, visible="4,5") == "4"


@pytest.mark.parametrize(
    ("gpus", "visible", "found"), [(3, None, "nvidia-smi shows 2"), (2, "1", "=1 shows 1"), (1, "", "= shows 0")]
)
def test_too_few_gpus_are_one_line_before_anything_runs(
    machine: Machine, gpus: int, visible: str | None, found: str
) -> None:
    job = machine.start(gpus, visible=visible)
    seen, errors = job.communicate(timeout=60)
    assert (job.returncode, seen) == (1, "")
    assert errors.startswith(f"error: --gpus {gpus}: ")
    assert found in errors
    assert errors.count("\n") == 1


def test_no_driver_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(launch.VISIBLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"nvidia-smi .* fails"):
        launch.visible()


def test_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    python = [sys.executable, "-m"]
    assert launch.command("stage", ["--a", "b"]) == [*python, "stage", "--a", "b"]
    several = [*python, "surroscope.runtime.torchrun", "--nproc-per-node", "2"]
    assert launch.command("stage", [], processes=2) == [*several, "--standalone", "-m", "stage"]
    monkeypatch.setenv("SLURM_JOB_ID", "123456")
    monkeypatch.setattr("socket.gethostname", lambda: "node1")
    drawn = iter([3456, 3457])
    monkeypatch.setattr("secrets.randbelow", lambda limit: next(drawn))
    port = launch.PORTS[3456]
    meeting = [
        "--nnodes",
        "3",
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        f"node1:{port}",
        "--rdzv-id",
        "123456.3456",
    ]
    tasks = {"processes": 2, "tasks": 3}
    found = launch.command("stage", ["x"], launcher=["srun", "--nodes=3"], **tasks)
    srun = ["srun", "--kill-on-bad-exit=1", "--nodes=3", "--ntasks", "3"]
    assert found == [*srun, *several, *meeting, "-m", "stage", "x"]
    # Another start of the same job meets elsewhere, by another name.
    again = launch.command("stage", ["x"], launcher=["mpirun"], **tasks)
    assert again[:3] == ["mpirun", "--ntasks", "3"]
    assert {f"node1:{port + 1}", "123456.3457"} <= set(again)


def test_two_launched_tasks_meet(tmp_path: Path) -> None:
    """On one machine, by a launcher that starts them as srun does."""
    launcher = tmp_path / "srun"
    launcher.write_text('#!/bin/sh\nshift 3\n"$@" & first=$!\n"$@"; code=$?\nwait $first || exit\nexit $code\n')
    launcher.chmod(0o755)
    (tmp_path / "job.py").write_text(
        "from pathlib import Path\n"
        "from surroscope.training import distributed\n"
        "with distributed.joined() as group:\n"
        "    said = f'{group.world} {group.from_first(group.rank)}'\n"
        "    Path(__file__).with_name(f'rank{group.rank}').write_text(said)\n"
    )
    command = [
        sys.executable,
        "-m",
        "surroscope.runtime.launch",
        "--launcher",
        str(launcher),
        "--tasks",
        "2",
        "--",
        "job",
    ]
    found = f"{ROOT / 'workflow'}{os.pathsep}{tmp_path}"
    own = {"PYTHONPATH": found, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_text() for path in tmp_path.glob("rank*")} == {"rank0": "2 0", "rank1": "2 0"}


def test_nodes_meet_by_the_network_between_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (torchrun.INTERFACE, "SLURM_STEP_NODELIST"):
        monkeypatch.setenv(name, "")  # what stood before comes back at the end, also where that is nothing
        monkeypatch.delenv(name)
    meeting = [torchrun.ENDPOINT, "node1:20000"]
    own = {"lo": ["127.0.0.1", "127.0.1.1"], "eth1": ["10.1.0.2", "fe80::2"]}
    monkeypatch.setattr(
        "psutil.net_if_addrs",
        lambda: {name: [SimpleNamespace(address=one) for one in held] for name, held in own.items()},
    )
    routes = {"node1": "127.0.1.1", "node2": "10.1.0.2"}
    monkeypatch.setattr(torchrun, "towards", routes.__getitem__)
    assert torchrun.network(["--standalone"]) == []
    assert torchrun.network(meeting) == []
    assert torchrun.INTERFACE not in os.environ
    (tmp_path / "scontrol").write_text('#!/bin/sh\ntest "$*" = "show hostnames node[1-2]" && echo node1 node2\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[1-2]")
    monkeypatch.setenv("SLURMD_NODENAME", "node1")
    assert torchrun.network(meeting) == [torchrun.ADDRESS, "10.1.0.2"]
    assert os.environ[torchrun.INTERFACE] == "eth1"
    monkeypatch.setenv(torchrun.INTERFACE, "ib0")
    torchrun.network(meeting)
    assert os.environ[torchrun.INTERFACE] == "ib0"
    routes["node2"] = "127.0.1.1"
    with pytest.raises(UserError, match=r"takes node2 for itself \(127\.0\.1\.1\); expected names of other nodes"):
        torchrun.network(meeting)


def test_a_node_that_is_not_reached_is_said() -> None:
    assert torchrun.towards("127.0.0.1") == "127.0.0.1"
    assert torchrun.interface("127.0.0.1") == "lo"
    with pytest.raises(
        UserError, match=r"does not reach no\.such\.host\.invalid .*; expected nodes that reach each other"
    ):
        torchrun.towards("no.such.host.invalid")


def test_it_is_quick() -> None:
    imported = (
        "import sys; from surroscope.runtime import launch; print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    done = subprocess.run([sys.executable, "-c", imported], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
