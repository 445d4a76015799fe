"""After Snakemake itself was killed: end the jobs that it left behind, remove its lock, and say how to go on.

Jobs of SLURM are those of this user whose name starts with the prefix and that write their log below the folder; jobs
of this machine are the stages that work in it. Nothing is unlocked before they are gone, so no file has two writers.
"""

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from surroscope.errors import UserError
from surroscope.runtime import claims, cli, sessions

PREFIX = "surroscope"
# Where jobs log: those of Snakemake, and workers of Dask beside the result that they work for.
LOGS, RESULTS = Path(".snakemake") / "slurm_logs", Path("results")
DATA = Path("data")
# How names of half-written files and of claims begin, as runtime.store has them; the writer's follows.
LEFT = re.compile(r"\..*\.(partial-|writer(-|$))")
PATIENCE = 120.0


def recover(folder: Path = Path(), *, elsewhere: bool = False) -> None:
    """End the orphans of a folder and unlock it.

    elsewhere: whether what was started on another machine, or by a SLURM that cannot be asked, is known to have ended
    Raises UserError if a Snakemake runs, or may run, that works in the folder; or if a job does not end within two
    minutes, or may run where none can be asked.
    """
    folder = folder.resolve()
    require_alone(folder, elsewhere)
    end_processes(folder)
    cancel(folder, elsewhere)
    clean(folder)
    # A Snakemake that started meanwhile has said so before it locked: these are its own only if it is seen next.
    locks = list((folder / ".snakemake" / "locks").glob("*"))
    for session in require_alone(folder, elsewhere):
        session.file.unlink(missing_ok=True)
    for lock in locks:
        lock.unlink(missing_ok=True)
    if locks:
        print(f"{folder}: unlocked; run Snakemake as before, it goes on where it was")
    else:
        print(f"{folder}: was not locked; another folder: 'python -m surroscope.tools.recover FOLDER'")


def require_alone(folder: Path, elsewhere: bool) -> list[sessions.Session]:
    """The sessions of a folder, which are over. Raises UserError if one is not, or may be not."""
    found = sessions.of(folder)
    for session in found:
        if session.here and session.alive:
            raise UserError(
                f"{folder}: Snakemake still works here (process {session.pid}); wait for it, or end it and its jobs "
                f"with 'kill -INT {session.pid}'"
            )
        if not session.here and not elsewhere:
            raise UserError(
                f"{folder}: Snakemake was started here on {session.host} (process {session.pid}); recover there, or, "
                f"if it and all that it started have surely ended, by {by_hand(folder)}"
            )
    return found


def by_hand(folder: Path) -> str:
    return f"'python -m surroscope.tools.recover --elsewhere {shlex.quote(str(folder))}'"


def cancel(folder: Path, elsewhere: bool) -> None:
    """Cancel the folder's jobs and wait until they are gone."""
    try:
        jobs = list(jobs_of(folder))
    except UserError as error:
        # Where a job was given to SLURM, its log's place is there from then on.
        if not elsewhere and ((folder / LOGS).exists() or any((folder / RESULTS).glob("**/*.workers"))):
            raise UserError(
                f"{folder}: was run by SLURM, but {error}; recover where SLURM answers, or, if its jobs have surely "
                f"ended, by {by_hand(folder)}"
            ) from None
        print(f"no job of SLURM was looked for: {error}")
        return
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
    """Numbers of this user's SLURM jobs that are not over and belong to a folder. Raises UserError without a list."""
    if not shutil.which("squeue"):
        raise UserError("there is no squeue here")
    columns = {"JobID": 20, "Name": 60, "STDOUT": 4000}
    wanted = ",".join(f"{name}:{width}" for name, width in columns.items())
    listed = subprocess.run(
        ["squeue", "--me", "--all", "--noheader", "--Format", wanted], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        raise UserError(f"squeue fails ({' '.join(listed.stderr.split())})")
    for line in listed.stdout.splitlines():
        number, name, log = line[:20].strip(), line[20:80].strip(), line[80:].strip()
        ours = any(Path(log).is_relative_to((folder / place).resolve()) for place in (LOGS, RESULTS))
        if name.startswith(PREFIX) and ours:
            yield number


def clean(folder: Path) -> None:
    """Remove what killed jobs had half written, and their claims; below `data/`, which other folders may have linked,
    only those of processes of this machine that are gone."""
    for place in (RESULTS, DATA):
        for top, folders, files in os.walk(folder / place):
            for name in [*folders, *files]:
                path = Path(top, name)
                if LEFT.match(name) and (place == RESULTS or gone(path)):
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            folders[:] = [name for name in folders if not name.endswith(".zarr")]


def gone(path: Path) -> bool:
    """Whether a process of this machine that has ended was the writer of a half-written file or of a claim."""
    try:
        named = path.read_text() if path.name.endswith(".writer") else LEFT.sub("", path.name)
    except FileNotFoundError:
        return False
    process = claims.here(named)
    return process is not None and not sessions.lives(*process)


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
        elsewhere="what was started on another machine, or by a SLURM that does not answer, has surely ended",
    )
