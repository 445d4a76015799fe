"""Which Snakemake processes work in a folder: each leaves a file with its machine and number while it runs."""

import atexit
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

# By so many seconds may the clock have been set since a process began.
CLOCK = 5
FOLDER = Path(".snakemake") / "heads"


@dataclass(frozen=True)
class Session:
    """A Snakemake process that works in a folder, or did when it was killed; born: when it began, in s since 1970."""

    file: Path
    host: str
    pid: int
    born: int

    @property
    def here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it runs, on this machine."""
        return lives(self.pid, self.born)


def arrive() -> None:
    """Note that this process works in the current folder, until it ends."""
    file = FOLDER.absolute() / f"{socket.gethostname()}_{os.getpid()}_{born(os.getpid())}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    atexit.register(file.unlink, missing_ok=True)


def of(folder: Path) -> list[Session]:
    """The sessions that work in a folder, or were killed there."""
    sessions = []
    for file in sorted((folder / FOLDER).glob("*_*")):
        host, pid, start = file.name.rsplit("_", 2)
        sessions.append(Session(file, host, int(pid), int(start)))
    return sessions


def lives(pid: int, since: int) -> bool:
    """Whether the process of this machine that began then runs, and not another one under its number."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and abs(born(pid) - since) <= CLOCK
    except psutil.NoSuchProcess:
        return False


def born(pid: int) -> int:
    """When a process began, in seconds; its number may have been another's before."""
    return int(psutil.Process(pid).create_time())
