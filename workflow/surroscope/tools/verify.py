"""Hash everything that finished studies consist of, and name what is damaged, missing or edited.

Without arguments every study in results/; with a configuration that study; with an archive (.tar.gz) what is in it.
"""

import hashlib
import json
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surroscope.config.study import Study, check
from surroscope.errors import UserError
from surroscope.runtime import cli, configuration, progress, provenance, store

SUMS = "SHA256SUMS"
RESULTS = Path("results")
AGAIN = "delete it and run the study again"


@dataclass(frozen=True)
class Checked:
    """How much was hashed, and a line for each thing that is wrong."""

    stores: int
    files: int
    size: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.stores} stores and {self.files} files, {self.size / 1e6:,.1f} MB"


def configured(path: Path) -> Study:
    """The study of a configuration file. Raises UserError."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a study's configuration, such as config.yaml")
    content = configuration.read(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: found {content!r}, expected the keys of a study")
    return check(content, str(path))


def recorded(study: str) -> dict[str, Any]:
    """What a study's provenance.json in this folder says. Raises UserError if there is none."""
    path = RESULTS / study / provenance.FILE
    try:
        found = json.loads(path.read_text())
        store.require_whole(path)
        return found
    except FileNotFoundError:
        raise UserError(
            f"{path.absolute()}: missing, so study {study!r} is not finished here; run it first, or go where it was run"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); {AGAIN}") from None


def verify(records: list[dict[str, Any]]) -> Checked:
    """Hash what these records name, each thing once. A store must be what every study that names it was made of."""
    stores = [(Path(path), entry["digest"]) for record in records for path, entry in record["stores"].items()]
    files = {Path(path): entry for record in records for path, entry in record["files"].items()}
    total = sum(size_of(path) for path in dict(stores)) + sum(entry["size"] for entry in files.values())
    problems: list[str] = []
    digests: dict[Path, str] = {}
    with progress.bar("verify", total, "B") as bar:
        bar.unit_scale = True
        for path in dict(stores):
            size = size_of(path)
            try:
                digests[path] = store.verify(path)["digest"]
            except store.DamagedStoreError as error:
                problem = str(error) if path.exists() else f"{path}: missing"
                problems.append(f"{problem}; make it by 'snakemake --cores all {path}' with the study's --configfile")
            bar.update(size)
        for path, digest in stores:
            if digests.get(path, digest) != digest:
                problems.append(f"{path}: whole, but written after the study was finished; run the study again")
        for path, entry in files.items():
            if not path.is_file():
                problems.append(f"{path}: missing; run the study again")
            elif store.of_file(path) != entry:
                problems.append(f"{path}: damaged, or edited after the report was written; {AGAIN}")
            bar.update(entry["size"])
    return Checked(len(dict(stores)), len(files), total, tuple(dict.fromkeys(problems)))


def size_of(path: Path) -> int:
    """Bytes of a store by its manifest; 0 if it has none."""
    try:
        return sum(entry["size"] for entry in store.manifest(path)["files"].values())
    except store.DamagedStoreError:
        return 0


def verify_archive(path: Path) -> Checked:
    """Compare every file of an archive with the sums that it carries."""
    sums: dict[str, str] = {}
    listed: dict[str, str] = {}
    size = 0
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                stream = archive.extractfile(member)
                if stream is None:
                    continue
                name = member.name.partition("/")[2]
                if name == SUMS:
                    rows = (line.split("  ", 1) for line in stream.read().decode().splitlines())
                    listed = {file: digest for digest, file in rows}
                else:
                    sums[name] = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
                    size += member.size
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{path}: damaged, or not an archive of a study ({error}); take another copy") from None
    problems = tuple(
        f"{path}: {name} is {'missing' if name not in sums else 'not listed' if name not in listed else 'damaged'}; "
        "take another copy"
        for name in sorted(sums.keys() | listed.keys())
        if sums.get(name) != listed.get(name)
    )
    return Checked(0, len(sums), size, problems if listed else (f"{path}: holds no {SUMS}; take another copy",))


def main(what: Path | None = None) -> None:
    """Raises UserError with a line for each thing that is wrong."""
    if what is not None and what.name.endswith(".tar.gz"):
        checked = verify_archive(what)
    else:
        names = (
            [configured(what).study] if what else sorted(p.parent.name for p in RESULTS.glob(f"*/{provenance.FILE}"))
        )
        if not names:
            raise UserError(f"{RESULTS}: holds no finished study; run one first")
        checked = verify([recorded(name) for name in names])
        print(f"studies: {', '.join(names)}")
    print(f"checked {checked}")
    if checked.problems:
        raise UserError("\nerror: ".join(checked.problems))
    print("all as it was written")


if __name__ == "__main__":
    cli.tool(main, what="a configuration, or an archive [every finished study]")
