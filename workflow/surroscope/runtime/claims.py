"""Who writes what: of several jobs that write the same, the newest."""

import errno
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path

from surroscope.errors import UserError
from surroscope.runtime import sessions

ATTEMPTS = 10  # at a claim that others take for what a killed claimant left


class StaleWriterError(UserError):
    """Another job took over what this one was writing."""


class Claim:
    """The right to write `path`, in a file beside it that names the writer: it belongs to the newest claimant.

    A job that was lost sight of (its scheduler was killed, its node came back) is refused what a newer one writes.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        pid = os.getpid()
        self.name = f"{socket.gethostname()}+{pid}+{sessions.born(pid)}+{uuid.uuid4().hex[:8]}"
        written = path.parent / f".{path.name}.writer-{self.name}"
        try:
            for attempt in reversed(range(ATTEMPTS)):
                try:
                    written.write_text(self.name)
                    os.replace(written, _claim(path))
                    break
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ESTALE) or not attempt:
                        raise
        finally:
            written.unlink(missing_ok=True)
        for leftover in path.parent.glob(f".{escape(path.name)}.writer-*"):
            with suppress(OSError):
                leftover.unlink()

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


def here(name: str) -> tuple[int, int] | None:
    """Number and time of birth of the process of this machine that a claim's name is of; None of another machine's."""
    host, *process = name.rsplit("+", 3)
    return (int(process[0]), int(process[1])) if host == socket.gethostname() and len(process) == 3 else None


def wait_for_writers(paths: Iterable[Path]) -> None:
    """Until no process that lives on this machine has a claim to one of these."""
    for path in paths:
        while (process := here(_holder(path) or "")) and sessions.lives(*process):
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
