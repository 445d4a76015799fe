"""Weights of networks that were trained elsewhere: their files by seed and epoch."""

import functools
import glob
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from surroscope.config.base import ImportPath, Section
from surroscope.errors import UserError

EPOCH = 1  # of files whose names have none
HUB = r"hub:([^/@]+/[^/@]+)/?([^@]*)(?:@(.+))?"


class Weights(Section):
    """files: a file, or a folder that `save_pretrained` wrote, where {seed} and {epoch} stand for whole numbers; or
    hub:owner/name, with /file or @revision behind it, for one on a Hugging Face hub
    """

    files: Annotated[str, Field(min_length=1)]
    entry: str = ""
    prefix: str | None = None
    pickled: bool = False
    loader: ImportPath | None = None

    @field_validator("files")
    @classmethod
    def _of_a_repository(cls, files: str) -> str:
        if files.startswith("hub:") and not re.fullmatch(HUB, files):
            raise ValueError("expected hub:owner/name, with /file or @revision behind it")
        return files

    @property
    def published(self) -> tuple[str, str, str, Path] | None:
        """Of what is on a hub: repository, file or folder in it, revision, and the folder that it is kept in here."""
        if not (match := re.fullmatch(HUB, self.files)):
            return None
        repo, path, revision = match[1], match[2], match[3] or "main"
        return repo, path, revision, Path("data/hub") / f"{repo}@{revision.replace('/', '-')}"

    def path(self, seed: int, epoch: int) -> Path:
        """Raises ValueError unless there is exactly one such file."""
        found = self.found(seed).get(epoch, [])
        if len(found) > 1:
            raise ValueError(f"{found[0]} and {found[1]} are both of epoch {epoch}; rename one")
        if not found:
            raise ValueError(
                f"found no file {self.files!r} of seed {seed} and epoch {epoch}; mend the path, or fetch the file"
            )
        return found[0]

    def found(self, seed: int | None = None) -> dict[int, list[Path]]:
        """The files of a seed, or of all of them, by epoch."""
        named = os.path.expanduser(self.files)
        if self.published:
            named = str(self.published[3] / self.published[1])
        if os.path.exists(named):
            return {EPOCH: [Path(named)]}
        # The first {epoch} is read, and where there are several they say the same.
        texts = {"{seed}": r"\d+" if seed is None else rf"0*{seed}", "{epoch}": r"(?P<epoch>\d+)"}
        parts = re.split(r"(\{seed\}|\{epoch\})", named)
        wanted = "".join(texts.get(part, re.escape(part)) for part in parts)
        head, *rest = wanted.split(texts["{epoch}"])
        wanted = texts["{epoch}"].join([head, "(?P=epoch)".join(rest)]) if rest else head
        by_epoch: dict[int, list[Path]] = {}
        for path in sorted(glob.glob("".join("*" if part in texts else glob.escape(part) for part in parts))):
            if match := re.fullmatch(wanted, path):
                by_epoch.setdefault(int(match.groupdict().get("epoch", EPOCH)), []).append(Path(path))
        return by_epoch

    def options(self) -> dict[str, Any]:
        """Those of the config.json in the folder that `save_pretrained` wrote, without notes such as _class_name."""
        path = next((file for paths in self.found().values() for file in paths), Path()) / "config.json"
        if not path.is_file():
            return {}
        try:
            noted = dict(json.loads(path.read_text()))
        except ValueError as error:
            raise UserError(f"{path}: no options in JSON ({error}); say options beside the factory") from None
        return {name: value for name, value in noted.items() if not name.startswith("_")}


def files(weights: Any) -> Any:
    """What may be written for a section of `files` alone."""
    return {"files": weights} if isinstance(weights, str) else weights


@functools.cache
def digest(path: Path) -> str:
    """SHA-256 of a file, or of all in a folder."""
    found = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file():
            with file.open("rb") as stream:
                found.update(hashlib.file_digest(stream, "sha256").digest())
    return found.hexdigest()
