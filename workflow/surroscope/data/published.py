"""Weights that somebody published on a Hugging Face hub, at the commit that was found first."""

import json
import sys
from pathlib import Path, PurePosixPath

from surroscope.data import hub
from surroscope.errors import UserError
from surroscope.runtime import store

# Of files of weights, the first kind that there is.
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


def fetch(repo: str, path: str, revision: str, folder: Path) -> None:
    """Fetch a file of a repository, or the weights and the config.json of its folder, to the same place in `folder`.

    What is there is not asked for again: `listing.json` ties the folder to the commit that the revision was, and to
    sizes and digests. Raises UserError if the hub refuses, cannot be reached, or has none or several to choose from.
    """
    listing = folder / "listing.json"
    if not listing.exists():
        commit, files = hub.contents(repo, revision, "model")
        folder.mkdir(parents=True, exist_ok=True)
        with store.atomic(listing) as temporary:
            temporary.write_text(json.dumps({"repo": repo, "commit": commit, "files": files}, indent=1))
    found = json.loads(listing.read_text())
    for name in wanted(repo, path, list(found["files"])):
        size, sha256 = found["files"][name]
        here = folder / name
        if not here.exists():
            print(f"hub:{repo}: fetching {name} ({size / 1e6:.1f} MB) to {here}", file=sys.stderr, flush=True)
            here.parent.mkdir(parents=True, exist_ok=True)
            hub.fetch(repo, found["commit"], name, size, sha256, here, kind="model")


def wanted(repo: str, path: str, names: list[str]) -> list[str]:
    """The file, or of a folder the one file of weights and the options of `save_pretrained`."""
    if path in names:
        return [path]
    inside = [name for name in names if PurePosixPath(name).parent == PurePosixPath(path)]
    for suffix in SUFFIXES:
        weights = [name for name in inside if name.endswith(suffix)]
        if len(weights) > 1:
            raise UserError(f"hub:{repo}: holds {', '.join(weights)}; say which, as in hub:{repo}/{weights[0]}")
        if weights:
            return weights + [name for name in inside if PurePosixPath(name).name == "config.json"]
    raise UserError(f"hub:{repo}: holds no {path or 'weights'}, but {', '.join(names) or 'nothing'}; name a file of it")
