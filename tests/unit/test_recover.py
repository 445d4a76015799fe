"""What a killed Snakemake leaves behind is ended before its folder is unlocked."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from surroscope.errors import UserError
from surroscope.runtime import sessions
from surroscope.tools.recover import recover

JOBS = {
    "11": ("surroscope_1b2c", "{folder}/.snakemake/slurm_logs/rule_train/11.log"),
    "12": ("surroscope_9d8e", "/another/study/.snakemake/slurm_logs/rule_train/12.log"),
    "13": ("mine", "{folder}/results/slurm-13.out"),
    "14": ("surroscope_1b2c", "{folder}/below/.snakemake/slurm_logs/rule_train/14.log"),
    "15": ("surroscope-dask", "{folder}/results/tiny/NS/vit/seed10/epoch60/grams.workers/slurm-15.out"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A locked working directory, with a queue of jobs by stand-ins of SLURM's commands."""
    commands, working = tmp_path / "bin", tmp_path / "study"
    commands.mkdir()
    (working / ".snakemake" / "locks").mkdir(parents=True)
    (working / ".snakemake" / "locks" / "0.output.lock").touch()
    queue = tmp_path / "queue"
    queue.mkdir()
    for number, (name, log) in JOBS.items():
        (queue / number).write_text(f"{number:20}{name:60}{log.format(folder=working):4000}\n")
    scripts = {
        # Jobs of partitions that are hidden from the user are listed on demand.
        "squeue": f'cd {queue}; case " $* " in *" --all "*) cat * ;; esac',
        "scancel": f'cd {queue}; rm "$@"',
    }
    for name, text in scripts.items():
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return working


def queued(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder.parent / "queue").iterdir())


def locked(folder: Path) -> bool:
    return any((folder / ".snakemake" / "locks").iterdir())


def test_only_the_jobs_of_the_folder_are_cancelled(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recover(folder)
    assert queued(folder) == ["12", "13", "14"]
    assert not locked(folder)
    capsys.readouterr()
    recover(folder)
    assert "was not locked" in capsys.readouterr().out


def head(folder: Path, host: str, pid: int) -> Path:
    file = folder / sessions.FOLDER / f"{host}_{pid}_{sessions.born(pid)}"
    file.parent.mkdir(exist_ok=True)
    file.touch()
    return file


def test_a_snakemake_that_works_is_left_alone(folder: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as running:
        file = head(folder, socket.gethostname(), running.pid)
        with pytest.raises(UserError, match=f"process {running.pid}"):
            recover(folder)
        assert locked(folder)
        assert queued(folder) == sorted(JOBS)
        running.kill()
        running.wait()
        recover(folder)
    assert not locked(folder)
    assert not file.exists()


def test_one_that_may_work_on_another_machine_needs_a_word(folder: Path) -> None:
    head(folder, "login2", os.getpid())
    advice = re.escape(f"by 'python -m surroscope.tools.recover --elsewhere {folder}'")
    with pytest.raises(UserError, match=f"started here on login2 .*{advice}"):
        recover(folder)
    assert locked(folder)
    recover(folder, elsewhere=True)
    assert not locked(folder)


def test_stages_that_run_on_this_machine_are_ended(folder: Path) -> None:
    # One that does not listen to SIGTERM, as a process that hangs.
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, "surroscope.stages.train"]
    with (
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE) as own,
        subprocess.Popen(command, cwd=folder.parent, stdout=subprocess.PIPE) as other,
    ):
        for process in (own, other):
            assert process.stdout
            process.stdout.readline()
        recover(folder)
        assert not psutil.pid_exists(own.pid)
        assert other.poll() is None
        other.kill()


PARSED = """
from pathlib import Path
from surroscope.runtime import sessions

sessions.arrive()
(found,) = sessions.of(Path())
assert found.here and found.alive
print(found.file, flush=True)
input()
"""


def test_a_head_says_that_it_is_there_until_it_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARSED]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        told = running.stdout.readline().strip()
        assert [str(found.file.relative_to(tmp_path)) for found in sessions.of(tmp_path)] == [told]
        running.communicate("\n")
    assert running.returncode == 0
    assert not sessions.of(tmp_path)


