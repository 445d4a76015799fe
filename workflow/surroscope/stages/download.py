"""Fetch one file of a PDEGym class as the listing names it, verified by size and SHA-256 -> one raw netCDF file."""

import json
import time

from surroscope.config import jobs
from surroscope.data import hub
from surroscope.errors import UserError
from surroscope.runtime import cli, progress


def stage(settings: jobs.Download, *, listing: cli.Foreign, raw: cli.Output) -> None:
    try:
        content = json.loads(listing.read_text())
        repo, commit, entry = content["repo"], content["commit"], content["files"][settings.file]
        size, sha256 = int(entry["size"]), str(entry["sha256"])
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{listing}: expected the size and SHA-256 of {settings.file}, found none ({error!r}); "
            "delete the listing and run again"
        ) from None
    started = time.monotonic()
    with progress.bar(f"fetch {settings.ic}/{settings.file}", _megabytes(size), "MB") as bar:
        hub.fetch(
            repo,
            commit,
            settings.file,
            size,
            sha256,
            raw,
            progress=lambda received: bar.update(_megabytes(received) - bar.n),
        )
    seconds = time.monotonic() - started
    print(f"{raw}: {size / 1e6:,.1f} MB in {seconds:.1f} s, {size / 1e6 / seconds:.1f} MB/s; SHA-256 verified")


def _megabytes(size: int) -> int:
    return -(-size // 10**6)


if __name__ == "__main__":
    cli.run(stage)
