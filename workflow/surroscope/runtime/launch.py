"""Start a stage on GPUs of its own, in one process or in several by torchrun.

python -m surroscope.runtime.launch --gpus 1 -- surroscope.stages.gradients --settings ...

The stage takes the place of this process. Where more GPUs are visible than it asks for, as on a workstation, it gets
free ones, and waits for them; they are its own for as long as it lives, however it ends. A scheduler's GPUs are the
stage's already.
"""

import argparse
import ctypes
import fcntl
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import psutil

from surroscope.errors import UserError
from surroscope.runtime.environment import HEAD, SAFE

# Of Linux's <sys/prctl.h>.
PR_SET_PDEATHSIG = 1
VISIBLE = "CUDA_VISIBLE_DEVICES"
# CUDA takes no device that is named after one of these.
NO_DEVICE = ("", "-1", "NoDevFiles")
LISTING = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
POLL_SECONDS = 1.0
PORTS = range(20000, 30000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of this machine; 0 leaves them as they are [0]")
    parser.add_argument("--processes", type=int, default=1, help="processes on each machine [1]")
    parser.add_argument("--launcher", default="", help="what starts a task on each machine, as 'srun --nodes=2' [none]")
    parser.add_argument("--tasks", type=int, default=1, help="of the launcher [1]")
    parser.add_argument("module", help="the module to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    asked = parser.parse_args()
    end_with_parent()
    start = command(asked.module, asked.arguments, asked.processes, shlex.split(asked.launcher), asked.tasks)
    try:
        # With a launcher the scheduler has bound the GPUs of every task.
        if asked.gpus and not asked.launcher:
            bind(asked.gpus)
    except UserError as error:
        sys.exit(f"error: {error}")
    if asked.processes > 1 and not asked.launcher:
        # Of the warnings of torch's C++ one is about a choice of ours; the others are about names of other machines.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.update(SAFE)
    os.execvp(start[0], start)


def end_with_parent() -> None:
    """Have a job of Snakemake's get SIGTERM when its shell ends, even if that has been killed already: Snakemake takes
    the job for failed then, and may start it again. It lasts through exec. Systems other than Linux cannot do it."""
    head = int(os.environ.pop(HEAD, "") or 0)
    if head and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if psutil.pid_exists(head) and head not in [parent.pid for parent in psutil.Process().parents()]:
            os.kill(os.getpid(), signal.SIGTERM)


def command(
    module: str, arguments: Sequence[str], processes: int = 1, launcher: Sequence[str] = (), tasks: int = 1
) -> list[str]:
    """What runs the module: Python, torchrun, or `tasks` torchruns of the launcher that meet on this machine."""
    python, stage = [sys.executable, "-m"], [module, *arguments]
    torchrun = [*python, "surroscope.runtime.torchrun", "--nproc-per-node", str(processes)]
    if launcher:
        job = os.environ.get("SLURM_JOB_ID", "")
        number = int(job) if job.isdecimal() else os.getpid()
        # Drawn at each start, so that what is left of a job that SLURM began again does not meet the new one. How often
        # it began is not told here: the plugin of Snakemake's takes most of SLURM's variables away.
        drawn = secrets.randbelow(2**32)
        meeting = f"{socket.gethostname()}:{PORTS[drawn % len(PORTS)]}"
        rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", meeting, "--rdzv-id", f"{number}.{drawn}"]
        # A machine on which none comes to join would be waited for.
        ended = ["--kill-on-bad-exit=1"] if Path(launcher[0]).name == "srun" else []
        start = [launcher[0], *ended, *launcher[1:], "--ntasks", str(tasks)]
        return [*start, *torchrun, "--nnodes", str(tasks), *rendezvous, "-m", *stage]
    return [*torchrun, "--standalone", "-m", *stage] if processes > 1 else [*python, *stage]


def bind(gpus: int) -> None:
    """Make so many free GPUs the only ones that this process sees, and keep them from others while it lives.

    GPUs that were given, as many as are asked for, stay as they are. Raises UserError if too few are visible.
    """
    devices = visible()
    if len(devices) < gpus:
        source = f"{VISIBLE}={os.environ[VISIBLE]}" if VISIBLE in os.environ else LISTING[0]
        raise UserError(
            f"--gpus {gpus}: {source} shows {len(devices)}, expected {gpus} or more; set the resource `gpu` lower, "
            "or ask the scheduler for as many"
        )
    if not (VISIBLE in os.environ and len(devices) == gpus):
        os.environ[VISIBLE] = ",".join(take(devices, gpus))


def visible() -> list[str]:
    """Names of the GPUs that a program may use here. Raises UserError if they cannot be listed."""
    if VISIBLE in os.environ:
        names = [name.strip() for name in os.environ[VISIBLE].split(",")]
        return list(takewhile(lambda name: name not in NO_DEVICE, names))
    try:
        return subprocess.run(LISTING, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"--gpus: {shlex.join(LISTING)} fails ({error}); expected a driver by NVIDIA, or names of GPUs in {VISIBLE}"
        ) from None


def take(devices: Sequence[str], count: int) -> list[str]:
    """`count` of the devices that no other process of this user has taken, once there are so many.

    A device is a locked file in a folder of the user's. The lock goes on through exec, and ends with the process.
    """
    folder = Path(tempfile.gettempdir()) / f"surroscope-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise UserError(f"{folder}: belongs to another user; remove it, or set TMPDIR to a folder of your own")
    waiting = False
    while True:
        # One looks at a time, and takes all or none: two that want two each would else wait for one another.
        with (folder / "look").open("w") as look:
            fcntl.flock(look, fcntl.LOCK_EX)
            held = [(device, file) for device in devices if (file := locked(folder / device.replace("/", "_")))]
            taken, spare = (held[:count], held[count:]) if len(held) >= count else ([], held)
            for _, file in spare:
                os.close(file)
        if taken:
            for _, file in taken:
                os.set_inheritable(file, True)
            return [device for device, _ in taken]
        if not waiting:
            print(f"waiting for {count} of the GPUs {', '.join(devices)} to be free", file=sys.stderr, flush=True)
            waiting = True
        time.sleep(POLL_SECONDS)


def locked(path: Path) -> int | None:
    """A file that was opened and locked for this process; None if it is another's."""
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


if __name__ == "__main__":
    main()
