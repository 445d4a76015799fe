"""What a finished study consists of: `provenance.json`, beside its report, has the digest of each file and store."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from surroscope.errors import UserError
from surroscope.runtime import store

FILE = "provenance.json"


def identity(settings: Mapping[str, Any], code: str | None) -> str:
    """Hash of what makes something, 16 hexadecimal digits. code: None where it does not count"""
    return hashlib.sha256(json.dumps([settings, code], sort_keys=True).encode()).hexdigest()[:16]


def inputs(read: Iterable[Path], foreign: Iterable[Path] = (), own: Iterable[Path] = ()) -> dict[str, dict[str, Any]]:
    """Digest and identity of each thing that a stage reads, which files among them are checked to have.

    foreign: what made these, if something did, since they may be removed when they were read. Stores are checked by
    those that read them.
    own: among the foreign the user's, of which nothing says what they should be: they are recorded as they are
    Raises DamagedStoreError, and UserError if one of them was made from another in a state that it is not in any more.
    """
    found = {}
    for path in [*read, *foreign]:
        made = store.made(path)
        if path in own and not made:
            found[str(path)] = store.as_it_is(path)
        elif path.is_file() and (made or path not in foreign):
            store.require_whole(path)
        if made:
            by: dict[str, Any] = {key: made.get(key) for key in ("settings", "code")}
            found[str(path)] = {"digest": made["digest"], **(by if path in foreign else {"made": identity(**by)})}
            for name, then in made.get("inputs", {}).items():
                now = store.made(Path(name)) if Path(name) in read else None
                if now and now["digest"] != then["digest"]:
                    raise UserError(
                        f"{path}: was made from {name} with digest {then['digest'][:16]}, which has "
                        f"{now['digest'][:16]} by now; run snakemake again"
                    )
    return found


def require_made_by(stores: Sequence[Path], expected: str) -> None:
    """Raise UserError unless the data were made by settings and code of this hash, those of all of them together."""
    found = [store.manifest(path) for path in stores]
    if together(identity(made["settings"], made["code"]) for made in found) != expected:
        raise UserError(
            f"{', '.join(map(str, stores))}: written again, by other settings or code, since this job was planned; "
            "run snakemake again, which says by which"
        )


def together(identities: Iterable[str]) -> str:
    """One hash of several."""
    return hashlib.sha256(" ".join(identities).encode()).hexdigest()[:16]


def difference(made: Mapping[str, Any] | None, settings: Mapping[str, Any], code: str | None) -> str | None:
    """In what something was made otherwise than asked for, in words; None if it was not."""
    if made and "made" in made:
        same = made["made"] == identity(settings, code)
        return None if same else "what was made from it was made by other settings or code"
    if not made or "settings" not in made:
        return "nothing says what made it"
    recorded = made["settings"]
    for key in sorted(settings.keys() | recorded.keys()):
        if settings.get(key) != recorded.get(key):
            return f"made with {key} {json.dumps(recorded.get(key))}, asked for is {json.dumps(settings.get(key))}"
    if code is not None and made["code"] != code:
        return f"made by code {made['code']}, asked for is {code}"
    return None


def same(made: Mapping[str, Any], there: Mapping[str, Any] | None) -> bool:
    """Whether what is there was made by these settings and code, from these inputs."""
    return there is not None and all(there.get(key) == made[key] for key in ("settings", "code", "inputs"))


def made_otherwise(
    path: str,
    settings: Mapping[str, Any],
    code: str | None,
    made_from: dict[str, dict[str, Any]],
    own: Iterable[str] = (),
) -> str | None:
    """In what `path` was made otherwise than its job would make it now, in words; None if it was not.

    code: None where neither it nor the state of what was read counts
    made_from: what was read for what is there -> by what it was made, as that says; added to, and what is known of a
        path that was removed
    own: the files of the user's own that it would be made from
    """
    if not os.path.lexists(path):
        return difference(made_from[path], settings, code) if path in made_from else None
    made = store.made(Path(path))
    if why := difference(made, settings, code):
        return why
    recorded = {name for name, then in (made or {}).get("inputs", {}).items() if "modified" in then}
    if other := sorted(recorded ^ set(own)):
        return f"made {'from' if other[0] in recorded else 'without'} {other[0]}"
    for name, then in (made or {}).get("inputs", {}).items():
        if "modified" in then:  # a file of the user's own
            if code is not None and os.path.lexists(name) and not store.unchanged(Path(name), then):
                return f"made from {name} as it was before"
            continue
        made_from[name] = then
        now = store.made(Path(name)) if code is not None and os.path.lexists(name) else None
        if now and now["digest"] != then["digest"]:
            return f"made from {name} as it was before"
    return None


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
    """The stores and files that a study keeps among its results and that are there.

    stores: as `config.stores.stores` tells them; what an earlier configuration left in the same folders is not of these
    """
    paths = [
        results / pattern.format(seed=seed, epoch=epoch)
        for pattern, seeds, epochs in stores
        for seed in seeds
        for epoch in epochs
    ]
    return [path for path in paths if path.exists() and store.record_of(path).is_file()]