def test_one_that_was_killed_and_not_waited_for_is_over(folder: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as running:
        head(folder, socket.gethostname(), running.pid)
        running.kill()
        while psutil.Process(running.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        recover(folder)
    assert not locked(folder)


def test_one_that_starts_meanwhile_keeps_its_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "60"]) as running:
        monkeypatch.setattr("surroscope.tools.recover.clean", lambda at: head(at, socket.gethostname(), running.pid))
        with pytest.raises(UserError, match=f"process {running.pid}"):
            recover(folder)
        running.kill()
    assert locked(folder)


def test_half_written_results_go(folder: Path) -> None:
    half = folder / "results/NS/.influence.partial-vm+1+2+3.zarr"
    half.mkdir(parents=True)
    (half.parent / ".influence.zarr.writer").write_text("vm+1+2+3")
    whole = half.parent / "influence.zarr"
    whole.mkdir()
    recover(folder)
    assert list(half.parent.iterdir()) == [whole]


def test_of_data_that_others_may_use_only_what_the_dead_left_goes(folder: Path) -> None:
    data, shared = folder / "data", folder.parent / "shared"
    store = shared / "store" / "tiny" / "NS"
    store.mkdir(parents=True)
    data.symlink_to(shared)
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    here, now = socket.gethostname(), sessions.born(os.getpid())
    writers = {
        "dead": f"{here}+{ended.pid}+{now}+0a1b2c3d",
        "alive": f"{here}+{os.getpid()}+{now}+0a1b2c3d",
        "replaced": f"{here}+{os.getpid()}+{now - 1000}+0a1b2c3d",
        "far": f"n7+1+{now}+0a1b2c3d",
        "alike": f"{here}-7+{ended.pid}+{now}+0a1b2c3d",
    }
    for case, writer in writers.items():
        (store / f".{case}.zarr.writer").write_text(writer)
        (store / f".{case}.partial-{writer}.zarr").mkdir()
        (store / f".{case}.zarr.writer-{writer}").touch()
    recover(folder)
    left = sorted({path.name.split(".")[1] for path in store.iterdir()})
    assert left == ["alike", "alive", "far"]
    assert len(list(store.iterdir())) == 9


def test_without_the_commands_of_slurm_its_jobs_are_not_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    (folder / ".snakemake" / "slurm_logs").mkdir()
    with pytest.raises(UserError, match="there is no squeue here"):
        recover(folder)
    assert locked(folder)


@pytest.mark.parametrize("trace", [".snakemake/slurm_logs", "results/tiny/NS/vit/seed10/epoch60/grams.workers"])
def test_a_queue_that_does_not_answer_matters_where_slurm_ran(folder: Path, trace: str) -> None:
    text = "echo 'slurm_load_jobs error: Unable to contact\n slurm controller' >&2; exit 1"
    (folder.parent / "bin" / "squeue").write_text(f"#!/bin/sh\n{text}\n")
    (folder / trace).mkdir(parents=True)
    with pytest.raises(UserError, match=r"run by SLURM, but squeue fails \(.*Unable to contact slurm controller\)"):
        recover(folder)
    assert locked(folder)
    recover(folder, elsewhere=True)
    assert not locked(folder)


def test_a_queue_that_does_not_answer_is_said_where_slurm_never_ran(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.parent / "bin" / "squeue").write_text("#!/bin/sh\necho no controller >&2; exit 1\n")
    recover(folder)
    assert "no job of SLURM was looked for: squeue fails (no controller)" in capsys.readouterr().out
    assert not locked(folder)


def test_a_job_that_does_not_end_keeps_the_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "bin" / "scancel").write_text("#!/bin/sh\n")
    monkeypatch.setattr("surroscope.tools.recover.PATIENCE", 0.0)
    started = time.monotonic()
    with pytest.raises(UserError, match="SLURM jobs 11 15 were cancelled and do not end"):
        recover(folder)
    assert time.monotonic() - started < 10
    assert locked(folder)
