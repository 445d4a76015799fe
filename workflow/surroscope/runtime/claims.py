"""Who writes what: of several jobs that write the same, the newest."""

import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from surroscope.errors import UserError


class StaleWriterError(UserError):
    """Another job took over what this one was writing."""


_HERE = socket.gethostname()


class Claim:
    """The right to write `path`, in a file beside it that names the writer: it belongs to the newest claimant.

    A job that was lost sight of (its scheduler was killed, its node came back) is refused what a newer one writes.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.name = f"{_HERE}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        written = path.parent / f".{path.name}.writer-{self.name}"
        try:
            written.write_text(self.name)
            os.replace(written, _claim(path))
        finally:
            written.unlink(missing_ok=True)

    def require(self) -> None:
        """Raise StaleWriterError unless this is still the newest claim."""
        found = _holder(self.path)
        if found != self.name:
            raise StaleWriterError(
                f"{self.path}: not written by {self.name}, since {found or 'another job'} has begun to write it later; "
                "let that one finish"
            )

    def release(self) -> None:
        """Remove the claim, unless it is someone else's by now."""
        if _holder(self.path) == self.name:
            _claim(self.path).unlink(missing_ok=True)


def _claim(path: Path) -> Path:
    return path.parent / f".{path.name}.writer"


def _holder(path: Path) -> str | None:
    try:
        return _claim(path).read_text()
    except FileNotFoundError:
        return None


def wait_for_writers(paths: Iterable[Path]) -> None:
    """Until no process that lives on this machine has a claim to one of these."""
    for path in paths:
        while (found := _holder(path)) and found.startswith(f"{_HERE}-"):
            if not psutil.pid_exists(int(found.split("-")[-2])):
                break
            time.sleep(0.1)


# Claims of this process that last longer than the writing.
CLAIMED: dict[Path, Claim] = {}


@contextmanager
def claimed(paths: Iterable[Path]) -> Iterator[None]:
    """Claim what a job is going to write from before it reads anything: a job that began later wins, however late."""
    with ExitStack() as stack:
        for path in paths:
            CLAIMED[path] = claim = Claim(path)
            stack.callback(claim.release)
            stack.callback(CLAIMED.pop, path)
        yield
