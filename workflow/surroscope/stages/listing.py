"""List the files of one PDEGym class: size and SHA-256 of each, at the commit that the revision is now -> JSON."""

import json
from dataclasses import dataclass
from pathlib import Path

from surroscope import hub
from surroscope.pdegym import LICENCE, NOTICE
from surroscope.stages import cli
from surroscope.store import atomic


@dataclass(frozen=True)
class Settings:
    ic: str
    repo: str
    revision: str
    files: list[str]


def stage(settings: Settings, *, listing: Path) -> None:
    print(NOTICE)
    content = hub.listing(settings.repo, settings.revision, settings.files)
    sizes = {listing.parent / name: entry["size"] for name, entry in content["files"].items()}
    missing = sum(size for path, size in sizes.items() if not path.is_file() or path.stat().st_size != size)
    listing.parent.mkdir(parents=True, exist_ok=True)
    hub.require_space(f"{settings.ic}, {len(sizes)} files of {settings.repo},", missing, listing.parent)
    with atomic(listing) as temporary:
        temporary.write_text(json.dumps({**content, "licence": LICENCE}, indent=1))
    print(
        f"{settings.ic}: {len(sizes)} files of {settings.repo} at commit {content['commit']}: "
        f"{sum(sizes.values()) / 1e6:,.1f} MB, of which {missing / 1e6:,.1f} MB are to be fetched"
    )


if __name__ == "__main__":
    cli.run(stage, Settings, paths=("listing",))
