"""What a finished study consists of: `provenance.json`, beside its report, has the digest of each file and store."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from surroscope.runtime import store

FILE = "provenance.json"


def record(
    config: Mapping[str, Any], origin: Mapping[str, Any], *, files: Iterable[Path], stores: Iterable[Path]
) -> dict[str, Any]:
    """What the file holds.

    config: as checked, with all defaults; origin: which versions and which code made the study
    files, stores: relative to the working directory; of a store its digest and the code that wrote it are held
    """
    manifests = {str(path): store.manifest(path) for path in stores}
    return {
        "study": config["study"],
        "config": config,
        **origin,
        "files": {str(path): store.of_file(path) for path in files},
        "stores": {path: {key: found[key] for key in ("digest", "code")} for path, found in manifests.items()},
    }


def stores_of(stores: Iterable[tuple[str, list[int], list[int]]], results: Path) -> list[Path]:
    """The stores that a study keeps among its results and that are there.

    stores: as `config.stores.stores` tells them; what an earlier configuration left in the same folders is not of these
    """
    paths = [
        results / pattern.format(seed=seed, epoch=epoch)
        for pattern, seeds, epochs in stores
        for seed in seeds
        for epoch in epochs
    ]
    return [path for path in paths if (path / store.MANIFEST).is_file()]
