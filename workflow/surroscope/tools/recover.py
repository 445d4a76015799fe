"""After Snakemake itself was killed: end the jobs that it left behind, remove its lock, and say how to go on.

Jobs of SLURM are those of this user whose name starts with the prefix and that write their log below the folder; jobs
of this machine are the stages that work in it. Nothing is unlocked before they are gone, so no file has two writers.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from surroscope.errors import UserError
from surroscope.runtime import cli, sessions

PREFIX = "surroscope"
# Where jobs log: those of Snakemake, and workers of Dask beside the result that they work for.
LOGS, RESULTS = Path(".snakemake") / "slurm_logs", Path("results")
PATIENCE = 120.0


def recover(folder: Path = Path(), *, elsewhere: bool = False) -> None:
    """End the orphans of a folder and unlock it.

    elsewhere: whether a Snakemake that was started on another machine is known to have ended
    Raises UserError if one runs, or may run, that works in the folder; or if a job does not end within two minutes.
    """
    folder = folder.resolve()
    here = sessions.of(folder)
    for session in here:
        if session.here and session.alive:
            raise UserError(
                f"{folder}: Snakemake still works here (process {session.pid}); wait for it, or end it and its jobs "
                f"with 'kill -INT {session.pid}'"
            )
        if not session.here and not elsewhere:
            raise UserError(
                f"{folder}: Snakemake was started here on {session.host} (process {session.pid}); recover there, or, "
                "if it and all that it started have surely ended, by 'python -m surroscope.tools.recover --elsewhere'"
            )
    end_processes(folder)
    cancel(folder)
    clean(folder)
    for session in here:
        session.file.unlink(missing_ok=True)
    locks = folder / ".snakemake" / "locks"
    if not (locks.is_dir() and any(locks.iterdir())):
        print(f"{folder}: was not locked; another folder: 'python -m surroscope.tools.recover FOLDER'")
        return
    shutil.rmtree(locks)
    print(f"{folder}: unlocked; run Snakemake as before, it goes on where it was")


def cancel(folder: Path) -> None:
    """Cancel the folder's jobs and wait until they are gone."""
    if not shutil.which("squeue"):
        if (folder / LOGS).exists():
            raise UserError(
                f"{folder}: was run by SLURM, but there is no squeue here; recover where SLURM's commands are"
            )
        return
    jobs = list(jobs_of(folder))
    if not jobs:
        print("no SLURM job of this folder is left")
        return
    subprocess.run(["scancel", *jobs], check=True)
    print(f"cancelled SLURM jobs {' '.join(jobs)}", flush=True)
    end = time.monotonic() + PATIENCE
    while left := [job for job in jobs_of(folder) if job in jobs]:
        if time.monotonic() > end:
            raise UserError(
                f"SLURM jobs {' '.join(left)} were cancelled and do not end; see 'squeue --me', and recover again"
            )
        time.sleep(1)


def jobs_of(folder: Path) -> Iterator[str]:
    """Numbers of this user's SLURM jobs that are not over and belong to a folder."""
    columns = {"JobID": 20, "Name": 60, "STDOUT": 4000}
    wanted = ",".join(f"{name}:{width}" for name, width in columns.items())
    listed = subprocess.run(
        ["squeue", "--me", "--noheader", "--Format", wanted], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        raise UserError(f"squeue fails ({listed.stderr.strip()}); recover where SLURM answers")
    for line in listed.stdout.splitlines():
        number, name, log = line[:20].strip(), line[20:80].strip(), line[80:].strip()
        ours = any(Path(log).is_relative_to((folder / place).resolve()) for place in (LOGS, RESULTS))
        if name.startswith(PREFIX) and ours:
            yield number


def clean(folder: Path) -> None:
    """Remove what killed jobs had half written, and their claims."""
    for pattern in ("**/.*.partial-*", "**/.*.writer*"):
        for path in (folder / RESULTS).glob(pattern):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def end_processes(folder: Path) -> None:
    """End the stages that run on this machine in the folder, by force if need be."""
    stages = []
    for process in psutil.process_iter():
        try:
            stage = any(word.startswith("surroscope.stages.") for word in process.cmdline())
            if stage and Path(process.cwd()) == folder:
                stages.append(process)
                process.terminate()
        except psutil.Error:
            continue
    _, left = psutil.wait_procs(stages, timeout=10)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=10)
    if stages:
        print(f"ended processes {' '.join(str(process.pid) for process in stages)}")


if __name__ == "__main__":
    cli.tool(
        recover,
        folder="Snakemake's working directory [this one]",
        elsewhere="a Snakemake that was started on another machine has surely ended",
    )
