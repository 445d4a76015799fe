"""Room on a disk, asked for before it is needed."""

import shutil
from pathlib import Path

from surroscope.errors import UserError


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
