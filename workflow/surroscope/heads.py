"""Which Snakemake processes work in a folder: each leaves a file with its machine and number while it runs."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

FOLDER = Path(".snakemake") / "heads"


@dataclass(frozen=True)
class Head:
    file: Path
    host: str
    pid: int

    @property
    def here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it runs, on this machine."""
        try:
            return any("snakemake" in word for word in psutil.Process(self.pid).cmdline())
        except psutil.NoSuchProcess:
            return False


def arrive() -> None:
    """Note that this process works in the current folder."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    _own().touch()


def leave() -> None:
    """It has ended."""
    _own().unlink(missing_ok=True)


def heads(folder: Path) -> list[Head]:
    """Those that work in a folder, or were killed there."""
    found = []
    for file in sorted((folder / FOLDER).glob("*_*")):
        host, _, pid = file.name.rpartition("_")
        found.append(Head(file, host, int(pid)))
    return found


def _own() -> Path:
    return FOLDER / f"{socket.gethostname()}_{os.getpid()}"
