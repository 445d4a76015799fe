"""What HDF5 files read of other files: external links, external storage and virtual datasets."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import h5py

from surroscope.data.containers import entries
from surroscope.data.unreadable import refusal
from surroscope.errors import UserError

# Folders, separated as in PATH, in which HDF5 looks first.
PREFIXES = ("HDF5_EXT_PREFIX", "HDF5_EXTFILE_PREFIX", "HDF5_VDS_PREFIX")


def require_inside(path: Path, wanted: Collection[str]) -> None:
    """Raise UserError where an HDF5 file, or one that it reads, reads a file that is not in the folder of `path`.

    Raises one too for a file that is not there, if that is for what is called as `wanted` has it. Files in another
    format read no others.
    """
    folders = {path.absolute().parent.resolve(), path.resolve().parent}
    waiting, seen = [path], set()
    while waiting:
        file = waiting.pop()
        if file in seen or not h5py.is_hdf5(file):
            continue
        seen.add(file)
        try:
            read = list(others(file))
        except (OSError, RuntimeError, TypeError, ValueError, KeyError) as error:
            raise refusal(file, error) from None
        for name, kind, other in read:
            found = places(file, other)
            # What leads nowhere beside what is wanted does no harm.
            if not found and (file != path or name.rpartition("/")[2] in wanted):
                raise UserError(f"{file}: {name} is {kind} of {other}, which is not there; put it beside the file")
            for place in found:
                if not any(place.is_relative_to(folder) for folder in folders):
                    raise UserError(
                        f"{file}: {name} is {kind} of {place}, expected a file in {path.parent}; copy it there, or set "
                        "data.links: anywhere if you trust the file"
                    )
            waiting += found


def others(path: Path) -> Iterator[tuple[str, str, str]]:
    """Of all that an HDF5 file reads of others: its name in the file, its kind, and the other file as it is written."""
    with h5py.File(path) as file:
        for name, entry in entries(file, follow=False):
            if isinstance(entry, h5py.ExternalLink):
                yield name, "an external link", entry.filename
            elif entry is h5py.Dataset:
                try:
                    dataset = file[name]
                except (KeyError, OSError, RuntimeError):  # nor can anything be read of it
                    continue
                yield from ((name, "external storage", os.fsdecode(part[0])) for part in dataset.external or ())
                if dataset.is_virtual:
                    sources = {source.file_name for source in dataset.virtual_sources()} - {".", ""}
                    yield from ((name, "a virtual dataset", other) for other in sorted(sources))


def places(path: Path, other: str) -> list[Path]:
    """Where HDF5 may find a file that one at `path` reads: all that there are, since its order is by kind."""
    prefixes = [part for name in PREFIXES for part in os.environ.get(name, "").split(os.pathsep) if part]
    bases = [path.parent, path.resolve().parent, Path.cwd()]
    bases += [Path(part.replace("${ORIGIN}", str(path.parent))) for part in prefixes]
    # An absolute path is looked for by its name alone where it is not. %b stands for the number of a block.
    names = [other, Path(other).name] if os.path.isabs(other) and not os.path.exists(other) else [other]
    found = [
        place.resolve()
        for base in bases
        for name in names
        for place in ([base / name] if "%b" not in name else _numbered(base / name))
    ]
    return [place for place in dict.fromkeys(found) if place.exists()]


def _numbered(pattern: Path) -> list[Path]:
    return sorted(pattern.parent.glob(pattern.name.replace("%b", "*")))
