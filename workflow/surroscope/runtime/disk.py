"""Room on a disk, asked for before it is needed, and found out about when there is none."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surroscope.errors import UserError
from surroscope.runtime.claims import StaleWriterError

FULL = (errno.ENOSPC, errno.EDQUOT)


def require_space(what: str, size: int, folder: Path) -> None:
    """Raise UserError unless so many bytes are free on the disk of an existing folder."""
    if shutil.disk_usage(folder).free < size:
        raise no_space(what, size, folder)


def no_space(what: str, size: int, folder: Path) -> UserError:
    """The error that says so."""
    free = shutil.disk_usage(folder).free
    return UserError(
        f"{folder}: disk full: {what} needs {size / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free. What is "
        "whole is kept; free some space or link the folder to a larger disk, and run again"
    )


@contextmanager
def unhidden() -> Iterator[None]:
    """Let the OSError of a full disk through where a library raises another error on the way, of whatever kind."""
    try:
        yield
    except StaleWriterError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause and not (isinstance(cause, OSError) and cause.errno in FULL):
            cause = cause.__cause__ or cause.__context__
        if cause:
            raise cause from None
        raise
