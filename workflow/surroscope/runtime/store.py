"""Results on disk: written whole or not at all, and checked when read.

Every file is written under a temporary name beside its final one and moved into place by a rename. A Zarr
store carries `manifest.json`, written last: the size and SHA-256 of each of its files, what made it
(settings, code fingerprint, library versions, what it was made from) and one digest over all of them. A plain file
that a stage writes has the same in a file beside it, `.NAME.made.json`, so that CSV stays CSV.
"""

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from surroscope.errors import UserError
from surroscope.runtime.claims import CLAIMED, Claim

MANIFEST = "manifest.json"
# Variables of a data store, one value a channel.
STATISTICS = ("mean", "standard_deviation", "minimum", "maximum", "missing")
# In the folder of a Zarr store, but not of it: ours, the mark that Snakemake leaves on a directory output, and what
# file managers and network file systems leave anywhere.
FOREIGN = re.compile(
    rf"{re.escape(MANIFEST)}|\.snakemake_timestamp|\.DS_Store|\._.*|\.nfs\w+|\.fuse_hidden\w+|\.directory|Thumbs\.db|desktop\.ini",
    re.IGNORECASE,
)


# Of data: chunks of states, which carry checksums of their own that are checked where they are read, and the mapped
# arrays, which are checked before the first of them is mapped.
LARGE = re.compile(r"state/c/.*|\w+\.npy")


class DamagedStoreError(UserError):
    """A store or file on disk is not what was written."""


# What makes what this process writes: settings, code and versions, and what it was made from.
_MADE: dict[str, Any] = {}


@contextmanager
def recording(made: dict[str, Any]) -> Iterator[None]:
    """What is written meanwhile is recorded to be made so: a manifest gets the `inputs`, a file's record all of it."""
    _MADE.update(made)
    try:
        yield
    finally:
        _MADE.clear()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what stands there at the end is moved to `path` in one rename.

    A folder that is replaced is moved aside just before, and removed.

    If the body raises, the temporary is removed and `path` is left as it was. Temporaries of earlier writers
    of the same path are removed first; one of them that is still at work gets a StaleWriterError at its end, or at once
    if it had not begun to write.
    """
    claim = CLAIMED.get(path) or Claim(path)
    claim.require()  # what is half-written there may be a newer writer's
    for leftover in path.parent.glob(f".{path.stem}.partial-*{path.suffix}"):
        _remove(leftover)
    temporary = path.parent / f".{path.stem}.partial-{claim.name}{path.suffix}"
    try:
        yield temporary
        claim.require()
        if path.is_dir():
            replaced = path.parent / f".{path.stem}.partial-{claim.name}-replaced{path.suffix}"
            os.replace(path, replaced)
            os.replace(temporary, path)
            _remove(replaced)
        else:
            if path in CLAIMED and temporary.is_file():
                beside = path.parent / f".{path.stem}.partial-{claim.name}.made{path.suffix}"
                beside.write_text(_sealed({**of_file(temporary), **_MADE}))
                os.replace(beside, record_of(path))
            os.replace(temporary, path)
    except Exception:
        claim.require()  # a newer writer removes what an older one was writing, which may fail in any way
        raise
    finally:
        _remove(temporary)
        if path not in CLAIMED:
            claim.release()


@contextmanager
def writing(path: Path, provenance: dict[str, Any]) -> Iterator[Path]:
    """Like `atomic`, for a Zarr store: adds the manifest with `provenance` before the rename."""
    with atomic(path) as temporary:
        yield temporary
        files = {name: of_file(temporary / name) for name in _files(temporary)}
        manifest = {"digest": _digest(files), "files": files, "inputs": _MADE.get("inputs", {}), **provenance}
        (temporary / MANIFEST).write_text(_sealed(manifest))


def record_of(path: Path) -> Path:
    """Where it stands what made a store or a file."""
    return path / MANIFEST if path.is_dir() else path.with_name(f".{path.name}.made.json")


def made(path: Path) -> dict[str, Any] | None:
    """What made a store or a file, with its digest, as it says itself; None if it does not."""
    try:
        found = _unsealed(record_of(path).read_text())
        return {"digest": found.get("digest", found.get("sha256")), **found}
    except (OSError, ValueError):
        return None


def require_whole(path: Path) -> None:
    """Raise DamagedStoreError unless a file that a stage wrote is what was written."""
    found, expected = of_file(path), made(path)
    if expected is None:
        raise DamagedStoreError(
            f"{path}: no readable {record_of(path).name} beside it; expected a file written by this workflow. "
            "Delete it and run again"
        )
    if found != {key: expected[key] for key in found if key in expected}:
        raise DamagedStoreError(
            f"{path}: does not have the SHA-256 that {record_of(path).name} records: damaged or edited after it was "
            "written. Delete it and run again"
        )


def manifest(path: Path) -> dict[str, Any]:
    """The manifest of a store. Raises DamagedStoreError if there is none."""
    try:
        return _unsealed((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise DamagedStoreError(
            f"{path}: no readable {MANIFEST} ({error}); expected a store written by this workflow. "
            "Delete the store and run again"
        ) from None


def verify(path: Path, *, contents: bool = True) -> dict[str, Any]:
    """Compare every file of a store with its manifest and return the manifest.

    contents: if False, compare only names and sizes of what is large, and hash the rest.
    Raises DamagedStoreError naming the first file that is missing, added or changed.
    """
    expected = manifest(path)
    files = expected["files"]
    found = set(_files(path))
    for name in sorted(found ^ set(files)):
        state = (
            "is missing; delete the store" if name in files else "was not written by this workflow; remove that file"
        )
        raise DamagedStoreError(f"{path}: file {name} {state} and run again")
    for name in sorted(files):
        hashed = contents or not LARGE.fullmatch(name)
        if (path / name).stat().st_size != files[name]["size"] or (hashed and of_file(path / name) != files[name]):
            raise DamagedStoreError(
                f"{path}: file {name} does not have the SHA-256 that its manifest records: damaged or edited "
                "after it was written. Delete the store and run again"
            )
    if _digest(files) != expected["digest"]:
        raise DamagedStoreError(f"{path}: {MANIFEST} contradicts itself; delete the store and run again")
    return expected


def read(path: Path, chunks: dict[str, int] | None = None, *, contents: bool = True) -> xr.Dataset:
    """Open a verified store lazily; integer coordinates that carry names (CF flags) become strings.

    chunks: Dask chunks by dimension; {} takes those on disk, None leaves arrays unchunked.
    contents: False for a data store, whose chunks of states carry checksums of their own and are many.
    """
    verify(path, contents=contents)
    with warnings.catch_warnings():
        # What is not of the store was looked at above.
        warnings.filterwarnings("ignore", message="Object at .* is not recognized")
        dataset = xr.open_zarr(path, consolidated=False, chunks=chunks)
    named = {
        name: (coordinate.dims, [coordinate.attrs["flag_meanings"].split()[int(value)] for value in coordinate.values])
        for name, coordinate in dataset.coords.items()
        if "flag_meanings" in coordinate.attrs
    }
    return dataset.assign_coords(named)


def names(dimension: str, labels: Sequence[str]) -> xr.Variable:
    """A coordinate of names as CF flags: integers on disk, since Zarr v3 has no settled string type."""
    return flags(dimension, labels, range(len(labels)))


def flags(dimension: str, labels: Sequence[str], values: Sequence[int]) -> xr.Variable:
    """A coordinate of names that may repeat: values[i] is the number of entry i's name in `labels`."""
    attributes = {"flag_values": list(range(len(labels))), "flag_meanings": " ".join(labels)}
    return xr.Variable((dimension,), list(values), attributes)


