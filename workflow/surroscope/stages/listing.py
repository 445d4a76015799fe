"""List the files of one PDEGym class: size and SHA-256 of each, at the commit that the revision is now -> JSON."""

import json
from pathlib import Path

from surroscope.config import jobs
from surroscope.data import hub
from surroscope.data.pdegym import LICENCE, NOTICE
from surroscope.errors import UserError
from surroscope.runtime import cli
from surroscope.runtime.disk import require_space
from surroscope.runtime.store import atomic

# Beside the listing and not an output, which would be deleted before the listing is made again.
PINS = "commits.json"


def stage(settings: jobs.Listing, *, listing: cli.Output) -> None:
    print(NOTICE)
    listing.parent.mkdir(parents=True, exist_ok=True)
    commits = pinned(listing)
    content = hub.listing(settings.repo, commits.get(settings.revision, settings.revision), settings.files)
    content["revision"] = settings.revision
    sizes = {listing.parent / name: entry["size"] for name, entry in content["files"].items()}
    missing = sum(size for path, size in sizes.items() if not path.is_file() or path.stat().st_size != size)
    require_space(f"{settings.ic}, {len(sizes)} files of {settings.repo},", missing, listing.parent)
    with atomic(listing.with_name(PINS)) as temporary:
        temporary.write_text(json.dumps(commits | {settings.revision: content["commit"]}, indent=1))
    with atomic(listing) as temporary:
        temporary.write_text(json.dumps({**content, "licence": LICENCE}, indent=1))
    print(
        f"{settings.ic}: {len(sizes)} files of {settings.repo} at commit {content['commit']}: "
        f"{sum(sizes.values()) / 1e6:,.1f} MB, of which {missing / 1e6:,.1f} MB are to be fetched"
    )


def pinned(listing: Path) -> dict[str, str]:
    """The commit that each revision was when it was listed first: files of two commits are never mixed."""
    path = listing.with_name(PINS)
    try:
        return dict(json.loads(path.read_text())) if path.exists() else {}
    except ValueError as error:
        raise UserError(f"{path}: expected a commit for each revision, found no JSON ({error}); delete it") from None


if __name__ == "__main__":
    cli.run(stage)
