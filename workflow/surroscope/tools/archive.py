"""Pack a finished study into one file, results/{study}.tar.gz: equal contents give equal bytes.

In it: the configuration, provenance.json, tables, figures and the report, the versions of all installed packages, and
the SHA-256 of each. Data, weights and gradients are not in it, but their digests are.
"""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import surroscope
from surroscope.config import jobs
from surroscope.errors import UserError
from surroscope.runtime import cli, provenance, store
from surroscope.tools import verify

LOCK = "requirements.lock"


def archive(configuration: Path = Path("config.yaml")) -> Path:
    """The archive of the study of a configuration. Raises UserError if it is not finished, or not whole."""
    study = verify.configured(configuration)
    results = verify.RESULTS / study.study
    record = verify.recorded(study.study)
    now = json.loads(jobs.settings(study, "report", command="", n="", unit=""))["config"]
    if now != record["config"]:
        raise UserError(f"{configuration}: was changed since study {study.study!r} was run; run it again")
    checked = verify.verify([record])
    if checked.problems:
        raise UserError("\nerror: ".join(checked.problems))
    contents = {str(Path(path).relative_to(results)): Path(path).read_bytes() for path in record["files"]}
    contents[provenance.FILE] = (results / provenance.FILE).read_bytes()
    contents["config.yaml"] = jobs.public(configuration.read_text()).encode()
    contents["versions.txt"] = versions().encode()
    lock = Path(surroscope.__file__).parents[2] / LOCK
    if lock.is_file():
        contents[LOCK] = lock.read_bytes()
    path = verify.RESULTS / f"{study.study}.tar.gz"
    with store.atomic(path) as temporary:
        temporary.write_bytes(packed(study.study, contents))
    print(f"archive: {path}, {path.stat().st_size / 1e6:,.1f} MB")
    return path


def packed(folder: str, contents: Mapping[str, bytes]) -> bytes:
    """A compressed archive of files by their names in a folder, with their sums; no owner, no time."""
    sums = "".join(f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in sorted(contents))
    stream = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in sorted({**contents, verify.SUMS: sums.encode()}.items()):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def versions() -> str:
    """Python and every installed package, a line each."""
    packages = {f"{package.name}=={package.version}" for package in metadata.distributions()}
    return "\n".join([f"python=={platform.python_version()}", *sorted(packages, key=str.lower)]) + "\n"


if __name__ == "__main__":
    cli.tool(archive)