def _files(path: Path) -> list[str]:
    """Files below `path`, but for those that are not the store's own."""
    return sorted(
        str(file.relative_to(path)) for file in path.rglob("*") if file.is_file() and not FOREIGN.fullmatch(file.name)
    )


def of_file(file: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 of a file."""
    with file.open("rb") as stream:
        return {"size": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def as_it_is(path: Path) -> dict[str, Any]:
    """Of a file of the user's own its SHA-256, size, time and number; of a folder a digest of those in it."""
    stat = path.stat()
    known = {"modified": stat.st_mtime_ns, "inode": stat.st_ino}
    if path.is_file():
        found = of_file(path)
        return {"digest": found["sha256"], "size": found["size"], **known}
    stats = {str(file.relative_to(path)): file.stat() for file in path.rglob("*") if file.is_file()}
    listed = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}
    return {"digest": _digest(listed), "size": len(listed), **known}


def unchanged(path: Path, then: dict[str, Any]) -> bool:
    """Whether a file or folder of the user's own is what it was; a file is read unless it is the same, untouched."""
    stat = path.stat()
    seen = stat.st_size, stat.st_mtime_ns, stat.st_ino
    if path.is_file() and seen == (then["size"], then["modified"], then["inode"]):
        return True
    return as_it_is(path)["digest"] == then["digest"]


def _sealed(record: dict[str, Any]) -> str:
    """The record as JSON, with a digest of itself."""
    return json.dumps({**record, "seal": _digest(record)}, indent=1, sort_keys=True)


def _unsealed(text: str) -> dict[str, Any]:
    """Raises ValueError if it is not JSON as it was written; one without a seal is of an earlier version."""
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError("expected keys and values")
    seal = record.pop("seal", None)
    if seal not in (None, _digest(record)):
        raise ValueError("it was edited, or damaged, after it was written")
    return record


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
