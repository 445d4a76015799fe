"""What a finished study consists of: `provenance.json`, beside its report, has the digest of each file and store."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from surroscope.runtime import store

FILE = "provenance.json"


def record(
    config: Mapping[str, Any], made: Mapping[str, Any], *, files: Iterable[Path], stores: Iterable[Path]
) -> dict[str, Any]:
    """What the file holds.

    config: as checked, with all defaults; made: by which versions and which code
    files, stores: relative to the working directory; of a store its digest and the code that wrote it are held
    """
    manifests = {str(path): store.manifest(path) for path in stores}
    return {
        "study": config["study"],
        "config": config,
        **made,
        "files": {str(path): store.of_file(path) for path in files},
        "stores": {path: {key: found[key] for key in ("digest", "code")} for path, found in manifests.items()},
    }


def stores_of(config: Mapping[str, Any], results: Path) -> list[Path]:
    """The stores that a study keeps among its results; gradients only if it keeps those."""
    found: list[Path] = []
    for system, chosen in config["systems"].items():
        for model, network in chosen["models"].items():
            for seed in config["seeds"]:
                checkpoint = results / system / model / f"seed{seed}"
                found.append(checkpoint / "weights")
                for epoch in network["probe_epochs"]:
                    found += sorted((checkpoint / f"epoch{epoch}").glob("[!.]*.zarr"))
                    if config["gradients"]["keep"]:
                        found += sorted((checkpoint / f"epoch{epoch}" / "gradients").glob("[!.]*.zarr"))
    return [path for path in found if (path / store.MANIFEST).is_file()]
