"""Why a file cannot be read, and what to do: it is of a kind that is not supported, in use, or broken."""

import errno
import zipfile
from collections.abc import Mapping
from pathlib import Path

from surroscope.errors import UserError

MISSING_CODEC = ("is not registered", "plugin", "nknown codec", "odec not available")
SUPPORTED = "netCDF, HDF5, Zarr or .npy"
# How files begin -> what they are, and what makes one of them that is read.
KINDS: Mapping[bytes, tuple[str, str]] = {
    b"MATLAB 5.0 MAT-file": (
        "a .mat file of MATLAB's version 5 to 7",
        "save it with -v7.3, which is HDF5 (its axes are in reverse order), or write its arrays by scipy.io.loadmat "
        "and numpy.save",
    ),
    b"CDF\x05": ("netCDF of the kind CDF-5", "convert it: nccopy -k netCDF-4 old.nc new.nc"),
    b"\x0e\x03\x13\x01": ("HDF4", "convert it: h4toh5 old.hdf new.h5"),
    b"GRIB": ("GRIB", "convert it: grib_to_netcdf -o new.nc old.grib, or by xarray with cfgrib"),
    b"\x1f\x8b": ("compressed by gzip", "unpack it: gunzip"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unpack it: unzstd"),
    b"\x80": ("a pickle or .pt file, which could run code", "write its arrays by torch.load and numpy.save"),
    b"version https://git-lfs": ("a pointer of Git LFS and not the file itself", "fetch it: git lfs pull"),
    b"<": ("a page of the web or XML and not the file itself", "fetch it again, logged in if it has to be"),
}
TEXT = ("text", "write its numbers as one of those, such as by numpy.save")
PRINTED = bytes([*b"\t\r\n", *range(32, 127)])
# What is in archives of ZIP -> the same.
ZIPPED: Mapping[str, tuple[str, str]] = {
    ".npy": ("a .npz file", "write each of its arrays into a .npy file of its own, or all into one Zarr or HDF5 file"),
    "data.pkl": ("a .pt file of PyTorch, which could run code", "write its arrays by torch.load and numpy.save"),
    ".zarray": ("a Zarr store in a ZIP file", "unpack it into a folder"),
    "zarr.json": ("a Zarr store in a ZIP file", "unpack it into a folder"),
    "": ("a ZIP file", "unpack it"),
}


def refusal(path: Path, error: Exception, part: str = "") -> UserError:
    """What is told of a file, or of part of one, whose reading ended in this error.

    Says that it is of a kind that is not supported, in use by another process, not permitted, or else broken.
    """
    reason = " ".join(str(error).split()) or type(error).__name__
    if kind := _kind(path):
        return UserError(f"{path}: is {kind[0]}, which is not supported; expected {SUPPORTED}: {kind[1]}")
    if "Python objects" in reason:
        return UserError(f"{path}: is an array of objects of Python, which could run code; write one of numbers")
    if isinstance(error, PermissionError):
        return UserError(f"{path}: may not be read ({reason}); give yourself the permission to: chmod u+r")
    if getattr(error, "errno", None) == errno.EAGAIN or "unable to lock file" in reason:
        return UserError(
            f"{path}: is locked ({reason}): a process has it open for writing. Run again when that has ended; where "
            "none has, and the disk is one without locks, set HDF5_USE_FILE_LOCKING=FALSE"
        )
    if "h5clear" in reason:
        return UserError(
            f"{path}: is marked as open for writing ({reason}). Run again when its writer has ended; if that was "
            "killed, make the file again, or trust what is in it: h5clear --status"
        )
    if any(words in reason for words in MISSING_CODEC):
        return UserError(
            f"{path}: {part}is compressed in a way that is not installed ({reason}); write it anew by gzip or zstd, "
            "such as h5repack -f GZIP=4 old.h5 new.h5"
        )
    return UserError(
        f"{path}: {part}cannot be read ({reason}). Expected a whole {SUPPORTED} file; make or fetch it again"
    )


def _kind(path: Path) -> tuple[str, str] | None:
    """What a file that is not supported is, and what to do, by what it begins with; None if that is not known."""
    try:
        with path.open("rb") as file:
            start = file.read(32)
        if start.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                held = archive.namelist()
            return next(told for end, told in ZIPPED.items() if any(name.endswith(end) for name in held))
    except (OSError, zipfile.BadZipFile):
        return None
    known = next((told for beginning, told in KINDS.items() if start.startswith(beginning)), None)
    return known or (TEXT if start and not start.translate(None, PRINTED) else None)
